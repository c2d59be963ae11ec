#!/bin/sh
# What a cached read of 4 KiB costs in user space, counted by callgrind: the slope from 4 000 to
# 12 000 reads, with 32 and with one under way. More than 5 % over the budget fails. How many reads
# share a turn depends on how long they take: the least of some runs counts.
#
#   file_counts_test.sh INSTRUCTIONS_PER_READ
set -u
bin=$(dirname "$0")
budget=$1
tmp=$(mktemp -d "${TEST_TMPDIR:-/tmp}/file_counts.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
fail() {
    echo "FAIL: $*"
    cat "$tmp"/log 2>/dev/null
    exit 1
}

case $(stat -f -c %T "${TEST_TMPDIR:-/tmp}") in
ext* | xfs | btrfs) ;;
*)
    echo "SKIPPED: this file system cannot say that it would wait"
    exit 0
    ;;
esac

# instructions READS WINDOW: of the whole program.
instructions() {
    valgrind --tool=callgrind --callgrind-out-file="$tmp/out" "$bin/xev_bench_opt" file_reads \
        --backend epoll --window "$2" --count "$1" >"$tmp/log" 2>&1 || fail "callgrind"
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$tmp/log"
}

for window in 32 1; do
    few=$(instructions 4000 $window)
    many=$(instructions 12000 $window)
    for run in 1 2 3 4 5; do
        per_read=$(((many - few) / 8000))
        [ "$per_read" -gt 0 ] || fail "no count"
        [ $((per_read * 100)) -gt $((budget * 105)) ] || break
        again=$(instructions 12000 $window)
        [ "$again" -ge "$many" ] || many=$again
    done
    echo "window $window: $per_read instructions per read, budget $budget"
    [ $((per_read * 100)) -le $((budget * 105)) ] || fail "over the budget by more than 5 %"
done
echo "PASS"
