#!/bin/sh
# Compiles and links the library and the examples for macOS and the BSDs, with all warnings as errors.
# Exits with 0 where all of them link, with 77 where there is no zig to do it with, else with 1.
set -u
cd "$(dirname "$0")/../.." || exit 1
home=${XEV_ZIG_HOME:-/opt/zigc/node_modules/@zigc}
if ! [ -x "$home/linux-x64/bin/zig" ] && ! [ -x "$home/linux-arm64/bin/zig" ] && ! [ -x "$home/zig" ]; then
    echo "cross_link: no zig in $home, so nothing was linked; see docs/systems.md"
    exit 77
fi
rc=0
for system in freebsd netbsd openbsd macos macos_arm64; do
    # shellcheck disable=SC2086 # a list of words
    if ./bazelw build --config=$system ${CROSS_LINK_TARGETS:-//xev //mpsc //threadpool //conn //shard //serve //examples/...}; then
        echo "cross_link: $system: linked"
    else
        echo "cross_link: $system: failed"
        rc=1
    fi
done
exit $rc
