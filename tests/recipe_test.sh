#!/bin/sh
# recipe_test.sh [windows RUN | wasi RUN | workspace]: the builds that the documents tell users of
# work, pasted as they stand. RUN runs a program of that system. Looks at the real source tree.
#
#             README.md: the indented lines between "Without Bazel" and the next paragraph
#   windows   docs/guide/building.md: the block behind "For Windows"
#   wasi      ... and that behind "For WASI"
#   workspace ... and the workspace of "With Bazel", of a program beside this tree
set -eu
root=$(dirname "$(dirname "$(readlink -f "$0")")")
what=${1:-linux}
run=$(readlink -f "${2:-/}")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/recipe.XXXXXX")
trap 'rm -rf "$work"' EXIT
page=$root/docs/guide/building.md

# block HEAD N: the N-th block behind the line that begins with HEAD.
block() {
    awk -v head="$1" -v wanted="$2" 'index($0, head) == 1 { seen = 1 }
        seen && /^```[a-z]/ { n++; next }
        /^```$/ { if (n == wanted) exit; next }
        n == wanted { print }' "$page"
}

copy() { # a build leaves its folder in the tree
    for entry in README.md xev mpsc threadpool shard conn serve examples third_party; do
        [ ! -e "$root/$entry" ] || cp -r "$root/$entry" "$work/"
    done
    cd "$work"
}

# build RECIPE PROGRAM
build() {
    [ "$(echo "$1" | wc -l)" -ge 3 ] || { echo "found no recipe: $1"; exit 1; }
    copy
    echo "$1" | sh -eux
    [ -x "build/$2" ] || { echo "the recipe made no build/$2"; exit 1; }
}

case $what in
linux)
    build "$(awk '/^Without Bazel/ { on = 1; next } on && /^    / { print; seen = 1; next }
                  on && seen { exit }' "$root/README.md")" echo_sharded
    build/echo_sharded --help >/dev/null
    ;;
windows)
    build "$(block 'For Windows' 1 | sed 's/ -O2 / -O0 /')" echo_sharded.exe
    "$run" build/echo_sharded.exe --help >/dev/null
    ;;
wasi)
    build "$(block 'For WASI' 1 | sed 's/ -O2 / -O0 /')" timer
    "$run" build/timer >/dev/null
    ;;
workspace)
    mkdir "$work/mine"
    ln -s "$root" "$work/xev"
    cd "$work/mine"
    block '## With Bazel' 1 >WORKSPACE
    block '## With Bazel' 2 >.bazelrc
    block '## With Bazel' 3 >BUILD
    awk '/^```c$/ { n++; next } /^```$/ { if (n == 1) exit } n == 1 { print }' \
        "$root/docs/guide/quickstart.md" >hello.c
    # A Bazel of its own, which does not stay. It compiles what is particular about flags, and no
    # more: the recipes above compile all.
    bazel() {
        command bazel --output_user_root="$work/bazel" --host_jvm_args=-Xmx512m \
            --max_idle_secs=60 "$@"
    }
    trap 'bazel shutdown; chmod -R u+w "$work"; rm -rf "$work"' EXIT
    bazel build @xev//xev/backends
    bazel build --nobuild //:hello
    bazel build --nobuild --config=windows //:hello
    bazel build --nobuild --config=wasi //:hello
    ;;
esac
