#!/bin/sh
# style_test.sh finds what it should, in a tree made up here.
set -u
style=$(dirname "$0")/style_test.sh
tree=$(mktemp -d "${TEST_TMPDIR:-/tmp}/style.XXXXXX") || exit 1
trap 'rm -rf "$tree"' EXIT
failed=0

# expect NAME STATUS TEXT: what style_test.sh says of the tree.
expect() {
    output=$("$style" "$tree" 2>&1)
    status=$?
    case $output in
    *"$3"*) [ "$status" -eq "$2" ] && return ;;
    esac
    echo "$1: wanted exit status $2 and \"$3\", got $status and: $output"
    failed=1
}

# bad FILE TEXT COMPLAINT: a file that must be complained about.
bad() {
    printf '%b' "$2" >"$tree/$1"
    expect "$1" 1 "$1$3"
    rm "$tree/$1"
}

mkdir -p "$tree/xev/backends" "$tree/xev/os" "$tree/tests"
expect "empty tree" 1 "no source files"
printf '#if defined(__linux__)\n#endif\n' >"$tree/xev/backends/a.c"
expect "nothing portable" 1 "no source files"
printf '#ifdef _WIN32\n#endif\n' >"$tree/xev/os/b.h"
printf '#ifdef XEV_TRACE\n#endif\n/* __linux__ in a comment */\n' >"$tree/xev/good.c"
{ echo "/* long-file: one table */"; yes "int x;" | head -n 900; } >"$tree/tests/long.c"
printf '#ifdef __linux__\n#endif\n' >"$tree/tests/platform.c"
expect "good tree" 0 "5 files are in style"

bad xev/p1.c '#ifdef __linux__\n' ":1: platform"
bad xev/p2.h '#  if A \\\\\n  && defined(_WIN32)\n' ":2: platform"
bad xev/p3.c '#if A\n#elif defined(__FreeBSD__)\n' ":2: platform"
printf 'static int find(int x) {\n    return x;\n}\nstatic int find(int x);\n' >"$tree/xev/find.c"
bad xev/find2.c 'static struct fd *find(\n    int x) {\n}\n' ":1: xev/find.c has a function find, too"
rm "$tree/xev/find.c"
bad xev/tab.c 'int\tx;\n' ":1: tab"
bad xev/space.c 'int x; \n' ":1: space"
bad tests/newline.c 'int x;' ": no newline"
bad tests/wide.c "$(printf '%0101d' 0)\n" ":1: over 100"
bad tests/long2.c "$(yes '\n' | head -n 801 | tr -d '\n')" ": 801 lines"
exit "$failed"
