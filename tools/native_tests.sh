#!/bin/sh
# Builds the library and its tests with the system's own compiler, without Bazel, and runs them by
# the harness's plain runner: for systems that Bazel does not run on. Needs Concurrency Kit's
# headers, and on Linux liburing. Tests whose system calls are wrapped need a linker that can, so
# they are left out.
#
# Usage: tools/native_tests.sh [TEST...]     e.g. loop_test; none: all that can be built so
# CC, CFLAGS and LDFLAGS are used; OUT is the folder for what is built (default: build-native).
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
cd "$root" || exit 1
out=${OUT:-build-native}
mkdir -p "$out/lib" || exit 1
flags="-std=c17 -D_GNU_SOURCE -g -O1 -I. -pthread ${CFLAGS:-}"

case $(uname -s) in
Linux)
    others='windows|wasi|iocp|kqueue|bsd|generic|none'
    libraries=-luring
    backends="epoll io_uring"
    ;;
Darwin | FreeBSD | NetBSD | OpenBSD)
    others='windows|wasi|iocp|linux|epoll|io_uring|none'
    flags="$flags -DXEV_NO_IO_URING"
    libraries=
    backends=kqueue
    ;;
*)
    echo "$0: unknown system: $(uname -s)"
    exit 1
    ;;
esac

# compile SOURCE OBJECT
compile() {
    # shellcheck disable=SC2086 # lists of words
    ${CC:-cc} $flags -c "$1" -o "$2"
}

for source in xev/core/*.c xev/watchers/*.c xev/backends/*.c xev/os/*/*.c mpsc/*.c threadpool/*.c \
    conn/*.c shard/*.c serve/*.c; do
    echo "$source" | grep -qE "$others" && continue
    compile "$source" "$out/lib/$(basename "$source" .c).o" || exit 1
done
for source in tests/test_main.c tests/test_plain.c tests/plain_fork.c; do
    compile "$source" "$out/$(basename "$source" .c).o" || exit 1
done
rm -f "$out/libxev.a"
ar rcs "$out/libxev.a" "$out"/lib/*.o || exit 1

if [ $# -eq 0 ]; then
    # A test of its own language, of Bazel's data or of a program besides is none for here.
    # shellcheck disable=SC2046 # a list of words
    set -- $(ls tests/*_test.c | xargs -n 1 basename | sed 's/\.c$//' |
        grep -vE '^(libxev_compat|harness|examples|http1|http1_serve|resp)_test$')
fi
ran=0
failed=
left_out=
for test; do
    if grep -qE '__wrap_|^WRAP' "tests/$test.c"; then
        left_out="$left_out $test"
        continue
    fi
    compile "tests/$test.c" "$out/$test.o" || exit 1
    # shellcheck disable=SC2086
    ${CC:-cc} $flags ${LDFLAGS:-} -o "$out/$test" "$out/$test.o" "$out/test_main.o" \
        "$out/test_plain.o" "$out/plain_fork.o" "$out/libxev.a" $libraries -lm || exit 1
    for backend in $backends; do
        echo "=== $test, $backend"
        XEV_BACKEND=$backend "$out/$test" || failed="$failed $test($backend)"
        ran=$((ran + 1))
    done
done
echo "$ran runs; failed:${failed:- none}; left out, with wrapped calls:${left_out:- none}"
[ -z "$failed" ] && [ "$ran" -gt 0 ]
