"""Which tests do not run on Windows, under Wine, and why. Of the others some cases do not:
tests/windows/left_out.txt."""

_FORKS = "its cases are children of fork"
_LINUX = "it is about Linux"
_PROGRAMS = "it starts and drives programs by calls of POSIX"
_REUSEPORT = "shards that share an address by SO_REUSEPORT"
_SIGNALS = "signals as POSIX has them, by kill"
_UNIX = "Unix sockets, which Wine has not"
_WRAPS = "it wraps system calls of Linux"

WITHOUT_WINDOWS = {
    "accept_error_test": _WRAPS,
    "alarm_test": _LINUX,
    "capacity_test": "thousands of connections, for which Wine takes minutes a case",
    "chat_sharded_test": _PROGRAMS,
    "conn_joint_test": _WRAPS,
    "conn_syscall_fault_test": _WRAPS,
    "echo_sharded_cli_test": _PROGRAMS,
    "echo_sharded_memory_test": _PROGRAMS,
    "echo_sharded_test": _PROGRAMS,
    "embed_test": "a loop in a host's poll loop, which needs a descriptor of the loop",
    "examples_fault_test": _PROGRAMS,
    "examples_test": _PROGRAMS,
    "file_close_test": _WRAPS,
    "file_try_test": _WRAPS,
    "fork_test": _FORKS,
    "fs_event_names_test": "changes as inotify reports them; fs_event_windows_test is in its stead",
    "fs_event_test": "the same",
    "http1_serve_test": "the example that it is about is written for POSIX",
    "http_files_test": _PROGRAMS,
    "kernel_test": _LINUX,
    "kv_random_test": _PROGRAMS,
    "kv_redis_test": _PROGRAMS,
    "kv_sharded_memory_test": _PROGRAMS,
    "kv_snapshot_test": _PROGRAMS,
    "kv_test": _PROGRAMS,
    "libxev_compat_test": "one of its files is C++, for which there is no compiler here",
    "listener_drain_test": "backlogs as Linux counts them, and filters of sockets",
    "listener_error_test": "a listener cannot be shut down",
    "listener_fd_test": _UNIX,
    "listener_test": _REUSEPORT,
    "malloc_test": "it replaces the heap's calls by Linux's loader",
    "memory_fault_test": "it wraps the heap's calls and whole pages",
    "process_spawn_test": "processes as POSIX has them; process_windows_test is in its stead",
    "process_test": "the same",
    "random_file_test": "values of handles are not given out again in order",
    "random_pipe_test": "it writes to sockets and pipes by calls of POSIX, and counts on their errors",
    "random_shard_test": _REUSEPORT,
    "random_test": "polls that repeat, which are XEV_ENOTSUP",
    "release_test": "values of handles are not given out again in order",
    "resp_serve_test": "the example that it is about is written for POSIX",
    "restart_test": _PROGRAMS,
    "room_test": _UNIX,
    "run_jobs_test": _PROGRAMS,
    "sendfile_test": _WRAPS,
    "serve_fault_test": _WRAPS,
    "serve_inherited_test": "sockets that are inherited by their number",
    "serve_move_fault_test": _WRAPS,
    "serve_notify_test": _UNIX,
    "serve_syscall_fault_test": _WRAPS,
    "shard_alone_test": _SIGNALS,
    "shard_cpus_test": "processors of threads, as Linux tells them",
    "shard_fault_test": _WRAPS,
    "shard_fork_test": _FORKS,
    "shard_signal_test": _SIGNALS,
    "shard_stop_test": _SIGNALS,
    "signal_test": _SIGNALS,
    "std_fds_test": "standard streams by number",
    "syscall_fault_test": _WRAPS,
    "tcp_options_test": "most cases are about what a peer has acknowledged, which is not known",
    "tcp_proxy_test": _PROGRAMS,
    "unix_msg_test": _UNIX,
    "unix_test": _UNIX,
    "wait_fault_test": _WRAPS,
    "wake_cost_test": _WRAPS,
    "wake_fault_test": _WRAPS,
}

# Whose cases leave nothing behind in the process, so that they can run in one: Wine takes longer to
# start a process than for most cases.
TOGETHER_ON_WINDOWS = [
    "accept_test",
    "async_test",
    "backend_answers_test",
    "cancel_test",
    "chunks_test",
    "conn_deadline_test",
    "fault_windows_test",
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
