#!/bin/sh
# mpsc_model_test.sh MODEL: SPIN finds no error in the model of the wake protocol, and one as soon
# as any of the things is left out that its text says make it hold. One push for each producer, a
# second for each search; the model's text says how to run the larger one.
set -eu
model=$1
command -v spin >/dev/null || { echo "spin is missing (Debian: apt-get install spin)"; exit 1; }
dir=$(mktemp -d "${TEST_TMPDIR:-/tmp}/model.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cp "$model" "$dir/wake.pml"
cd "$dir"

# errors [-DNAME]: how many the search finds.
errors() {
    spin -DPUSHES=1 "$@" -a wake.pml >spin.log
    gcc -O2 -DCOLLAPSE -o pan pan.c >gcc.log 2>&1
    ./pan -m100000 >pan.log
    sed -n 's/^State-vector.* errors: \([0-9]*\)$/\1/p' pan.log
}

expect() {
    want=$1
    shift
    found=$(errors "$@")
    [ "$found" = "$want" ] && return
    echo "errors: '$found' instead of $want with: $*"
    cat ./*.log
    exit 1
}

expect 0
left_out=$(sed -n 's/^ \*     \([A-Z_]*\)  .*/\1/p' wake.pml)
[ "$(echo "$left_out" | wc -l)" -ge 7 ] || { echo "found too few: $left_out"; exit 1; }
for name in $left_out; do
    grep -q "ifn*def $name\$" wake.pml || { echo "$name changes nothing"; exit 1; }
    expect 1 "-D$name"
done
