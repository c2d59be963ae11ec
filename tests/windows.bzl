"""Which conformance tests run on Windows, under Wine. Of these some cases do not:
tests/windows/left_out.txt."""

# The others have not been tried there yet, or call what Windows has not: fork (misuse_test,
# fork_test, ...), signals, Unix sockets, child processes, /proc, or calls of Linux that they wrap.
ON_WINDOWS = [
    "async_test",
    "cancel_test",
    "hook_test",
    "loop_test",
    "tcp_test",
    "timer_test",
    "work_test",
]
