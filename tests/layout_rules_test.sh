#!/bin/sh
# layout_rules_test.sh: layout_test.sh accepts a good tree, and names each way to break the layout.
set -u
test=$PWD/tests/layout_test.sh
tree=${TEST_TMPDIR:-$(mktemp -d)}/tree
failures=0

fail() {
    echo "FAILED: $1"
    failures=$((failures + 1))
}
plain() {
    rm -rf "$tree"
    mkdir -p "$tree/xev/core" "$tree/xev/watchers" "$tree/xev/backends" "$tree/xev/os/posix" \
        "$tree/mpsc" "$tree/threadpool" "$tree/conn" "$tree/shard" "$tree/serve"
    printf '#include <stdint.h>\n#include "xev/loop.h"\n' >"$tree/xev/tcp.h"
    printf '#include "xev/os/clock.h"\n#include "mpsc/visit.h"\n' >"$tree/xev/core/core.c"
    printf '#include "xev/core/core.h"\n' >"$tree/xev/watchers/tcp.c"
    printf '#include <time.h>\n#include "xev/os/clock.h"\nint xev__os_now(void) {\n' \
        >"$tree/xev/os/posix/clock_posix.c"
    printf '#include "xev/core/core.h"\n#include <sys/epoll.h>\n' >"$tree/xev/backends/epoll.c"
    printf '#include "xev/conn.h"\n#include "xev/shard.h"\n' >"$tree/xev/serve.h"
    printf '#include "xev/mpsc.h"\n' >"$tree/mpsc/mpsc.c"
    printf '#include "xev/core/support.h"\n#include "xev/conn.h"\n' >"$tree/conn/conn.c"
    printf '#include <pthread.h>\n#include "xev/shard.h"\n' >"$tree/shard/runtime.c"
    printf '#include <sched.h>\n' >"$tree/shard/system_linux.c"
    printf '#include "xev/conn.h"\n#include "xev/shard.h"\n#include "xev/core/support.h"\n' \
        >"$tree/serve/serve.c"
}
# bad FILE TEXT WORDS: a tree with TEXT in FILE is refused with WORDS.
bad() {
    plain
    # shellcheck disable=SC2059 # the text has newlines in it
    printf "$2" >"$tree/$1"
    if output=$(sh "$test" "$tree"); then
        fail "$1 was accepted"
    fi
    echo "$output" | grep -qF "$3" || fail "$1: not named \"$3\" but: $output"
}

plain
output=$(sh "$test" "$tree") || fail "a good tree was refused: $output"
bad xev/udp.h '#include <sys/socket.h>\n' "xev/udp.h includes <sys/socket.h>"
bad xev/udp.h '#include "xev/core/core.h"\n' "xev/udp.h includes xev/core/core.h"
bad xev/os/posix/file_posix.c '#include "xev/core/core.h"\n' "includes xev/core/core.h"
bad xev/os/posix/file_posix.c 'int xev_file_read(int fd) {\n' "public, and implemented in the OS"
bad xev/core/loop.c '#include "xev/watchers/watchers.h"\n' "the core names no watcher"
bad xev/core/loop.c '#include "xev/backends/epoll.h"\n' "the core names no watcher and no backend"
bad xev/core/loop.c '#include <sys/socket.h>\n' "a header of the operating system"
bad xev/watchers/udp.c '#include "xev/backends/io_uring.h"\n' "a watcher names no backend"
bad xev/watchers/udp.c '#include "xev/shard.h"\n' "xev knows nothing of what stands"
bad xev/shard.h '#include "xev/conn.h"\n' "xev knows nothing of what stands"
bad xev/core/pool.c '#include "conn/internal.h"\n' "xev knows nothing of what stands"
bad conn/pipe.c '#include "xev/shard.h"\n' "a connection knows one loop"
bad conn/pipe.c '#include "xev/core/core.h"\n' "a connection knows one loop"
bad conn/pipe.c '#include <sys/socket.h>\n' "a header of the operating system"
bad conn/pipe.c '#include "xev/ask.h"\n' "a connection knows one loop"
bad conn/pipe.c '#include "xev/serve.h"\n' "a connection knows one loop"
bad shard/mailbox.c '#include "xev/conn.h"\n' "shards know nothing of connections"
bad serve/place.c '#include "shard/internal.h"\n' "services use public calls"
bad serve/place.c '#include "conn/internal.h"\n' "services use public calls"
bad serve/place.c '#include "xev/os/socket.h"\n' "services use public calls"
bad serve/place.c '#include <sys/socket.h>\n' "a header of the operating system"
bad mpsc/other.c '#include "xev/os/clock.h"\n' "the leaves know nothing of xev"
bad threadpool/pool.c '#include "xev/core/core.h"\n' "know nothing above them"
bad shard/mailbox.c '#include <sys/eventfd.h>\n' "a header of the operating system"
bad xev/watchers/core.c '#include "xev/core/core.h"\n' "core.c: two sources of this name"

[ "$failures" -eq 0 ] && echo "all rules are checked"
[ "$failures" -eq 0 ]
