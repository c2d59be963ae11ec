#!/bin/sh
# What an echo and an idle connection cost, counted: needs no quiet machine.
#
#   counts_test.sh BACKEND INSTRUCTIONS_PER_ECHO INSTRUCTIONS_ALONE BYTES_PER_IDLE_CONNECTION
#
# Instructions: user space, by callgrind, 64 connections of 1 KiB, the slope from 10 000 to 40 000
# echoes. Alone: of one connection, where each echo is a turn of the loop.
set -u
bin=$(dirname "$0")
backend=$1 instructions_budget=$2 alone_budget=$3 bytes_budget=$4
. "$bin/counts.sh"

connections=64
drive() {
    "$bin/load" --port "$port" --connections $connections --size 1024 --pipeline 1 --warmup 0 --seconds 600 \
        --requests "$1" >"$tmp/load" 2>&1 || fail "load"
}
slope 10000 40000 "$bin/echo_sharded_opt" --shards 1
judge "instructions per echo" "$counted" "$instructions_budget"
connections=1
slope 2000 8000 "$bin/echo_sharded_opt" --shards 1
judge "instructions per echo of one connection" "$counted" "$alone_budget"

start "$bin/echo_sharded_opt" --shards 1
"$bin/idle" --port "$port" --server-pid "$server_pid" --from 1000 --to 4000 >"$tmp/load" 2>&1 ||
    fail "idle"
stop
bytes=$(sed -n 's/.*"bytes_per_connection":\([0-9]*\).*/\1/p' "$tmp/load")
[ -n "$bytes" ] || fail "no bytes per connection"
judge "bytes per idle connection" "$bytes" "$bytes_budget"
