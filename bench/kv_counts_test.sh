#!/bin/sh
# What a GET costs in the example kv_sharded, counted as counts_test.sh counts an echo, and held to
# budgets as there:
#
#   kv_counts_test.sh BACKEND SHARDS PIPELINE INSTRUCTIONS_PER_GET
#
# Instructions: user space of all shards, by callgrind, 50 connections of redis-benchmark that keep
# PIPELINE requests under way, the slope between two numbers of requests. Where redis-benchmark is
# not installed (Debian: redis-tools) this says so and counts nothing.
set -u
bin=$(dirname "$0")
backend=$1 shards=$2 pipeline=$3 budget=$4
if ! command -v redis-benchmark >/dev/null; then
    echo "SKIPPED: redis-benchmark is not installed"
    exit 0
fi
tmp=$(mktemp -d "${TEST_TMPDIR:-/tmp}/counts.XXXXXX") || exit 1
server_pid=
cleanup() {
    [ -z "$server_pid" ] || kill -9 "$server_pid" 2>/dev/null
    rm -rf "$tmp"
}
trap cleanup EXIT
fail() {
    echo "FAIL: $*"
    tail -n 20 "$tmp"/ready "$tmp"/stderr "$tmp"/load 2>/dev/null
    exit 1
}

# What this shell starts runs on the first processor that it may use.
processor=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
taskset -cp "$processor" $$ >/dev/null || exit 1

# load COMMAND PIPELINE REQUESTS
load() {
    redis-benchmark -p "$port" -c 50 -r 1000 -q -t "$1" -P "$2" -n "$3" >"$tmp/load" 2>&1 ||
        fail "redis-benchmark"
}
# instructions GETS: prints what the server executed in user space from its start on. Killed, and
# written down every so often, for the reason that counts_test.sh gives.
instructions() {
    rm -f "$tmp"/out*
    : >"$tmp/ready"
    valgrind --tool=callgrind --callgrind-out-file="$tmp/out" --dump-every-bb=20000 \
        --dump-instr=no --dump-line=no "$bin/kv_sharded_opt" --shards "$shards" --no-pin --port 0 \
        --backend "$backend" >"$tmp/ready" 2>"$tmp/stderr" &
    server_pid=$!
    port=
    tries=0
    while [ -z "$port" ] && [ $tries -lt 600 ] && kill -0 "$server_pid" 2>/dev/null; do
        sleep 0.05
        tries=$((tries + 1))
        port=$(sed -n 's/^listening on [0-9.]*:\([0-9]*\) .*/\1/p' "$tmp/ready")
    done
    [ -n "$port" ] || fail "the server did not start"
    load set 16 5000
    load get "$pipeline" "$1"
    kill -KILL "$server_pid"
    wait "$server_pid" 2>/dev/null
    server_pid=
    cat "$tmp"/out* | awk '/^totals:/ { n += $2 } END { print n + 0 }'
}

few=$(instructions 10000)
many=$(instructions 30000)
[ "$few" -gt 0 ] && [ "$many" -gt "$few" ] || fail "callgrind counted nothing"
counted=$(((many - few) / 20000))
echo "$backend, $shards shards, $pipeline in a pipeline: $counted instructions per GET (budget $budget)"
[ "$counted" -le $((budget + budget / 20)) ] || fail "$counted are more than 5 % over $budget"
[ "$counted" -ge $((budget - budget / 10)) ] || echo "note: write the lower figure into bench/BUILD"
