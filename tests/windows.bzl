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

WINDOWS_COPTS = [
    "-include",
    "tests/windows/posix.h",
    "-Wno-sign-conversion", # lengths of addresses have a sign there
]

WINDOWS_ENV = {
    "XEV_BACKEND": "iocp",
    "XEV_TEST_LEFT_OUT": "tests/windows/left_out.txt",
    "XEV_TEST_SANITIZER": "1", # Wine is about as slow
    "XEV_TEST_TOGETHER": "1",
}
