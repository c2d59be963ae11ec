#!/bin/bash
# The key-value store beside Redis: requests per second of the server's CPU, by redis-benchmark, and
# bytes per idle connection. Needs Debian's redis-server and redis-tools.
#
#   kv_ratio.sh [--rounds 5] [--requests 200000] [--keys 100000] [--server-cpu 0] [--load-cpu 1]
#
# Each serves on one thread, on --server-cpu. The rounds are interleaved: within one each test runs
# against all servers in turn. Unpipelined tests make so many requests, those with 16 in a pipeline
# ten times as many. A line per test: medians, and the medians of the rounds' ratios to Redis.
set -u
bin=$(dirname "$0")
rounds=5 requests=200000 keys=100000 server_cpu=0 load_cpu=1
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 ;;
    --requests) requests=$2 ;;
    --keys) keys=$2 ;;
    --server-cpu) server_cpu=$2 ;;
    --load-cpu) load_cpu=$2 ;;
    *) echo "kv_ratio: no such flag: $1" >&2; exit 2 ;;
    esac
    shift 2
done
kv=$bin/../examples/kv_sharded/kv_sharded
tmp=$(mktemp -d) || exit 1
declare -A pid port
trap 'kill "${pid[@]}" 2>/dev/null; wait; rm -rf "$tmp"' EXIT
fail() { echo "kv_ratio: $*" >&2; exit 1; }
for program in redis-server redis-benchmark; do
    command -v $program >/dev/null || fail "$program is not installed"
done

for backend in io_uring epoll; do
    taskset -c "$server_cpu" "$kv" --alone --port 0 --backend $backend >"$tmp/$backend" &
    pid[$backend]=$!
    until grep -q listening "$tmp/$backend"; do
        kill -0 ${pid[$backend]} || fail "kv_sharded did not start"
        sleep 0.05
    done
    port[$backend]=$(sed -nE 's/^listening on [0-9.]*:([0-9]*) .*/\1/p' "$tmp/$backend")
done
port[redis]=${port[epoll]}
up=no
for ((try = 0; try < 20; try++)); do # it cannot choose a port itself
    port[redis]=$((port[redis] > 60000 ? 20000 : port[redis] + 7))
    taskset -c "$server_cpu" redis-server --port "${port[redis]}" --save "" --appendonly no \
        --maxclients 10000 >"$tmp/redis" &
    pid[redis]=$!
    while [ $up = no ] && kill -0 ${pid[redis]} 2>/dev/null; do
        redis-cli -p "${port[redis]}" ping 2>/dev/null | grep -q PONG && up=yes || sleep 0.05
    done
    [ $up = no ] || break
done
[ $up = yes ] || fail "redis-server did not start: $(cat "$tmp/redis")"

ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
# rate SERVER COMMAND PIPELINE REQUESTS: requests per second of its CPU.
rate() {
    local before after
    before=$(ticks "${pid[$1]}")
    taskset -c "$load_cpu" redis-benchmark -p "${port[$1]}" -q -r "$keys" -t "$2" -P "$3" -n "$4" \
        >/dev/null 2>&1 || fail "redis-benchmark"
    after=$(ticks "${pid[$1]}")
    echo $(($4 * $(getconf CLK_TCK) / (after - before + 1)))
}

# First of all: later, connections find memory that the load has left.
for server in redis io_uring epoll; do
    printf '%s: ' $server
    "$bin/idle" --port "${port[$server]}" --server-pid "${pid[$server]}" --from 1000 --to 4000 \
        --line PING | sed -nE 's/.*"bytes_per_connection":([0-9]+).*/\1 bytes per idle connection/p'
done

for ((round = 1; round <= rounds; round++)); do
    for command in set get; do
        for pipeline in 1 16; do
            n=$((pipeline == 1 ? requests : 10 * requests))
            for server in redis io_uring epoll; do
                echo "$command $pipeline $round $server $(rate $server $command $pipeline $n)"
            done
        done
    done
done >"$tmp/rates"

awk '
{ rate[$1 " " $2, $3, $4] = $5; tests[$1 " " $2]; if ($3 > rounds) rounds = $3 }
function median(values, n,   i, j, t) {
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && values[j] < values[j - 1]; j--) {
            t = values[j]; values[j] = values[j - 1]; values[j - 1] = t
        }
    return n % 2 ? values[(n + 1) / 2] : (values[n / 2] + values[n / 2 + 1]) / 2
}
END {
    split("redis io_uring epoll", servers)
    for (test in tests) {
        line = test
        for (s = 1; s <= 3; s++) {
            for (r = 1; r <= rounds; r++) {
                v[r] = rate[test, r, servers[s]]
                q[r] = v[r] / rate[test, r, "redis"]
            }
            line = line sprintf("  %s %d", servers[s], median(v, rounds))
            if (s > 1) line = line sprintf(" (%.2f)", median(q, rounds))
        }
        print line
    }
}' "$tmp/rates" | sort | sed 's/^\([a-z]*\) \([0-9]*\)/\1, \2 in a pipeline:/'
