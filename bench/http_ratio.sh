#!/bin/bash
# examples/http_files beside nginx: a file of 1 KiB and one of 100 KiB, by wrk over 64 connections that
# stay open. One core for the server, one for wrk. Prints requests per second of the server's CPU,
# medians of interleaved rounds, and the medians of the rounds' ratios to nginx.
#
# usage: http_ratio.sh HTTP_FILES [ROUNDS [SECONDS [SERVER_CPU [LOAD_CPU]]]]
# nginx is one process with sendfile and without a log; nginx_cached keeps files open as well
# (open_file_cache), which http_files does not. Needs Debian's nginx and wrk.
set -eu
. "$(dirname "$(readlink -f "$0")")/ratio.sh"
http_files=$1 rounds=${2:-5} seconds=${3:-3} cpu=${4:-0} other=${5:-1}
servers="io_uring epoll nginx nginx_cached"
need nginx wrk

mkdir "$tmp/www"
chmod 755 "$tmp" "$tmp/www"
head -c 1024 /dev/urandom >"$tmp/www/1024"
head -c 102400 /dev/urandom >"$tmp/www/102400"
for backend in io_uring epoll; do
    start $backend "$cpu" "$http_files" --alone --backend $backend --root "$tmp/www"
done
for who in nginx nginx_cached; do
    cache=$([ $who = nginx ] || echo "open_file_cache max=100;")
    start_nginx $who "$cpu" <<EOF
http {
    access_log off; sendfile on; keepalive_requests 100000000; $cache
    server { listen 127.0.0.1:@PORT@; root $tmp/www; }
}
EOF
done

# rate NAME SIZE: requests per second of its CPU; every one of them has to succeed.
rate() {
    local before after
    before=$(ticks "$1")
    taskset -c "$other" wrk -t 1 -c 64 -d "${seconds}s" "http://127.0.0.1:${port[$1]}/$2" \
        >"$tmp/wrk"
    after=$(ticks "$1")
    ! grep -qE 'Non-2xx|Socket errors' "$tmp/wrk" || fail "$1: $(cat "$tmp/wrk")"
    awk -v hz="$(getconf CLK_TCK)" -v ticks=$((after - before + 1)) \
        '/requests in/ { printf "%d\n", $1 * hz / ticks }' "$tmp/wrk"
}
for size in 1024 102400; do
    for ((round = 0; round < rounds; round++)); do
        line="$size"
        for who in $servers; do line+=" $(rate "$who" $size)"; done
        echo "$line"
    done
done >"$tmp/rates"
awk -v servers="$servers" "$median"'
{ n[$1]++; for (i = 2; i <= NF; i++) { rate[$1, n[$1], i - 1] = $i } }
END {
    count = split(servers, name)
    for (size in n)
        for (s = 1; s <= count; s++) {
            for (r = 1; r <= n[size]; r++) {
                v[r] = rate[size, r, s]; q[r] = rate[size, r, s] / rate[size, r, 3]
            }
            printf "{\"server\": \"%s\", \"size_bytes\": %d, \"requests_per_server_cpu_s\": %d, \"to_nginx\": %.2f}\n",
                name[s], size, median(v, n[size]), median(q, n[size])
        }
}' "$tmp/rates"
