#!/bin/sh
# Runs a program for aarch64 under QEMU's user mode: bazel test --run_under=this. The cases that QEMU
# cannot carry are left out.
set -eu
export XEV_TEST_LEFT_OUT=tests/qemu_left_out.txt
exec /usr/bin/qemu-aarch64-static -L /usr/aarch64-linux-gnu "$@"
