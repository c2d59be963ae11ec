"""probed: a program with tracepoints, as --config=usdt builds it, for the test that reads them."""

_COPT = "//command_line_option:copt"

def _usdt_impl(settings, attr):
    return {_COPT: settings[_COPT] + ["-DXEV_USDT"]}

_usdt = transition(
    implementation = _usdt_impl,
    inputs = [_COPT],
    outputs = [_COPT],
)

def _probed_impl(ctx):
    program = ctx.attr.program[0][DefaultInfo]
    link = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(output = link, target_file = program.files_to_run.executable, is_executable = True)
    return [DefaultInfo(
        executable = link,
        runfiles = program.default_runfiles.merge(ctx.runfiles([link])),
    )]

probed = rule(
    implementation = _probed_impl,
    attrs = {
        "program": attr.label(cfg = _usdt, executable = True, mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    executable = True,
)
