#!/bin/sh
# docs/guide: every block of C compiles by itself without a warning, every call that the text names
# is declared in a public header, or is a metric, and links lead somewhere. Each metric is in the
# table. Looks at the real source tree.
set -eu
root=$(dirname "$(dirname "$(readlink -f "$0")")")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/guide.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$root"
failed=0
blocks=0
for page in docs/guide/*.md; do
    name=$(basename "$page" .md)
    awk -v out="$work/$name" '
        /^```c$/ { n++; file = out "_" n ".c"; printf "" > file; on = 1; next }
        /^```$/ { on = 0 }
        on { print > file }' "$page"
    for block in "$work/$name"_*.c; do
        [ -e "$block" ] || continue
        blocks=$((blocks + 1))
        if ! "${CC:-cc}" -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only -I. "$block"; then
            echo "$page: the block that begins with: $(head -n 1 "$block")"
            failed=1
        fi
    done
    for call in $(grep -o '`xev_[a-z0-9_]*`' "$page" | tr -d '`' | sort -u); do
        if ! grep -qw "$call" xev/*.h serve/metrics.c; then
            echo "$page: $call is in no header"
            failed=1
        fi
    done
    for link in $(grep -o '](\([^)#]*\)' "$page" | cut -c3-); do
        case $link in
        http*) ;;
        *) [ -e "docs/guide/$link" ] || { echo "$page: $link leads nowhere"; failed=1; } ;;
        esac
    done
done
for metric in $(grep -oE '"xev_[a-z_]+"' serve/metrics.c | tr -d '"' | sort -u); do
    if ! grep -qw "$metric" docs/guide/counters.md xev/*.h; then
        echo "docs/guide/counters.md: it lacks $metric"
        failed=1
    fi
done
[ "$blocks" -ge 12 ] || { echo "found only $blocks blocks"; exit 1; }
exit $failed
