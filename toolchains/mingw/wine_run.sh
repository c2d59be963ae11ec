#!/bin/sh
# wine_run.sh PROGRAM ARGS...: runs a Windows program under Wine; a script, such as one that tests one,
# as it is. bazel test --run_under=this.
#
# Bazel kills every process that a test leaves behind, the wineserver included, so tests must not
# share a prefix (Wine's C: and registry). A template is made once, which takes some ten seconds. It
# is made under another name, tried, and renamed, so it is whole or not there, and nobody changes it
# from then on. Each program runs in a copy. What is under C: are hard links there, but the registry
# is not: a wineserver writes into its files, rather than new ones, where they have several links.
#
# All of it is in the folder $XEV_WINE_PREFIXES.
set -eu
if [ -f "$1" ] && [ "$(head -c 2 "$1" | tr -d '\0')" = '#!' ]; then exec "$@"; fi
base="${XEV_WINE_PREFIXES:-/tmp/xev-wine-$(id -u)}"
export LC_ALL=C.UTF-8 # of names of files
export WINEDEBUG="${WINEDEBUG:--all}"
export WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe="
unset DISPLAY WAYLAND_DISPLAY || :

fail() {
    echo "wine_run: $*" >&2
    exit 1
}

# in_prefix PREFIX COMMAND...
in_prefix() {
    prefix=$1
    shift
    WINEPREFIX=$prefix HOME=$prefix "$@"
}

# starts PREFIX: whether a program runs there.
starts() {
    status=0
    in_prefix "$1" timeout --foreground 120 wine cmd /c "exit 42" >/dev/null 2>&1 || status=$?
    [ "$status" -eq 42 ]
}

# whole PREFIX: whether its registry and its libraries are there, up to the end.
whole() {
    for name in system user userdef; do
        [ -s "$1/$name.reg" ] && [ "$(head -n 1 "$1/$name.reg")" = "WINE REGISTRY Version 2" ] &&
            grep -q '^#arch=win64' "$1/$name.reg" && [ -z "$(tail -c 1 "$1/$name.reg")" ] || return 1
    done
    [ -s "$1/drive_c/windows/system32/kernel32.dll" ] && [ -e "$1/.update-timestamp" ]
}

# remove PREFIX: with the folder of its wineserver's socket.
remove() {
    if [ -s "$1/wineserver" ]; then rm -rf "${TMPDIR:-/tmp}/$(cat "$1/wineserver")"; fi
    rm -rf "$1" || : # what still runs there may write
}

# make TEMPLATE
make() {
    for left in "$base"/making.*; do # by one who was killed
        if [ -e "$left" ]; then remove "$left"; fi
    done
    making=$(mktemp -d "$base/making.XXXXXX")
    in_prefix "$making" timeout --foreground 300 wine wineboot -i >"$base/log" 2>&1 </dev/null || :
    in_prefix "$making" wineserver -w
    if ! starts "$making"; then
        cat "$base/log" >&2
        fail "no program starts in the prefix that Wine has made"
    fi
    in_prefix "$making" wineserver -w
    whole "$making" || fail "Wine has made a prefix without a whole registry"
    if [ -e "$1" ]; then remove "$1"; fi
    mv -T "$making" "$1"
}

mkdir -p "$base"
template=$base/$(wine --version | cut -d ' ' -f 1)
copy=$(mktemp -d "$base/copy.XXXXXX")
(
    flock 9
    # Whom Wine starts has no part in the lock, and nobody else's end is waited for.
    if ! whole "$template" 2>/dev/null; then make "$template" 9>&-; fi
    find "$base" -maxdepth 1 -name '*.??????' -mmin +1440 | # of those who were killed
        while read -r old; do remove "$old"; done
    cp -a "$template"/*.reg "$template/.update-timestamp" "$template/dosdevices" "$copy"
    cp -al "$template/drive_c" "$copy"
) 9>"$base/lock" || fail "there is no prefix to run in"

end() {
    in_prefix "$copy" wineserver -k || :
    remove "$copy"
}
trap 'end; exit 143' TERM INT HUP

# The shell heeds signals while it waits for a child in the background only.
rc=0
exec 8<&0
in_prefix "$copy" wine "$@" <&8 8<&- &
wait $! || rc=$?
if [ "$rc" -ne 0 ] && ! starts "$copy"; then
    echo "wine_run: no program starts in this copy of the prefix: $copy" >&2
    whole "$copy" || echo "wine_run: its registry is not whole" >&2
    whole "$template" || echo "wine_run: nor is that of the template, $template" >&2
fi
end
exit "$rc"
