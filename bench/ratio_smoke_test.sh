#!/bin/bash
# Runs the comparisons with nginx and Redis at small size, so that they cannot rot; asserts no times.
# Those whose program is not installed are named, and left out.
# usage: ratio_smoke_test.sh HTTP_FILES TCP_PROXY ECHO LOAD
set -u
bin=$(dirname "$0")
tmp=$(mktemp -d "${TEST_TMPDIR:-/tmp}/ratio_smoke.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
PATH=$PATH:/usr/sbin
last=$(($(nproc) - 1))

# check LINES PATTERN SCRIPT ARGUMENT...: it prints so many lines, each of which has the pattern
check() {
    local lines=$1 pattern=$2
    shift 2
    if ! bash "$@" >"$tmp/out" 2>"$tmp/err"; then
        if grep -q 'is not installed' "$tmp/err"; then
            cat "$tmp/err"
            return
        fi
        echo "FAIL: $*" >&2
        cat "$tmp/out" "$tmp/err" >&2
        exit 1
    fi
    if [ "$(grep -Ec "$pattern" "$tmp/out")" -ne "$lines" ] || [ "$(wc -l <"$tmp/out")" -ne "$lines" ]; then
        echo "FAIL: $* must print $lines lines with $pattern" >&2
        cat "$tmp/out" >&2
        exit 1
    fi
}

check 8 '"requests_per_server_cpu_s": [1-9][0-9]*, "to_nginx": [0-9]' \
    "$bin/http_ratio.sh" "$1" 1 1 0 $last
if [ -n "$(find /usr/lib/nginx -name ngx_stream_module.so 2>/dev/null)" ]; then
    check 6 '"requests_per_server_cpu_s": [1-9]' "$bin/proxy_ratio.sh" "$2" "$3" "$4" 1 1 0 $last
else
    echo "proxy_ratio: nginx's stream module is not installed"
fi
check 7 'bytes per idle connection|in a pipeline:  redis [1-9]' \
    "$bin/kv_ratio.sh" --rounds 1 --requests 200 --keys 100 --load-cpu $last
check 7 'bytes per idle connection|in a pipeline:  redis [1-9]' \
    "$bin/kv_ratio.sh" --rounds 1 --lockstep 0.1 --keys 100
