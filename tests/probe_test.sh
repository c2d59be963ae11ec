#!/bin/sh
# Tracepoints: a program that is built with them has all of those that xev/os/probe.h lists, with as
# many arguments, and one that is not has none. The scripts of docs/bpftrace use no others.
#
#   probe_test.sh PROBED PLAIN PROBE_H SCRIPT...
set -u
probed=$1 plain=$2 header=$3
shift 3
failed=0
fail() {
    echo "FAIL: $*"
    failed=1
}

# "name arguments" for each probe in a program. A probe in inline code stands there several times.
probes() {
    readelf -n -W "$1" | awk '
        /Provider: / { xev = $NF == "xev" }
        xev && /Name: / { name = $2 }
        xev && /Arguments: / { print name, NF - 1 }' | sort -u
}
listed=$(sed -n 's/^ \*     \([a-z_]*\)  *[a-z].*/\1/p' "$header" | sort)
[ "$(echo "$listed" | wc -l)" -ge 12 ] || fail "$header lists: $listed"

[ -z "$(probes "$plain")" ] || fail "a plain build has probes: $(probes "$plain")"
if ! echo '#include <sys/sdt.h>' | "${CC:-cc}" -E - >/dev/null 2>&1; then
    [ -z "$(probes "$probed")" ] || fail "without sys/sdt.h there are probes"
    echo "there is no sys/sdt.h (systemtap-sdt-dev): nothing more to test"
    exit $failed
fi

found=$(probes "$probed")
names=$(echo "$found" | cut -d ' ' -f 1 | sort -u)
[ "$names" = "$listed" ] || fail "there are: $names; listed are: $listed"
for probe in "turn__begin 1" "turn__end 2" "callback__begin 3" "callback__end 2" "accept 2" \
    "conn__opened 2" "conn__closed 3" "message__sent 3" "message__delivered 2" "pool__submit 3" \
    "pool__start 2" "pool__end 2"; do
    echo "$found" | grep -qx "$probe" || fail "not there with so many arguments: $probe"
done
for script in "$@"; do
    used=$(sed -n 's/^usdt:[^:]*:xev:\([a-z_]*\).*/\1/p' "$script")
    [ -n "$used" ] || fail "$script uses no probe"
    for name in $used; do
        echo "$listed" | grep -qx "$name" || fail "$script: $name is no probe"
    done
done
exit $failed
