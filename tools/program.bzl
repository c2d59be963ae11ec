"""A test that is a program built once, with an environment of its own."""

def test_of(ctx, program):
    """What a test rule returns whose test is a program.

    Args:
      ctx: of the rule, which has the attributes env and data, as those of a cc_test.
      program: its DefaultInfo.
    """
    link = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(output = link, target_file = program.files_to_run.executable, is_executable = True)
    return [
        DefaultInfo(
            executable = link,
            runfiles = program.default_runfiles.merge(ctx.runfiles([link])),
        ),
        testing.TestEnvironment({
            name: ctx.expand_location(value, ctx.attr.data)
            for name, value in ctx.attr.env.items()
        }),
    ]

def _program_test_impl(ctx):
    return test_of(ctx, ctx.attr.program[DefaultInfo])

program_test = rule(
    implementation = _program_test_impl,
    attrs = {
        "data": attr.label_list(allow_files = True), # for paths in env; the program has them
        "env": attr.string_dict(),
        "program": attr.label(cfg = "target", executable = True, mandatory = True),
    },
    test = True,
)
