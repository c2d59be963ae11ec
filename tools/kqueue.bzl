"""A test of the library with its kqueue backend, over the emulation in //tests/kqueue."""

load("//tools:program.bzl", "test_of")

def _flag_impl(ctx):
    return []

# Whether the library has its kqueue backend on Linux. Such a library cannot be linked without
# //tests/kqueue, which is for tests only.
kqueue_flag = rule(
    implementation = _flag_impl,
    build_setting = config.bool(flag = False),
)

def _with_kqueue_impl(settings, attr):
    return {"//tools:kqueue": True}

_with_kqueue = transition(
    implementation = _with_kqueue_impl,
    inputs = [],
    outputs = ["//tools:kqueue"],
)

def _kqueue_test_impl(ctx):
    return test_of(ctx, ctx.attr.program[0][DefaultInfo])

kqueue_test = rule(
    implementation = _kqueue_test_impl,
    attrs = {
        "data": attr.label_list(allow_files = True),
        "env": attr.string_dict(),
        "program": attr.label(cfg = _with_kqueue, executable = True, mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    test = True,
)
