"""conformance_test: one source, one test per backend (and per io_uring feature switched off)."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_test")
load("//tests:kqueue.bzl", "NO_EMULATION", "SANITIZED_KQUEUE", "WITHOUT_KQUEUE")
load("//tests:qemu.bzl", "NOT_EMULATED", "WITHOUT_QEMU")
load("//tests:wasi.bzl", "WITHOUT_WASI")
load("//tests:windows.bzl", "TOGETHER_ON_WINDOWS", "WINDOWS_COPTS", "WINDOWS_ENV", "WITHOUT_WINDOWS")
load("//tools:kqueue.bzl", "kqueue_test")
load("//tools:program.bzl", "program_test")

# Each rung of the io_uring ladder, as XEV_DISABLE names it; "all" is every one at once.
LADDER = [
    "defer_taskrun",
    "submit_all",
    "registered_ring",
    "multishot_accept",
    "multishot_recv",
    "buffer_ring",
    "all",
]

def windows_test(name, srcs, deps, suffix = "", data = [], env = {}, linkopts = [], tags = []):
    """A cc_test that is built for Windows only, with what it calls of POSIX (//tests/windows:posix).

    Args:
      name: of the test, without the suffix.
      suffix: of its name.
      srcs: as those of a cc_test.
      deps: besides the harness.
      data: as that of a cc_test.
      env: likewise.
      linkopts: likewise.
      tags: likewise.
    """
    windows_env = dict(env)
    windows_env.update(WINDOWS_ENV)
    if name in TOGETHER_ON_WINDOWS:
        windows_env["XEV_TEST_TOGETHER"] = "1"
    cc_test(
        name = name + suffix,
        size = "medium",
        srcs = srcs,
        copts = WINDOWS_COPTS,
        data = data + ["//tests/windows:left_out.txt"],
        env = windows_env,
        linkopts = linkopts,
        tags = tags + ["windows"],
        target_compatible_with = ["@platforms//os:windows"],
        deps = ["//tests/windows:posix"] + deps + ["//tests:harness"],
    )

def conformance_test(name, srcs, deps = [], ladder = False, size = "small", **kwargs):
    """Makes <name>_epoll, <name>_kqueue, <name>_io_uring, <name>_io_uring_no_all; with ladder, a no_ per feature.

    They are one program, <name>_program, with another environment each. The one on kqueue has a
    program and a library of its own, linked with an emulation (//tests/kqueue); those in
    WITHOUT_KQUEUE are not made.

    And <name>_wasi_poll, unless it is in WITHOUT_WASI; and <name>_iocp, unless it is in WITHOUT_WINDOWS.

    The backend is asked for by name, so that one that cannot be had fails instead of being skipped
    or replaced.

    Args:
      name: the unit, e.g. "timer_test".
      srcs: of every test made.
      deps: besides the harness and //xev.
      ladder: also run on io_uring with each feature switched off in turn, not only with all.
      size: of every test made.
      **kwargs: for every program; env and target_compatible_with are added to.
    """
    env = kwargs.pop("env", {})
    variants = [("epoll", {"XEV_BACKEND": "epoll"}), ("io_uring", {"XEV_BACKEND": "io_uring"})]
    variants += [
        ("io_uring_no_" + rung, {"XEV_BACKEND": "io_uring", "XEV_DISABLE": rung})
        for rung in (LADDER if ladder else ["all"])
    ]
    tags = kwargs.pop("tags", [])
    compatible = kwargs.pop("target_compatible_with", [])
    if name in WITHOUT_QEMU:
        compatible = compatible + NOT_EMULATED
    if name not in WITHOUT_WASI:
        cc_test(
            name = name + "_wasi_poll",
            size = size,
            srcs = srcs,
            env = dict(env, XEV_BACKEND = "wasi_poll"),
            tags = tags + ["wasi"],
            target_compatible_with = ["//platforms:wasi"],
            deps = deps + [
                "//tests:harness",
                "//xev",
            ],
            **kwargs
        )
    if name not in WITHOUT_WINDOWS:
        windows_test(
            name = name,
            suffix = "_iocp",
            srcs = srcs,
            data = kwargs.get("data", []),
            env = env,
            linkopts = kwargs.get("linkopts", []),
            tags = tags,
            deps = deps + ["//xev"],
        )
    if name not in WITHOUT_KQUEUE:
        emulated = compatible + NO_EMULATION
        cc_binary(
            name = name + "_over_kqueue",
            testonly = True,
            srcs = srcs,
            tags = tags + ["manual"],
            target_compatible_with = emulated,
            deps = deps + [
                "//tests:harness",
                "//tests/kqueue",
                "//xev",
            ],
            **kwargs
        )
        kqueue_test(
            name = name + "_kqueue",
            size = size,
            data = kwargs.get("data", []),
            env = dict(env, XEV_BACKEND = "kqueue"),
            program = name + "_over_kqueue",
            tags = tags + ["kqueue_sample" if name in SANITIZED_KQUEUE else "kqueue"],
            target_compatible_with = emulated,
        )
    cc_binary(
        name = name + "_program",
        testonly = True,
        srcs = srcs,
        tags = tags + ["manual"],
        target_compatible_with = compatible,
        deps = deps + [
            "//tests:harness",
            "//xev",
        ],
        **kwargs
    )
    for suffix, variant_env in variants:
        is_rung = suffix.startswith("io_uring_no_") and suffix != "io_uring_no_all"
        test_env = dict(env)
        test_env.update(variant_env)
        program_test(
            name = name + "_" + suffix,
            size = size,
            data = kwargs.get("data", []),
            env = test_env,
            program = name + "_program",
            tags = tags + (["rung"] if is_rung else ["no_all"] if suffix == "io_uring_no_all" else []),
            target_compatible_with = compatible if suffix == "epoll" else compatible + select({
                "//:no_io_uring": ["//tools:incompatible"],
                "//conditions:default": [],
            }),
        )
