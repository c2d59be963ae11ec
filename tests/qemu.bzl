"""Which tests do not run under QEMU's user mode (aarch64), and why. Of the others some cases do not:
tests/qemu_left_out.txt."""

_FILTERS = "the kernel refuses system calls by a seccomp filter, which QEMU has not"
_PROCESSES = "children by clone with a pidfd, which QEMU refuses"
_PROGRAMS = "it starts programs for aarch64, which the machine would have to know (binfmt_misc)"

WITHOUT_QEMU = {
    "chat_sharded_test": _PROGRAMS,
    "echo_sharded_cli_test": _PROGRAMS,
    "echo_sharded_memory_test": _PROGRAMS,
    "echo_sharded_test": _PROGRAMS,
    "examples_fault_test": _PROGRAMS,
    "examples_test": _PROGRAMS,
    "fallback_test": _FILTERS,
    "fault_test": _FILTERS,
    "harness_plain_test": _PROGRAMS,
    "harness_test": _PROGRAMS,
    "http_files_test": _PROGRAMS,
    "kv_random_test": _PROGRAMS,
    "kv_redis_test": _PROGRAMS,
    "kv_sharded_memory_test": _PROGRAMS,
    "kv_snapshot_test": _PROGRAMS,
    "kv_test": _PROGRAMS,
    "listener_drain_test": "the library counts who waits by TCP_INFO, of which QEMU gives 4 bytes",
    "process_fault_test": _FILTERS,
    "process_spawn_test": _PROCESSES,
    "process_test": _PROCESSES,
    "restart_test": _PROGRAMS,
    "run_jobs_test": _PROGRAMS,
    "sendfile_test": _FILTERS,
    "shard_stop_test": _FILTERS,
    "shard_test": _FILTERS,
    "tcp_proxy_test": _PROGRAMS,
}

# For target_compatible_with of these.
NOT_EMULATED = select({
    "//tests:emulated": ["//tools:left_out"],
    "//conditions:default": [],
})
