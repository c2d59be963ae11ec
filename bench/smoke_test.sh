#!/bin/sh
# Runs the benchmark programs at small size and checks what they print; asserts no times.
# Usage: smoke_test.sh [FOLDER_OF_THE_PROGRAMS]
set -u
bin=${1:-$(dirname "$0")}
tmp=$(mktemp -d "${TEST_TMPDIR:-/tmp}/bench_smoke.XXXXXX") || exit 1
server_pid=
cleanup() {
    [ -z "$server_pid" ] || kill -9 "$server_pid" 2>/dev/null
    rm -rf "$tmp"
}
trap cleanup EXIT

fail() {
    echo "FAIL: $*" >&2
    cat "$tmp"/* >&2
    exit 1
}

# start PROGRAM FLAGS...: sets server_pid and port.
start() {
    : >"$tmp/ready" # here: the server begins in its own time, and what the last one said is there
    "$@" --host 127.0.0.1 --port 0 >"$tmp/ready" 2>"$tmp/stderr" &
    server_pid=$!
    port=
    while [ -z "$port" ] && kill -0 "$server_pid" 2>/dev/null; do
        sleep 0.05
        port=$(sed -n 's/^listening on 127\.0\.0\.1:\([0-9][0-9]*\)$/\1/p' "$tmp/ready")
    done
}

stop() {
    kill -TERM "$server_pid"
    wait "$server_pid" || fail "exit status $? after SIGTERM"
    server_pid=
}

# load_ok FLAGS...: a short run that must end without an error. By requests: in a short time a
# loaded machine may not get to one.
load_ok() {
    "$bin/load" --port "$port" --warmup 0.02 --server-pid "$server_pid" "$@" \
        >"$tmp/load" 2>"$tmp/load_stderr" || fail "load $*"
    grep -q '"errors":0,' "$tmp/load" || fail "errors with load $*"
}

start "$bin/raw_uring_echo"
if [ -z "$port" ]; then
    if grep -Eq 'queue_init_params: (Operation not permitted|Function not implemented)' \
        "$tmp/stderr"; then
        echo "SKIPPED: io_uring is refused here, and the load generator needs it"
        server_pid=
        exit 0
    fi
    fail "raw_uring_echo is not ready"
fi
stop

# Every field of the driver's lines, and no errors.
"$bin/echo_ratio_raw" --size-small --servers raw_uring,raw_epoll --peer "peer=$bin/raw_epoll_echo" \
    >"$tmp/ratio" 2>"$tmp/stderr" || fail "echo_ratio"
[ "$(wc -l <"$tmp/ratio")" -eq 4 ] || fail "echo_ratio must print four lines"
for server in raw_uring raw_epoll peer; do
    line=$(grep "^{\"server\":\"$server\"," "$tmp/ratio") || fail "no line for $server"
    for field in requests_per_s requests_per_server_cpu_s mb_per_s p50_us p99_us p999_us \
        server_cpu_s client_cpu_s; do
        echo "$line" | grep -Eq "\"$field\":0*[.]?0*[1-9]" || fail "$server: $field"
    done
    echo "$line" | grep -q '"errors":0,' || fail "$server: errors"
done
number='[0-9]+\.[0-9]+'
ratio="\"requests_per_s\":$number,\"requests_per_server_cpu_s\":$number"
grep -Eq "^\{\"ratios\":\{\"raw_uring/raw_epoll\":\{$ratio\}\}\}\$" "$tmp/ratio" ||
    fail "ratio line"

# In turns with its client.
"$bin/echo_ratio_raw" --size-small --servers raw_uring,raw_epoll --lockstep --pipeline 4 \
    >"$tmp/lockstep" 2>"$tmp/stderr" || fail "echo_ratio --lockstep"
[ "$(grep -Ec '"requests_per_server_cpu_s":[1-9].*"errors":0,' "$tmp/lockstep")" -eq 2 ] ||
    fail "the lines of lockstep"

# A connection for each request, and the table.
"$bin/echo_ratio_raw" --size-small --servers raw_uring,raw_epoll --reconnect \
    --connections 8 --markdown >"$tmp/table" 2>"$tmp/stderr" ||
    fail "echo_ratio --reconnect --markdown"
[ "$(grep -Ec '^[|] raw_(uring|epoll) [|]( [0-9.]+ [|]){9} [0-9]+ % [|]$' "$tmp/table")" -eq 2 ] ||
    fail "the rows of the table"

# A server that is not there is an error, not a shorter result.
if "$bin/echo_ratio_raw" --size-small --servers xev_uring --echo-sharded "$tmp/none" \
    >"$tmp/missing" 2>&1; then
    fail "a missing server went unnoticed"
fi

# Byte-exact with deep pipelines, large messages and starved buffers; alive after resets.
for server in raw_uring_echo raw_epoll_echo "raw_uring_echo --buffers 4 --buffer-bytes 256"; do
    # shellcheck disable=SC2086
    start "$bin"/$server
    [ -n "$port" ] || fail "$server is not ready"
    load_ok --requests 5000 --pipeline 16 --connections 8
    load_ok --requests 5000 --pipeline 300 --size 7 --connections 3
    load_ok --requests 100 --size 200000 --pipeline 2 --connections 2
    "$bin/load" --port "$port" --pipeline 64 --size 5000 --connections 50 --seconds 30 \
        >"$tmp/killed" 2>&1 &
    killed=$!
    sleep 0.2
    kill -9 $killed
    wait $killed 2>/dev/null
    load_ok --requests 500 --connections 5
    stop
done
echo "PASS"
