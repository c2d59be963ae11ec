#!/bin/sh
# Runs every micro-benchmark for xev at small size and checks what it prints; asserts no times.
# Usage: loop_smoke_test.sh BACKEND...
set -u
bin=$(dirname "$0")
tmp=$(mktemp -d "${TEST_TMPDIR:-/tmp}/loop_smoke.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT

fail() {
    echo "FAIL: $*" >&2
    cat "$tmp"/* >&2
    exit 1
}

# check_line BENCH BACKEND COUNT: the line in `out`. Time passes, CPU may be too little to tell.
check_line() {
    start="^{\"bench\":\"$1\",\"who\":\"xev\",\"backend\":\"$2\",\"count\":$3,\"threads\":[0-9]+"
    number='[0-9]+\.[0-9][0-9]'
    times="\"ns_per_op\":$number,\"cpu_ns_per_op\":$number,\"ops_per_s\":[1-9][0-9]*"
    [ "$(wc -l <"$tmp/out")" -eq 1 ] || fail "$1 on $2 must print one line"
    grep -Eq "$start,\"window\":[0-9]+,$times(,\"[a-z0-9_]+\":$number)*}\$" "$tmp/out" ||
        fail "$1 on $2: fields"
}

# ok BENCH BACKEND COUNT FLAGS...
ok() {
    bench=$1 backend=$2 count=$3
    shift 3
    "$bin/xev_bench" "$bench" --backend "$backend" --count "$count" "$@" >"$tmp/out" \
        2>"$tmp/stderr" || fail "$bench on $backend, count $count $*"
    check_line "$bench" "$backend" "$count"
}

# refused FLAGS...: exit status 2 and one line.
refused() {
    "$bin/xev_bench" "$@" >"$tmp/out" 2>"$tmp/stderr"
    [ $? -eq 2 ] || fail "exit status with $*"
    [ "$(cat "$tmp/out" "$tmp/stderr" | wc -l)" -eq 1 ] || fail "one line with $*"
}

benches=$("$bin/xev_bench" --list | sed 's/ .*//') || fail "--list"
[ "$(echo "$benches" | wc -l)" -eq 23 ] || fail "--list must name 23 benchmarks"
for backend in "$@"; do
    # A batch of small writes is more than the kernel takes at once.
    for bench in $benches; do
        ok "$bench" "$backend" 20
    done
    for bench in million_timers timers_cancelled deadlines ping_pongs async_pummel async_ping \
        udp_pummel queue_work fs_stat accepts shard_request shard_ask shard_ask_one \
        shard_send; do
        ok "$bench" "$backend" 1
        ok "$bench" "$backend" 2001
    done
    ok tcp_write_batch "$backend" 100000
    ok tcp_pump "$backend" 300
    ok async_pummel "$backend" 500 --threads 3
    ok queue_work "$backend" 500 --threads 1 --window 1
    ok fs_stat "$backend" 500 --threads 2 --window 100
    ok file_reads "$backend" 500 --window 7
    ok file_writes "$backend" 500 --window 7
    ok file_reads_uncached "$backend" 500 --threads 1 --window 3
    ok file_reads_one "$backend" 2001
    ok file_reads_beside "$backend" 50 --window 1
    ok timers_cancelled "$backend" 500 --window 7
    ok accepts "$backend" 50 --window 7
    ok shard_request "$backend" 500 --window 1
    ok shard_ask "$backend" 500 --window 7
    ok shard_send "$backend" 500 --window 3
done

refused
refused none
refused --count 1
refused ping_pongs --count
refused ping_pongs --count 0
refused ping_pongs --count 1x
refused ping_pongs --threads 2
refused ping_pongs --window 2
refused ping_pongs --backend select
refused ping_pongs --colour
refused queue_work --threads 0

# What a cached read costs is counted: one system call, and no thread. A turn of the loop adds one,
# and on a slow machine the time limit of a turn may end it after a single read.
file_reads_cost() {
    "$bin/xev_bench" file_reads_one --count 6400 --backend "$1" >"$tmp/out" 2>"$tmp/stderr" ||
        fail "file_reads_one on $1"
    grep -Eq '"pool_tasks":0\.00' "$tmp/out" || fail "a cached read took a thread on $1"
    grep -Eq '"loop_syscalls":(1\.[0-9]{2}|2\.0[0-9])' "$tmp/out" || fail "system calls per read on $1"
}
case $(stat -f -c %T "${TEST_TMPDIR:-/tmp}") in
ext* | xfs | btrfs) # they can say that they would wait
    for backend in "$@"; do
        file_reads_cost "$backend"
    done
    ;;
esac

# The bare programs print the same line.
if [ -x "$bin/raw_bench" ]; then
    for backend in io_uring pread nowait threads; do
        for bench in $("$bin/raw_bench" --list | sed 's/ .*//'); do
            "$bin/raw_bench" "$bench" --count 100 --backend "$backend" >"$tmp/out" \
                2>"$tmp/stderr" || fail "raw_bench $bench on $backend"
            grep -q '"who":"raw"' "$tmp/out" || fail "raw_bench: fields"
        done
    done
fi

# The driver, with xev in libuv's place.
ratio() {
    "$bin/loop_ratio.sh" --xev "$bin/xev_bench" --uv "$bin/xev_bench" "$@" >"$tmp/out" \
        2>"$tmp/stderr"
}
ratio --rounds 2 --count 300 --who uv,xev_epoll --benches ping_pongs,udp_pummel || fail "loop_ratio"
[ "$(wc -l <"$tmp/out")" -eq 5 ] || fail "loop_ratio must print five lines"
[ "$(grep -c '"count":300,' "$tmp/out")" -eq 4 ] || fail "loop_ratio: medians"
number='([0-9]+\.[0-9]+|-?nan|inf)'
one="{\"xev_epoll/uv\":{\"ns_per_op\":$number,\"cpu_ns_per_op\":$number}}"
grep -Eq "^{\"ratios\":{\"ping_pongs\":$one,\"udp_pummel\":$one}}\$" "$tmp/out" ||
    fail "loop_ratio: last line"
ratio --rounds 1 --count 300 --who uv,xev_epoll --benches ping_pongs,shard_send --markdown yes ||
    fail "loop_ratio --markdown"
[ "$(grep -Ec '^[|] (ping_pongs|shard_send) [|]' "$tmp/out")" -eq 2 ] || fail "loop_ratio: rows"
for flags in "--rounds 0" "--rounds" "--benches none" "--who them" "--colour 1"; do
    # shellcheck disable=SC2086
    ratio $flags
    [ $? -eq 2 ] || fail "loop_ratio: exit status with $flags"
done
if ratio --rounds 1 --count 1 --benches spawn --uv "$tmp/none"; then
    fail "a missing program went unnoticed"
fi
echo "PASS"
