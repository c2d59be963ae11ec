#!/bin/sh
# What a command costs in the example kv_sharded, counted: needs no quiet machine.
#
#   kv_counts_test.sh BACKEND SHARDS PIPELINE COMMAND INSTRUCTIONS_PER_COMMAND
#
# Instructions: user space of all shards, by callgrind, 50 connections of redis-benchmark that keep
# PIPELINE requests under way, the slope from 10 000 to 30 000. Where redis-benchmark is not
# installed (Debian: redis-tools) this says so and counts nothing.
set -u
bin=$(dirname "$0")
backend=$1 shards=$2 pipeline=$3 command=$4 budget=$5
if ! command -v redis-benchmark >/dev/null; then
    echo "SKIPPED: redis-benchmark is not installed"
    exit 0
fi
. "$bin/counts.sh"

# ask COMMAND PIPELINE REQUESTS
ask() {
    redis-benchmark -p "$port" -c 50 -r 1000 -q -t "$1" -P "$2" -n "$3" >"$tmp/load" 2>&1 ||
        fail "redis-benchmark"
}
drive() {
    ask set 16 5000
    ask "$command" "$pipeline" "$1"
}
slope 10000 30000 "$bin/kv_sharded_opt" --shards "$shards" --no-pin
judge "instructions per $command of $shards shards, $pipeline in a pipeline" "$counted" "$budget"
