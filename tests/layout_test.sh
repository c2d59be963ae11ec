#!/bin/sh
# Who may include whom, and where things stand. Looks at the real source tree, as style_test.sh does.
#
#   - public headers (xev/*.h) include public headers and standard C headers only
#   - xev/os and the leaves (mpsc, threadpool) include nothing of the core, the watchers, the backends
#     and the shards; xev includes nothing of the shards
#   - conn includes nothing of the shards, and of the core its public headers, support.h and
#     chunks.h only; shard nothing of the connections; serve the public headers of both,
#     support.h, conn/move.h and shard/ask.h
#   - the core includes nothing of the watchers and the backends
#   - a function with a public name is not implemented in xev/os
#   - an operating system's headers are included by xev/os, xev/backends and the system files of
#     threadpool, shard and serve only
#   - no two sources of the library have the same name: their objects fit in one folder
set -u
root=${1:-$(dirname "$(dirname "$(readlink -f "$0")")")}
cd "$root" || exit 1

# includes FILE...: "file header" for each include line, <> kept to tell the system's.
includes() {
    sed -nE 's/^ *# *include +(<[^>]*>|"[^"]*").*/\1/p' "$1" | tr -d '"' | sed "s|^|$1 |"
}
# What a folder may include of ours, as a pattern that must match.
complain() { # FOLDER... -- PATTERN WHY
    folders=
    while [ "$1" != -- ]; do folders="$folders $1"; shift; done
    # shellcheck disable=SC2086 # a list of words
    find $folders -name '*.[ch]' | sort | while read -r file; do includes "$file"; done |
        grep -E "^[^ ]+ ($2)\$" | sed "s|\$|: $3|; s| | includes |"
}
ours='(xev|shard|mpsc|threadpool|conn|serve|tests|tools|bench|examples)/.*'
standard='<(assert|errno|inttypes|limits|math|stdalign|stdatomic|stdarg|stdbool|stddef|stdint|stdio|stdlib|string|time|ck_[a-z]+)\.h>'
above='(xev/core|xev/watchers|xev/backends|shard|conn|serve)/.*|xev/(ask|shard|conn|serve|metrics|gather|upstream|proxy_protocol)\.h'

complaints=$(
    for file in xev/*.h; do
        includes "$file" | grep -vE " (xev/[a-z_]+\.h|$standard)\$" |
            sed 's|$|: not for a public header|; s| | includes |'
    done
    complain xev/os mpsc threadpool -- "$above" "the system and the leaves know nothing above them"
    # xev/os/complain.h and probe.h are leaves as well.
    complain mpsc threadpool -- 'xev/os/([^cp].*|cl.*|proc.*)' "the leaves know nothing of xev"
    complain xev/core -- 'xev/(watchers|backends)/.*' "the core names no watcher and no backend"
    complain xev/watchers -- 'xev/backends/.*' "a watcher names no backend"
    # The header of serve stands on those of the other two, that of metrics on that of serve, that
    # of asks on shard's, that of upstreams on conn's, that of gathers on those of asks and conn.
    complain xev -- '(shard|conn|serve)/.*|xev/(ask|shard|conn|serve|metrics|gather|upstream|proxy_protocol)\.h' \
        "xev knows nothing of what stands on it" |
        grep -vE '^xev/(serve\.h includes xev/(conn|shard)|ask\.h includes xev/shard|metrics\.h includes xev/serve|gather\.h includes xev/(ask|conn)|upstream\.h includes xev/conn)\.h:'
    inside='xev/core/core\.h|xev/(watchers|backends)/.*'
    complain conn -- "(shard|serve)/.*|xev/(ask|shard|serve|metrics|gather)\.h|$inside" \
        "a connection knows one loop, by its public calls, core/support.h and core/chunks.h"
    complain shard -- '(conn|serve)/.*|xev/(conn|serve|metrics|gather|upstream|proxy_protocol)\.h' "shards know nothing of connections"
    complain serve -- "(conn|shard)/.*|xev/os/([^c].*|cl.*)|$inside" \
        "services use public calls of conn and shard, and core/support.h" |
        grep -vE ' includes (conn/move|shard/ask)\.h:'
    find xev/core xev/watchers conn shard serve -name '*.[ch]' ! -name 'system*' | sort |
        while read -r file; do includes "$file"; done | grep -vE " ($ours|$standard|<pthread\.h>)\$" |
        sed 's|$|: a header of the operating system|; s| | includes |'
    # A definition begins in the first column.
    find xev/os -name '*.c' | sort | xargs grep -nE '^[a-z].*[ *]xev_[a-z0-9][a-z0-9_]*\(' |
        sed 's|$|   public, and implemented in the OS folder|'
    find xev mpsc threadpool conn shard serve -name '*.c' | sed 's|.*/||' | sort | uniq -d |
        sed 's|$|: two sources of this name|'
)
if [ -n "$complaints" ]; then
    echo "$complaints"
    exit 1
fi
echo "the layout holds"
