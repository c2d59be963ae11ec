"""A test of the library with its kqueue backend, over the emulation in //tests/kqueue."""

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
    program = ctx.attr.program[0][DefaultInfo]
    link = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(output = link, target_file = program.files_to_run.executable, is_executable = True)
    return [
        DefaultInfo(
            executable = link,
            runfiles = program.default_runfiles.merge(ctx.runfiles([link])),
        ),
        testing.TestEnvironment(ctx.attr.env),
    ]

kqueue_test = rule(
    implementation = _kqueue_test_impl,
    attrs = {
        "env": attr.string_dict(),
        "program": attr.label(cfg = _with_kqueue, executable = True, mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    test = True,
)
