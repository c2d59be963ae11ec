#!/bin/sh
# Makes all tables at small size, without the peers that are built outside; asserts no times.
set -u
bin=$(dirname "$0")
tmp=$(mktemp -d "${TEST_TMPDIR:-/tmp}/tables_smoke.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
fail() {
    echo "FAIL: $*" >&2
    cat "$tmp"/* >&2
    exit 1
}

if ! "$bin/echo_ratio_no_uv" --size-small --servers raw_uring >"$tmp/probe" 2>&1; then
    grep -Eq 'io_uring.*(Operation not permitted|Function not implemented)' "$tmp/probe" ||
        fail "echo_ratio"
    echo "SKIPPED: io_uring is refused here, and the load generator needs it"
    exit 0
fi
sh "$bin/tables.sh" --small --programs "$bin/.." --out "$tmp/tables.md" 2>"$tmp/stderr" ||
    fail "tables.sh"
[ "$(grep -c '^## ' "$tmp/tables.md")" -eq 19 ] || fail "there must be 19 tables"
for row in xev_uring:10 xev_epoll:10 raw_uring:11 xev_uring_spin:1 queue_work:1 file_reads_one:1 \
    file_reads_beside:1 shard_ask_one:1 'xev on epoll:1'; do
    got=$(grep -c "^| ${row%:*} |" "$tmp/tables.md")
    [ "$got" -eq "${row##*:}" ] || fail "${row%:*}: $got rows instead of ${row##*:}"
done
for flags in "--colour" "--rounds 0" "--rounds" "--programs $tmp"; do
    # shellcheck disable=SC2086
    sh "$bin/tables.sh" $flags >"$tmp/refused" 2>&1
    [ $? -eq 2 ] || fail "exit status with $flags"
done
echo "PASS"
