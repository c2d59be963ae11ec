#!/bin/sh
# support_test.sh MATRIX DOC HEADER...: DOC is what the program MATRIX prints, and names every function
# of the headers that begins an operation, which is to say takes a callback for its end.
set -eu
matrix=$1 doc=$2
shift 2

wanted=$(mktemp "${TEST_TMPDIR:-/tmp}/support.XXXXXX")
"$matrix" >"$wanted"
if ! diff -u "$doc" "$wanted"; then
    echo "docs/support.md is not what the code says: bazel run //tools:support_matrix >docs/support.md"
    exit 1
fi

# A declaration a line, then those whose last parameter is a callback named cb.
calls=$(cat "$@" | tr '\n' ' ' | tr ';' '\n' |
    sed -nE 's/.*[ *](xev_[a-z0-9_]+)\([^()]*_cb cb\) *$/\1/p' | grep -v '^xev_loop_walk$')
[ "$(echo "$calls" | wc -l)" -ge 70 ] || { echo "found too few calls: $calls"; exit 1; }
missing=0
for call in $calls; do
    grep -q "^| $call |" "$doc" || { echo "$call has no row in tools/support_matrix.h"; missing=1; }
done
exit $missing
