"""system_files: a folder with some headers of /usr/include and libraries, for another C library.

They are those of the kernel, and of libraries that ask nothing of the C library but what every one
has. What else stands in /usr/include belongs to the C library of the machine that builds.
"""

def _impl(ctx):
    for name in ctx.attr.names:
        for folder in ctx.attr.folders:
            if ctx.path(folder + "/" + name).exists:
                ctx.symlink(folder + "/" + name, name)
                break
    ctx.file("BUILD", """
filegroup(
    name = "headers",
    srcs = glob(["**/*.h"]),
    visibility = ["//visibility:public"],
)

[
    cc_library(
        name = archive[:-len(".a")],
        srcs = [archive],
        visibility = ["//visibility:public"],
    )
    for archive in glob(["*.a"])
]
""")

system_files = repository_rule(
    implementation = _impl,
    attrs = {
        "folders": attr.string_list(mandatory = True),
        "names": attr.string_list(mandatory = True),
    },
    configure = True,
    local = True,
)
