#!/bin/bash
# examples/tcp_proxy beside nginx's stream module, as proxies in front of an echo server. One core for
# the proxy, one for the load and the echo server together. Prints requests per second of the
# proxy's CPU: medians of interleaved rounds.
#
# usage: proxy_ratio.sh TCP_PROXY ECHO LOAD [ROUNDS [SECONDS [PROXY_CPU [OTHER_CPU]]]]
# ECHO is bench/raw_epoll_echo. Needs nginx with its stream module (Debian: libnginx-mod-stream).
set -eu
. "$(dirname "$(readlink -f "$0")")/ratio.sh"
proxy=$1 echo=$2 load=$3 rounds=${4:-5} seconds=${5:-3} cpu=${6:-0} other=${7:-1}
need nginx

start echo "$other" "$echo"
for backend in io_uring epoll; do
    start $backend "$cpu" "$proxy" --alone --backend $backend --check-ms 3600000 \
        --upstream "127.0.0.1:${port[echo]}"
done
module=$(find /usr/lib/nginx -name ngx_stream_module.so | head -1)
start_nginx nginx "$cpu" "${module:+load_module $module;}" <<EOF
stream {
    server { listen 127.0.0.1:@PORT@; proxy_pass 127.0.0.1:${port[echo]}; }
}
EOF

# measure NAME CONNECTIONS SIZE
measure() {
    "$load" --port "${port[$1]}" --connections "$2" --size "$3" --cpu "$other" \
        --seconds "$seconds" --warmup 0.5 --server-pid "${pid[$1]}" |
        sed -E 's/.*"requests_per_server_cpu_s": ?([0-9.]+).*/\1/' >>"$tmp/$1.$3"
}
for shape in "64 1024" "16 65536"; do
    read -r connections size <<<"$shape"
    for ((round = 0; round < rounds; round++)); do
        for who in io_uring epoll nginx; do measure $who "$connections" "$size"; done
    done
    for who in io_uring epoll nginx; do
        awk -v who=$who -v connections="$connections" -v size="$size" "$median"'
            { v[NR] = $1 }
            END {
                printf "{\"proxy\": \"%s\", \"connections\": %d, \"size_bytes\": %d, ", who,
                    connections, size
                printf "\"requests_per_server_cpu_s\": %d}\n", median(v, NR)
            }' "$tmp/$who.$size"
    done
done
