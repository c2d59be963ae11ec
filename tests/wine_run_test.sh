#!/bin/bash
# wine_run_test.sh: toolchains/mingw/wine_run.sh, over a Wine of ours that does what matters there:
# it makes a prefix in steps, and its server writes into the files of the registry in place.
set -u
runner=$PWD/toolchains/mingw/wine_run.sh
scratch=${TEST_TMPDIR:-$(mktemp -d)}/wine_run
failures=0

fail() {
    echo "FAILED: $1"
    failures=$((failures + 1))
}

# runs WHO: a program in a copy of the template.
runs() {
    "$runner" 7 </dev/null >"$scratch/log" 2>&1
    [ $? = 7 ] || fail "$1: $(cat "$scratch/log")"
}

rm -rf "$scratch"
mkdir -p "$scratch/bin"
cat >"$scratch/bin/wine" <<'WINE'
#!/bin/sh
registry() {
    for name in system user userdef; do
        printf 'WINE REGISTRY Version 2\n#arch=win64\n' >>"$WINEPREFIX/$name.reg"
    done
}
case $1 in
--version) echo "wine-8.0 (of the test)" ;;
wineboot)
    echo made >>"$SCRATCH/made"
    mkdir -p "$WINEPREFIX/dosdevices" "$WINEPREFIX/drive_c/windows/system32"
    if [ -e "$SCRATCH/stop_half_way" ]; then
        : >"$SCRATCH/half_way"
        exec cat "$SCRATCH/fifo" # until it is killed
    fi
    echo kernel >"$WINEPREFIX/drive_c/windows/system32/kernel32.dll"
    echo 1 >"$WINEPREFIX/.update-timestamp"
    if [ ! -e "$SCRATCH/no_registry" ]; then registry; fi
    ;;
cmd)
    for name in system user userdef; do
        grep -q '^#arch=win64' "$WINEPREFIX/$name.reg" || exit 1
    done
    exit 42
    ;;
break) # the server is killed while it writes
    for name in system user userdef; do : >"$WINEPREFIX/$name.reg"; done
    exit 3
    ;;
*) # a program that says what it reads
    grep -q '^#arch=win64' "$WINEPREFIX/system.reg" || exit 1
    cat
    for name in system user userdef; do : >"$WINEPREFIX/$name.reg"; done
    registry
    exit "$1"
    ;;
esac
WINE
printf '#!/bin/sh\n' >"$scratch/bin/wineserver"
chmod +x "$scratch/bin/"*
mkfifo "$scratch/fifo"
export SCRATCH=$scratch PATH=$scratch/bin:$PATH
export XEV_WINE_PREFIXES=$scratch/prefixes

# Many at once, from nothing: one of them makes the template, and all run.
pids=()
for i in {1..16}; do
    "$runner" 7 </dev/null >"$scratch/$i.log" 2>&1 &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid"
    [ $? = 7 ] || fail "one of many that begin at once"
done
[ "$(wc -l <"$scratch/made")" = 1 ] || fail "several templates: $(wc -l <"$scratch/made")"
[ "$(wc -l <"$XEV_WINE_PREFIXES/wine-8.0/system.reg")" = 2 ] || fail "a copy writes to the template"
[ -z "$(ls -d "$XEV_WINE_PREFIXES"/copy.* 2>/dev/null)" ] || fail "a copy is left"

# A program has its streams, and its status is the runner's.
[ "$(echo input | "$runner" 0)" = input ] || fail "a program's streams"

# A copy that does not start any more is said to be one, and hurts nobody else.
"$runner" break >"$scratch/log" 2>&1
[ $? = 3 ] || fail "the status of a broken copy's program"
grep -q 'no program starts in this copy' "$scratch/log" || fail "a broken copy: $(cat "$scratch/log")"
runs "who comes after a broken copy"

# A template that lost a part is made again.
: >"$XEV_WINE_PREFIXES/wine-8.0/user.reg"
runs "a damaged template"
[ "$(wc -l <"$scratch/made")" = 2 ] || fail "a damaged template is not made again"

# One who is killed while it makes the template leaves none, and the next one makes it.
rm -rf "$XEV_WINE_PREFIXES"
: >"$scratch/stop_half_way"
setsid "$runner" 7 </dev/null >/dev/null 2>&1 &
maker=$!
until [ -e "$scratch/half_way" ]; do sleep 0.01; done
kill -KILL "$maker"
wait "$maker" 2>/dev/null
rm "$scratch/stop_half_way"
[ ! -e "$XEV_WINE_PREFIXES/wine-8.0" ] || fail "half a template has the name of a whole one"
kill -KILL -- "-$maker" # with what it has started
runs "who comes after one that was killed"
[ -z "$(ls -d "$XEV_WINE_PREFIXES"/making.* 2>/dev/null)" ] || fail "half a template is left"

# What Wine cannot make is said, and no program runs.
rm -rf "$XEV_WINE_PREFIXES"
: >"$scratch/no_registry"
"$runner" 7 </dev/null >"$scratch/log" 2>&1 && fail "it ran without a prefix"
grep -q 'there is no prefix to run in' "$scratch/log" || fail "no prefix: $(cat "$scratch/log")"

if [ "$failures" -gt 0 ]; then exit 1; fi
echo "wine_run_test: passed"
