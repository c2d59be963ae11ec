#!/bin/bash
# The key-value store beside Redis: requests per second of the server's CPU, by redis-benchmark, and
# bytes per idle connection. Needs Debian's redis-server and redis-tools.
#
#   kv_ratio.sh [--rounds 5] [--requests 200000] [--keys 100000] [--server-cpu 0] [--load-cpu 1]
#               [--lockstep SECONDS]
#
# Each serves on one thread, on --server-cpu. The rounds are interleaved: within one each test runs
# against all servers in turn. Unpipelined tests make so many requests, those with 16 in a pipeline
# ten times as many. A line per test: medians, and the medians of the rounds' ratios to Redis.
#
# --lockstep: not redis-benchmark, but `window` on the same CPU, 50 connections for so long: server
# and client take turns, and the tenth of the turns that cost least counts. Both then wait equally
# often, and no processor wakes another.
set -u
. "$(dirname "$(readlink -f "$0")")/ratio.sh"
bin=$(dirname "$0")
rounds=5 requests=200000 keys=100000 server_cpu=0 load_cpu=1 lockstep=''
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 ;;
    --requests) requests=$2 ;;
    --keys) keys=$2 ;;
    --server-cpu) server_cpu=$2 ;;
    --load-cpu) load_cpu=$2 ;;
    --lockstep) lockstep=$2 ;;
    *) echo "kv_ratio: no such flag: $1" >&2; exit 2 ;;
    esac
    shift 2
done
kv=$bin/../examples/kv_sharded/kv_sharded
need redis-server redis-benchmark redis-cli
for backend in io_uring epoll; do
    start $backend "$server_cpu" "$kv" --alone --backend $backend
done
port[redis]=${port[epoll]}
up=no
for ((try = 0; try < 20; try++)); do # it cannot choose a port itself
    port[redis]=$((port[redis] > 60000 ? 20000 : port[redis] + 7))
    taskset -c "$server_cpu" redis-server --port "${port[redis]}" --bind 127.0.0.1 --save "" \
        --appendonly no --protected-mode no --maxclients 10000 >"$tmp/redis" &
    pid[redis]=$!
    while [ $up = no ] && kill -0 ${pid[redis]} 2>/dev/null; do
        redis-cli -p "${port[redis]}" ping 2>/dev/null | grep -q PONG && up=yes || sleep 0.05
    done
    [ $up = no ] || break
done
[ $up = yes ] || fail "redis-server did not start: $(cat "$tmp/redis")"

# rate SERVER COMMAND PIPELINE REQUESTS: requests per second of its CPU.
rate() {
    local before after
    before=$(ticks "$1")
    taskset -c "$load_cpu" redis-benchmark -p "${port[$1]}" -q -r "$keys" -t "$2" -P "$3" -n "$4" \
        >/dev/null 2>&1 || fail "redis-benchmark"
    after=$(ticks "$1")
    echo $(($4 * $(getconf CLK_TCK) / (after - before + 1)))
}

# rate_in_turns SERVER COMMAND PIPELINE: the same in lockstep
crlf=$'\r\n'
rate_in_turns() {
    local key="\$16${crlf}key:__rand_int__$crlf" request reply
    case $2 in
    get) request="*2$crlf\$3${crlf}GET$crlf$key" reply="\$3${crlf}xxx$crlf" ;;
    set) request="*3$crlf\$3${crlf}SET$crlf$key\$3${crlf}xxx$crlf" reply="+OK$crlf" ;;
    esac
    taskset -c "$server_cpu" "$bin/window" --lockstep 1 --port "${port[$1]}" --connections 50 \
        --server-pid "${pid[$1]}" --pipeline "$3" --request "$request" --reply "$reply" \
        --keys "$keys" --warmup 0.2 --seconds "$lockstep" >"$tmp/window" || fail "window: $1, $2"
    sed -nE 's/.*"requests_per_server_cpu_s":([0-9]+).*/\1/p' "$tmp/window"
}

# First of all: later, connections find memory that the load has left.
for server in redis io_uring epoll; do
    printf '%s: ' $server
    "$bin/idle" --port "${port[$server]}" --server-pid "${pid[$server]}" --from 1000 --to 4000 \
        --line PING | sed -nE 's/.*"bytes_per_connection":([0-9]+).*/\1 bytes per idle connection/p'
done

if [ -n "$lockstep" ]; then # with redis-benchmark some are missing, and their replies shorter
    for server in redis io_uring epoll; do
        seq 0 $((keys - 1)) | awk '{ printf "SET key:%012d xxx\r\n", $1 }' |
            redis-cli -p "${port[$server]}" --pipe >"$tmp/pipe" || fail "$(cat "$tmp/pipe")"
    done
fi
for ((round = 1; round <= rounds; round++)); do
    for command in set get; do
        for pipeline in 1 16; do
            n=$((pipeline == 1 ? requests : 10 * requests))
            for server in redis io_uring epoll; do
                if [ -n "$lockstep" ]; then
                    now=$(rate_in_turns $server $command $pipeline) || exit 1
                else
                    now=$(rate $server $command $pipeline $n) || exit 1
                fi
                echo "$command $pipeline $round $server $now"
            done
        done
    done
done >"$tmp/rates"

awk "$median"'
{ rate[$1 " " $2, $3, $4] = $5; tests[$1 " " $2]; if ($3 > rounds) rounds = $3 }
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
