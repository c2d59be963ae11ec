"""Which conformance tests run on Windows, under Wine. Of these some cases do not:
tests/windows/left_out.txt."""

# The others have not been tried there yet, or call what Windows has not: Unix sockets, limits of
# descriptors, /proc, or calls of Linux that they wrap or have the kernel refuse.
ON_WINDOWS = [
    "accept_test",
    "ask_conn_test",
    "async_test",
    "backend_answers_test",
    "cancel_test",
    "close_test",
    "conn_connect_test",
    "conn_deadline_test",
    "conn_end_test",
    "conn_shed_test",
    "contract_test",
    "gather_test",
    "hook_test",
    "late_test",
    "loop_test",
    "metrics_test",
    "rearm_test",
    "shard_ask_test",
    "shard_key_test",
    "shard_message_test",
    "shard_reduce_test",
    "shard_request_test",
    "shard_room_test",
    "shard_times_test",
    "shard_urgent_test",
    "stale_test",
    "stream_end_test",
    "stream_test",
    "tcp_test",
    "timer_test",
    "uninitialised_test",
    "work_test",
    "work_turn_test",
]

# Whose cases leave nothing behind in the process, so that they can run in one: Wine takes longer to
# start a process than for most cases.
TOGETHER_ON_WINDOWS = [
    "accept_test",
    "async_test",
    "backend_answers_test",
    "cancel_test",
    "chunks_test",
    "conn_deadline_test",
    "fs_event_windows_test",
    "hook_test",
    "loop_test",
    "process_windows_test",
    "stale_test",
    "stream_end_test",
    "stream_test",
    "tcp_test",
    "threadpool_stop_test",
    "timer_test",
    "uninitialised_test",
    "work_test",
]

# What is in tests/BUILD, for all systems, and not a conformance_test.
PLAIN_ON_WINDOWS = {
    "chunks_test": [
        "//tests:memory_scene",
        "//xev",
        "//xev:internal",
    ],
    "mpsc_test": [
        "//mpsc",
        "//mpsc:visit",
        "//third_party:ck",
    ],
    "threadpool_stop_test": [
        "//tests:threadpool_scene",
        "//threadpool",
    ],
    "threadpool_test": [
        "//tests:threadpool_scene",
        "//threadpool",
    ],
    "threadpool_wait_test": [
        "//tests:threadpool_scene",
        "//threadpool",
    ],
}

WINDOWS_COPTS = [
    "-include",
    "tests/windows/posix.h",
    "-D_FILE_OFFSET_BITS=64",
    "-Wno-conversion", # numbers of processes and lengths have other types there
    "-Wno-sign-conversion", # lengths of addresses have a sign there
    # Calls that there are not are macros, which use no argument and write nothing.
    "-Wno-maybe-uninitialized",
    "-Wno-uninitialized",
    "-Wno-unused-but-set-variable",
    "-Wno-unused-function",
    "-Wno-unused-parameter",
    "-Wno-unused-value",
    "-Wno-unused-variable",
]

WINDOWS_ENV = {
    "XEV_BACKEND": "iocp",
    "XEV_TEST_LEFT_OUT": "tests/windows/left_out.txt",
    "XEV_TEST_SANITIZER": "1", # Wine is about as slow
}
