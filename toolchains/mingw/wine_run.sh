#!/bin/sh
# Runs a Windows program under Wine: bazel test --run_under=this.
#
# Bazel kills every process that a test leaves behind, the wineserver included, so tests must not
# share one. A template prefix is made once, which takes some ten seconds; each test gets its own
# copy by hard links, and so a wineserver of its own.
set -eu
template="${XEV_WINE_TEMPLATE:-/tmp/xev-wine-template-$(id -u)}"
export LC_ALL=C.UTF-8 # of names of files
export WINEDEBUG="${WINEDEBUG:--all}"
export WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe="
unset DISPLAY WAYLAND_DISPLAY || true

(
    flock 9
    if [ ! -e "$template/.ready" ]; then
        rm -rf "$template"
        WINEPREFIX="$template" HOME="$template" wine wineboot -i >/dev/null 2>&1
        WINEPREFIX="$template" wineserver -w
        touch "$template/.ready"
    fi
) 9>"$template.lock"

WINEPREFIX="$(mktemp -d /tmp/xev-wine-XXXXXX)"
export WINEPREFIX HOME="$WINEPREFIX"
cp -al "$template/." "$WINEPREFIX/"
rc=0
wine "$@" || rc=$?
wineserver -k || true
rm -rf "$WINEPREFIX"
exit "$rc"
