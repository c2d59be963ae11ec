#!/bin/sh
# bazelw with stand-ins for the tools it calls: what it installs, and what it says where it cannot.
set -u
bazelw=$PWD/bazelw
dir=$(mktemp -d "${TEST_TMPDIR:-/tmp}/bazelw.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

# tool NAME [SCRIPT]: puts a stand-in (or, without a script, the real program) on the path.
tool() {
    if [ $# -eq 1 ]; then
        ln -s "$(command -v "$1")" "$dir/bin/$1"
    else
        printf '#!/bin/sh\n%s\n' "$2" >"$dir/bin/$1"
        chmod +x "$dir/bin/$1"
    fi
}

# A root user on a Debian where everything is installed, but the package in $absent.
machine() {
    rm -rf "${dir:?}/bin" "$dir/log"
    mkdir "$dir/bin"
    for program in cat env mktemp rm sh; do tool "$program"; done
    tool id 'echo 0'
    tool bazel 'echo "bazel $*"; exit 7'
    tool apt-get "echo \"apt-get \$*\" >>'$dir/log'"
    # shellcheck disable=SC2016 # expanded by the stand-in
    tool dpkg-query 'status=0
for p; do
    case $p in -*) continue ;; *db:*) continue ;; esac
    case " $absent " in *" $p "*) status=1 ;; *) echo "$p:installed" ;; esac
done
exit $status'
}

# expect NAME STATUS STDOUT STDERR: the result of the last run; "" is exactly nothing.
expect() {
    stdout=$(cat "$dir/stdout") stderr=$(cat "$dir/stderr")
    [ "$status" -eq "$2" ] && matches "$stdout" "$3" && matches "$stderr" "$4" && return
    echo "$1: status $status, stdout: $stdout, stderr: $stderr"
    failed=1
}

matches() {
    case $1 in
    "$2") return 0 ;;
    *"${2:-?}"*) [ -n "$2" ] && return 0 ;;
    esac
    return 1
}

run() {
    PATH=$dir/bin "$bazelw" "$@" >"$dir/stdout" 2>"$dir/stderr" </dev/null
    status=$?
}

logged() {
    grep -q -e "$1" "$dir/log" 2>/dev/null && return
    echo "not called: $1"
    failed=1
}

export absent=
machine
run test //xev:all "a b"
expect "nothing missing: only bazel, its arguments and status" 7 "bazel test //xev:all a b" ""
[ ! -e "$dir/log" ] || { echo "apt-get was called"; failed=1; }

absent="libuv1-dev clang-14 lld-14 llvm-14"
machine
run test //...
expect "not needed: not installed" 7 "bazel test //..." ""
run run //examples:echo -- --config=clang //bench:x
expect "the program's arguments are not ours" 7 "bazel run" ""
run run //bench:pings
expect "benchmarks need libuv" 7 "bazel run" "bazelw: installing: libuv1-dev"
run test --config=clang //...
expect "clang" 7 "bazel test" "bazelw: installing: clang-14 lld-14"
run test --config clang //...
expect "clang, two words" 7 "bazel test" "bazelw: installing: clang-14 lld-14"
run test --config=cov //...
expect "coverage" 7 "bazel test" "bazelw: installing: clang-14 lld-14 llvm-14"

absent="redis-tools"
machine
BAZELW_ALSO="redis-server redis-tools" run test //...
expect "what else the caller wants" 7 "bazel test" "bazelw: installing: redis-tools"

absent="check liburing-dev"
machine
run build //...
expect "one line" 7 "bazel build //..." "bazelw: installing: liburing-dev check"
logged "^apt-get -q update"
logged "^apt-get .*install --no-install-recommends liburing-dev check$"

machine
tool id 'echo 1000'
run build
expect "not root, no sudo" 1 "" "cannot install them: not root, and there is no sudo"

machine
tool id 'echo 1000'
tool sudo "echo sudo >>'$dir/log'; exec \"\$@\""
run build
expect "sudo" 7 "bazel build" "bazelw: installing with sudo: liburing-dev check"
logged "^sudo$"

machine
tool apt-get 'echo "E: no network"; exit 100'
run build
expect "apt-get fails: its output" 1 "" "E: no network"
expect "apt-get fails: the reason" 1 "" "bazelw: cannot install them: apt-get failed"

machine
rm "$dir/bin/apt-get" "$dir/bin/dpkg-query"
run build
expect "no Debian" 1 "" "bazelw: missing packages: bazel-bootstrap"
expect "no Debian: the reason" 1 "" "there is no apt-get"
exit "$failed"
