"""header_compiles_test: a public header stands alone, as C17 and as C++17."""

load("@rules_cc//cc:defs.bzl", "cc_library", "cc_test")

def _write_source_impl(ctx):
    out = ctx.actions.declare_file(ctx.attr.out)
    ctx.actions.write(out, ctx.attr.content)
    return [DefaultInfo(files = depset([out]))]

_write_source = rule(
    implementation = _write_source_impl,
    attrs = {
        "content": attr.string(mandatory = True),
        "out": attr.string(mandatory = True),
    },
)

def header_compiles_test(name, hdr, deps, tags = [], **kwargs):
    """Compiles, links and runs two files that include only `hdr`: one C17, one C++17.

    Args:
      name: of the test.
      hdr: as users write it in #include, e.g. "xev/loop.h".
      deps: the library that offers it.
      tags: for the test and its parts.
      **kwargs: for the cc_test.
    """
    for lang, body in [
        ("c", "int header_as_c(void);\nint header_as_c(void) { return 0; }\n"),
        ("cc", "extern \"C\" int header_as_c(void);\nint main() { return header_as_c(); }\n"),
    ]:
        _write_source(
            name = "%s_%s_source" % (name, lang),
            testonly = True,
            # Twice: the include guard works.
            content = "#include \"%s\"\n#include \"%s\"\n%s" % (hdr, hdr, body),
            out = "%s.%s" % (name, lang),
            tags = tags,
        )

    # Users do not have to define _GNU_SOURCE (C++ compilers on Linux always do).
    cc_library(
        name = name + "_as_c",
        testonly = True,
        srcs = [name + "_c_source"],
        copts = ["-U_GNU_SOURCE"],
        tags = tags,
        deps = deps,
    )
    cc_test(
        name = name,
        size = "small",
        srcs = [name + "_cc_source"],
        tags = tags,
        deps = deps + [name + "_as_c"],
        **kwargs
    )
