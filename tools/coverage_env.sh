#!/bin/sh
# Runs a test (--config=cov) so that each of its processes leaves a profile in $XEV_COVERAGE_DIR.
# Process numbers are a sandbox's own, so the target's name is part of the file's. %c: counters are
# in the mapped file, which a fork shares and no kind of death loses.
if [ -n "${XEV_COVERAGE_DIR:-}" ]; then
    LLVM_PROFILE_FILE=$XEV_COVERAGE_DIR/$(echo "${TEST_TARGET:-none}" | tr -c 'A-Za-z0-9_\n' _)-%p%c.profraw
    export LLVM_PROFILE_FILE
fi
exec "$@"
