"""The conformance tests that are not run on kqueue over its emulation, and why."""

# Where there is no emulation of kqueue. What it tests is neither of the C library nor of the
# processor, and it is written for glibc, whose close it stands before.
NO_EMULATION = select({
    "//platforms:musl": ["//tools:no_kqueue"],
    "//platforms:wasi": ["//tools:no_kqueue"],
    "@platforms//cpu:aarch64": ["//tools:no_kqueue"],
    "@platforms//os:windows": ["//tools:no_kqueue"],
    "//conditions:default": [],
})

# A program of the examples is a product: it is linked without the emulation.
_PROGRAMS = "it starts programs, which are linked without the emulation"

WITHOUT_KQUEUE = {
    "accept_error_test": "its shortage of watches is one of epoll's, which refuses at once",
    "examples_test": _PROGRAMS,
    "fs_event_names_test": "kqueue tells no names",
    "chat_sharded_test": _PROGRAMS,
    "echo_sharded_cli_test": _PROGRAMS,
    "echo_sharded_memory_test": _PROGRAMS,
    "echo_sharded_test": _PROGRAMS,
    "examples_fault_test": _PROGRAMS,
    "http_files_test": _PROGRAMS,
    "kv_random_test": _PROGRAMS,
    "kv_redis_test": _PROGRAMS,
    "kv_sharded_memory_test": _PROGRAMS,
    "kv_snapshot_test": _PROGRAMS,
    "kv_test": _PROGRAMS,
    "restart_test": _PROGRAMS,
    "run_jobs_test": _PROGRAMS,
    "tcp_proxy_test": _PROGRAMS,
}

# Those that run under the sanitizers as well: descriptors, wakes of another thread, what is stale, and
# the parts that use kqueue themselves.
SANITIZED_KQUEUE = [
    "async_test",
    "fs_event_test",
    "process_test",
    "stale_test",
]
