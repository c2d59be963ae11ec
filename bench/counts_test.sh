#!/bin/sh
# What an echo and an idle connection cost, counted: needs no quiet machine. A change that costs
# more than 5 % over the recorded budget fails, until the budget is changed on purpose; one that
# saves more than 10 % asks for the budget to follow.
#
#   counts_test.sh BACKEND INSTRUCTIONS_PER_ECHO BYTES_PER_IDLE_CONNECTION
#
# Instructions: user space, by callgrind, 64 connections of 1 KiB, the slope from 10 000 to 40 000
# echoes, so that start and end of the server do not count. Server and client take turns on one
# processor: what a turn costs is shared by the echoes that it has, and these are then all 64.
set -u
bin=$(dirname "$0")
backend=$1 instructions_budget=$2 bytes_budget=$3
tmp=$(mktemp -d "${TEST_TMPDIR:-/tmp}/counts.XXXXXX") || exit 1
server_pid=
cleanup() {
    [ -z "$server_pid" ] || kill -9 "$server_pid" 2>/dev/null
    rm -rf "$tmp"
}
trap cleanup EXIT
fail() {
    echo "FAIL: $*"
    tail -n 20 "$tmp"/ready "$tmp"/stderr "$tmp"/load "$tmp"/idle 2>/dev/null
    exit 1
}

# What this shell starts runs on the first processor that it may use.
processor=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
taskset -cp "$processor" $$ >/dev/null || exit 1

# start PROGRAM...: an echo server of one shard; sets server_pid and port.
start() {
    : >"$tmp/ready"
    "$@" --shards 1 --port 0 --backend "$backend" >"$tmp/ready" 2>"$tmp/stderr" &
    server_pid=$!
    port=
    tries=0
    while [ -z "$port" ] && [ $tries -lt 600 ] && kill -0 "$server_pid" 2>/dev/null; do
        sleep 0.05
        tries=$((tries + 1))
        port=$(sed -n 's/^listening on [0-9.]*:\([0-9]*\) .*/\1/p' "$tmp/ready")
    done
    [ -n "$port" ] || fail "the server did not start"
}
stop() {
    kill -TERM "$server_pid"
    wait "$server_pid" || fail "exit status $? after SIGTERM"
    server_pid=
}
# instructions ECHOES: prints what the server executed in user space from its start on. It is killed,
# and what it did is written down every so often: Valgrind runs one thread at a time and does not
# know that io_uring_enter waits, so a loop that sleeps there would keep the others from ending it.
instructions() {
    rm -f "$tmp"/out*
    start valgrind --tool=callgrind --callgrind-out-file="$tmp/out" --dump-every-bb=20000 \
        --dump-instr=no --dump-line=no "$bin/echo_sharded_opt"
    "$bin/load" --port "$port" --connections 64 --size 1024 --pipeline 1 --warmup 0 --seconds 600 \
        --requests "$1" >"$tmp/load" 2>&1 || fail "load"
    kill -KILL "$server_pid"
    wait "$server_pid" 2>/dev/null
    server_pid=
    cat "$tmp"/out* | awk '/^totals:/ { n += $2 } END { print n + 0 }'
}
# judge WHAT COUNTED BUDGET
judge() {
    echo "$backend: $2 $1 (budget $3)"
    [ "$2" -le $(($3 + $3 / 20)) ] || fail "$2 $1 are more than 5 % over the budget of $3"
    [ "$2" -ge $(($3 - $3 / 10)) ] || echo "note: write the lower figure into bench/BUILD"
}

few=$(instructions 10000)
many=$(instructions 40000)
[ "$few" -gt 0 ] && [ "$many" -gt "$few" ] || fail "callgrind counted nothing"
judge "instructions per echo" $(((many - few) / 30000)) "$instructions_budget"

start "$bin/echo_sharded_opt"
"$bin/idle" --port "$port" --server-pid "$server_pid" --from 1000 --to 4000 >"$tmp/idle" 2>&1 ||
    fail "idle"
stop
bytes=$(sed -n 's/.*"bytes_per_connection":\([0-9]*\).*/\1/p' "$tmp/idle")
[ -n "$bytes" ] || fail "no bytes per connection"
judge "bytes per idle connection" "$bytes" "$bytes_budget"
