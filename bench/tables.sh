#!/bin/sh
# Makes all tables of figures anew, in one run, as Markdown on stdout: some ten minutes on a machine
# that does nothing else. What is not there is left out, and named at the end: libuv, libevent, Asio
# (Debian: libuv1-dev, libevent-dev, libasio-dev, which ./bazelw installs), Node, what Cargo fetches
# (Tokio, monoio, glommio), and libxev, whose echo server LIBXEV_ECHO names.
#
#   bench/tables.sh [--out FILE] [--rounds N] [--only TABLE,...] [--small] [--programs FOLDER]
#
# TABLE: echo small many most one reconnect lockstep idle loop files shards. --small: to see that it works.
# --programs: they are built, and stand in FOLDER/bench and FOLDER/examples. Exit status 1: some
# table could not be made; the others are there.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out='' rounds=3 small='' programs='' only=all failed=0 left_out=''

die() {
    echo "tables: $*" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --small)
        small=yes
        shift
        continue
        ;;
    --out | --rounds | --only | --programs) [ $# -ge 2 ] || die "$1 needs a value" ;;
    *) die "unknown flag '$1' (known: --out --rounds --only --small --programs)" ;;
    esac
    case $1 in
    --out) out=$2 ;;
    --rounds) rounds=$2 ;;
    --only) only=$2 ;;
    --programs) programs=$2 ;;
    esac
    shift 2
done
case $rounds in
'' | 0* | *[!0-9]*) die "--rounds needs a number above 0, not '$rounds'" ;;
esac
[ -z "$out" ] || exec >"$out" || die "cannot write $out"
tmp=$(mktemp -d) || exit 1
server_pid=
cleanup() {
    [ -z "$server_pid" ] || kill -9 "$server_pid" 2>/dev/null
    rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
say() { echo "tables: $*" >&2; }
ulimit -n "$(ulimit -H -n)" 2>/dev/null || true # for 10 000 connections, on both sides

# ---- the programs ----

# Copies, so that a build of something else does not change them while they run.
build() {
    cd "$here/.." || exit 1
    programs=$tmp
    mkdir -p "$tmp/bench" "$tmp/examples"
    say "building"
    ./bazelw build -c opt //bench:echo_ratio_no_uv //bench:load //bench:window //bench:idle \
        //bench:raw_uring_echo //bench:raw_epoll_echo //bench:xev_bench //bench:raw_bench \
        //examples:echo_sharded >"$tmp/log" 2>&1 || {
        tail -20 "$tmp/log" >&2
        die "the build failed"
    }
    for one in echo_ratio_no_uv load window idle raw_uring_echo raw_epoll_echo xev_bench raw_bench; do
        cp -L "bazel-bin/bench/$one" "$tmp/bench/" || exit 1
    done
    cp bench/loop_ratio.sh "$tmp/bench/" || exit 1
    cp -L bazel-bin/examples/echo_sharded "$tmp/examples/" || exit 1
    optional libuv1-dev uv_echo uv_bench
    optional libevent-dev event_echo
    optional libasio-dev asio_echo
    for one in tokio monoio glommio; do
        if command -v cargo >"$tmp/log" && cargo build --release --target-dir ".cache/peers/$one" \
            --manifest-path "bench/peers/${one}_echo/Cargo.toml" >"$tmp/log" 2>&1; then
            cp ".cache/peers/$one/release/${one}_echo" "$tmp/bench/"
        fi
    done
    ! command -v node >"$tmp/log" || cp bench/peers/node_echo.js "$tmp/bench/node_echo"
    [ -z "${LIBXEV_ECHO:-}" ] || cp -L "$LIBXEV_ECHO" "$tmp/bench/libxev_echo" || exit 1
}

# optional PACKAGE PROGRAM...: programs of bench that need a package.
optional() {
    package=$1
    shift
    for one in "$@"; do
        if BAZELW_ALSO=$package ./bazelw build -c opt "//bench:$one" >"$tmp/log" 2>&1; then
            cp -L "bazel-bin/bench/$one" "$tmp/bench/"
        else
            say "$one is not built: $(grep -m 1 -i error "$tmp/log")"
        fi
    done
}

[ -n "$programs" ] || build
bin=$programs/bench
driver=$bin/echo_ratio_no_uv # it has the kinds of libuv, too
[ -x "$driver" ] || die "no programs in $bin"
[ -d "$bin/../examples" ] || die "no examples beside $bin"

# ---- who takes part ----

servers=raw_uring,raw_epoll,xev_uring,xev_epoll,xev_uring_alone,xev_epoll_alone
peers=''
if [ -x "$bin/uv_echo" ]; then
    servers=$servers,uv,uv_try_write
else
    left_out="$left_out libuv"
fi
for one in event asio node tokio monoio glommio libxev; do
    # A peer that does not run here must not end all of it.
    if [ -x "$bin/${one}_echo" ] && "$driver" --size-small --servers raw_epoll \
        --peer "$one=$bin/${one}_echo" >"$tmp/log" 2>&1; then
        peers="$peers --peer $one=$bin/${one}_echo"
    else
        left_out="$left_out $one"
    fi
done

# ---- the tables ----

wanted() {
    case ",$only," in
    ,all, | *",$1,"*) say "$1" ;;
    *) false ;;
    esac
}

# table TITLE COMMAND...: what the command prints, or that it failed.
table() {
    echo
    echo "## $1"
    echo
    shift
    if timeout 600 "$@" >"$tmp/table" 2>"$tmp/log"; then
        cat "$tmp/table"
    else
        echo "Failed: $(tail -1 "$tmp/log")"
        say "failed: $(tail -3 "$tmp/log")"
        failed=1
    fi
}

# echoes TITLE SERVERS SECONDS ROUNDS FLAGS...
echoes() {
    title=$1 who=$2 seconds=$3 times=$4
    shift 4
    if [ -n "$small" ]; then
        set -- "$@" --size-small
    else
        set -- "$@" --seconds "$seconds" --rounds "$times"
    fi
    # shellcheck disable=SC2086
    table "$title" "$driver" --markdown --retries 1 --warmup 0.2 --servers "$who" $peers \
        "$@"
}

# loops TITLE TO FLAGS...
loops() {
    title=$1 base=$2
    shift 2
    if [ -n "$small" ]; then
        set -- "$@" --rounds 1 --count 100
    else
        set -- "$@" --rounds "$rounds"
    fi
    table "$title" sh "$bin/loop_ratio.sh" --markdown yes --to "$base" "$@"
}

# idle_row NAME PROGRAM FLAGS...: a line of the table; nothing if the server does not start.
idle_row() {
    name=$1
    shift
    : >"$tmp/ready"
    "$@" --host 127.0.0.1 --port 0 >"$tmp/ready" 2>"$tmp/server" &
    server_pid=$!
    port='' tries=0
    while [ -z "$port" ] && [ $tries -lt 200 ] && kill -0 "$server_pid" 2>/dev/null; do
        sleep 0.05
        tries=$((tries + 1))
        port=$(sed -n 's/^listening on [0-9.]*:\([0-9]*\).*/\1/p' "$tmp/ready")
    done
    # shellcheck disable=SC2086
    if [ -n "$port" ] && timeout 120 "$bin/idle" --port "$port" --server-pid "$server_pid" \
        $idle_size >"$tmp/row" 2>>"$tmp/server"; then
        echo "| $name | $(sed 's/.*"bytes_per_connection":\([-0-9]*\).*/\1/' "$tmp/row") |"
    else
        say "idle: $name: $(tail -1 "$tmp/server")"
        failed=1
    fi
    kill -TERM "$server_pid" 2>/dev/null
    wait "$server_pid" 2>/dev/null
    server_pid=
}

idle_table() {
    idle_size=''
    [ -z "$small" ] || idle_size='--from 10 --to 40'
    echo
    echo "## Memory of an idle connection after one echo of 1 KiB"
    echo
    echo "Bytes of anonymous memory, the slope from 1 000 to 9 000 connections."
    echo
    echo "| server | bytes |"
    echo "| --- | --- |"
    for backend in io_uring epoll; do
        idle_row "xev on $backend" "$bin/../examples/echo_sharded" --shards 1 --backend $backend
    done
    idle_row raw_uring "$bin/raw_uring_echo"
    idle_row raw_epoll "$bin/raw_epoll_echo"
    [ ! -x "$bin/uv_echo" ] || idle_row uv "$bin/uv_echo"
    for one in $peers; do
        case $one in
        *=*) idle_row "${one%%=*}" "${one#*=}" ;;
        esac
    done
}

echo "# Figures"
echo
echo "$(date -u '+%Y-%m-%d %H:%M') UTC; $(uname -s) $(uname -r), $(nproc) CPUs:" \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1); commit" \
    "$(git -C "$here" rev-parse --short HEAD 2>/dev/null || echo unknown);" \
    "load before: $(cut -d ' ' -f 1 /proc/loadavg)."
echo
echo "Servers: one CPU, loopback, the load on another; medians of interleaved rounds, best first;" \
    "ratios are medians of the rounds' ratios, of requests per second of server CPU, and above 1" \
    "is better. user us, system us: CPU per request, sampled by the kernel's tick; disturbed: the" \
    "part of the time in which others had a CPU that the server or the load wanted. In lockstep:" \
    "server and client take turns on one CPU, and the tenth of the turns that took the least" \
    "counts."

most=10000 many=1000
[ -z "$small" ] || most=100 many=50
more=$((rounds + 2))
! wanted echo || echoes "64 connections, 1 KiB" $servers 1.2 $more --connections 64
! wanted small || echoes "256 connections, 64 bytes, 16 in flight on each" $servers 0.8 "$rounds" \
    --connections 256 --size 64 --pipeline 16
! wanted many || echoes "$many connections, 1 KiB" $servers 0.8 "$rounds" --connections $many
! wanted most || echoes "$most connections, 1 KiB" $servers 1 "$rounds" --connections $most
! wanted one || echoes "One connection, 64 bytes, with and without spinning" \
    $servers,xev_uring_spin,xev_epoll_spin 0.8 "$rounds" --connections 1 --size 64
! wanted reconnect || echoes "Connect, echo 1 KiB, close; 16 at once" $servers 0.8 "$rounds" \
    --connections 16 --reconnect
if wanted lockstep; then
    for shape in "64 1024 1" "256 64 16" "5000 1024 1" "1 64 1"; do
        # shellcheck disable=SC2086
        set -- $shape
        connections=$1
        [ -z "$small" ] || [ "$1" -lt 50 ] || connections=50
        echoes "In lockstep with the client: $connections connections, $2 bytes, $3 in flight" \
            $servers 2 "$rounds" --lockstep --connections "$connections" --size "$2" \
            --pipeline "$3"
    done
fi
! wanted idle || idle_table

who=xev_io_uring,xev_epoll to=xev_epoll
if [ -x "$bin/uv_bench" ]; then
    who=uv,$who to=uv
fi
! wanted loop || loops "One thing at a time, to libuv" $to --who $who --benches \
    "deadlines,million_timers,timers_cancelled,tcp_write_batch,tcp_pump,ping_pongs,accepts,async_pummel,async_ping,udp_pummel,fs_stat,queue_work,spawn"
if wanted files; then
    for bench in file_reads file_reads_one file_writes file_writes_one file_reads_uncached; do
        count='--count 200000'
        [ $bench != file_reads_uncached ] || count='--count 16384'
        title="4 KiB of a file: $bench"
        # shellcheck disable=SC2086
        loops "$title" raw_nowait --who raw_io_uring,raw_nowait,raw_pread,$who --benches $bench \
            $count
    done
    loops "A connection beside endless reads" $to --who $who --benches file_reads_beside
fi
! wanted shards || loops "Between shards, to two bare threads: awake, and one at a time asleep" \
    raw_threads --who raw_threads,xev_io_uring,xev_epoll \
    --benches shard_request,shard_ask,shard_ask_one,shard_send

echo
[ -z "$left_out" ] || echo "Not there, or not running here:$left_out."
echo "Load behind: $(cut -d ' ' -f 1 /proc/loadavg)."
exit $failed
