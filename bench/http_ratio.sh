#!/bin/bash
# examples/http_files beside nginx: a file of 1 KiB and one of 100 KiB, by wrk over 64 connections that
# stay open. One core for the server, one for wrk. Prints requests per second of the server's CPU,
# medians of interleaved rounds, and the medians of the rounds' ratios to nginx.
#
# usage: http_ratio.sh HTTP_FILES [ROUNDS [SECONDS [SERVER_CPU [LOAD_CPU]]]]
# nginx is one process with sendfile and without a log; nginx_cached keeps files open as well
# (open_file_cache), which http_files does not. Needs Debian's nginx and wrk.
set -eu
http_files=$1 rounds=${2:-5} seconds=${3:-3} cpu=${4:-0} other=${5:-1}
servers="io_uring epoll nginx nginx_cached"
tmp=$(mktemp -d)
declare -A pid port
cleanup() {
    kill "${pid[@]}" 2>/dev/null || true
    wait
    rm -rf "$tmp"
}
trap cleanup EXIT
for program in nginx wrk; do
    command -v $program >/dev/null || { echo "http_ratio: $program is not installed" >&2; exit 1; }
done

mkdir "$tmp/www"
chmod 755 "$tmp" "$tmp/www"
head -c 1024 /dev/urandom >"$tmp/www/1024"
head -c 102400 /dev/urandom >"$tmp/www/102400"
for backend in io_uring epoll; do
    taskset -c "$cpu" "$http_files" --alone --backend $backend --port 0 --root "$tmp/www" \
        >"$tmp/$backend" &
    pid[$backend]=$!
    until grep -q 'listening on' "$tmp/$backend"; do sleep 0.05; done
    port[$backend]=$(sed -nE 's/^listening on [^ ]*:([0-9]+).*/\1/p' "$tmp/$backend")
done
for who in nginx nginx_cached; do
    port[$who]=$((20000 + RANDOM % 10000))
    cache=$([ $who = nginx ] || echo "open_file_cache max=100;")
    cat >"$tmp/$who.conf" <<EOF
daemon off; master_process off; pid $tmp/$who.pid; error_log $tmp/$who.log;
events { worker_connections 8192; }
http {
    access_log off; sendfile on; keepalive_requests 100000000; $cache
    server { listen 127.0.0.1:${port[$who]}; root $tmp/www; }
}
EOF
    taskset -c "$cpu" nginx -p "$tmp" -c "$tmp/$who.conf" 2>/dev/null &
    pid[$who]=$!
    until (: <"/dev/tcp/127.0.0.1/${port[$who]}") 2>/dev/null; do sleep 0.05; done
done

ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
# rate NAME SIZE: requests per second of its CPU; every one of them has to succeed.
rate() {
    local before after
    before=$(ticks "${pid[$1]}")
    taskset -c "$other" wrk -t 1 -c 64 -d "${seconds}s" "http://127.0.0.1:${port[$1]}/$2" \
        >"$tmp/wrk"
    after=$(ticks "${pid[$1]}")
    ! grep -qE 'Non-2xx|Socket errors' "$tmp/wrk" || { cat "$tmp/wrk" >&2; exit 1; }
    awk -v hz="$(getconf CLK_TCK)" -v ticks=$((after - before + 1)) \
        '/requests in/ { printf "%d\n", $1 * hz / ticks }' "$tmp/wrk"
}
for size in 1024 102400; do
    for ((round = 0; round < rounds; round++)); do
        line="$size"
        for who in $servers; do line+=" $(rate "$who" $size)"; done
        echo "$line"
    done
done | awk -v servers="$servers" '
function median(values, n,   i, j, t) {
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && values[j] < values[j - 1]; j--) {
            t = values[j]; values[j] = values[j - 1]; values[j - 1] = t
        }
    return n % 2 ? values[(n + 1) / 2] : (values[n / 2] + values[n / 2 + 1]) / 2
}
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
}'
