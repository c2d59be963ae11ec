# What tests that count a server's instructions share; they source it, with bin and backend set.

tmp=$(mktemp -d "${TEST_TMPDIR:-/tmp}/counts.XXXXXX") || exit 1
server_pid=
cleanup() {
    [ -z "$server_pid" ] || kill -9 "$server_pid" 2>/dev/null
    rm -rf "$tmp"
}
trap cleanup EXIT
fail() {
    exec >&2 # also where what is printed is taken as a count
    echo "FAIL: $*"
    tail -n 20 "$tmp"/ready "$tmp"/stderr "$tmp"/load 2>/dev/null
    exit 1
}

# What this shell starts runs on the first processor that it may use. Server and client then take
# turns: what a turn costs is shared by the requests that it has, and these are all that the client
# keeps under way.
processor=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
taskset -cp "$processor" $$ >/dev/null || exit 1

# start PROGRAM...: a server; sets server_pid and port.
start() {
    : >"$tmp/ready"
    "$@" --port 0 --backend "$backend" >"$tmp/ready" 2>"$tmp/stderr" &
    server_pid=$!
    port=
    tries=0
    while [ -z "$port" ] && [ $tries -lt 600 ] && kill -0 "$server_pid" 2>/dev/null; do
        sleep 0.05
        tries=$((tries + 1))
        port=$(sed -n 's/^listening on [0-9.]*:\([0-9]*\) .*/\1/p' "$tmp/ready")
    done
    [ -n "$port" ] || fail "the server did not start"
}
stop() {
    kill -TERM "$server_pid"
    wait "$server_pid" || fail "exit status $? after SIGTERM"
    server_pid=
}

# instructions REQUESTS PROGRAM...: prints what the server executed in user space from its start on,
# while `drive REQUESTS` kept it busy. It is killed, and what it did is written down every so often:
# Valgrind runs one thread at a time and does not know that io_uring_enter waits, so a loop that
# sleeps there would keep the others from ending it.
instructions() {
    requests=$1
    shift
    rm -f "$tmp"/out*
    start valgrind --tool=callgrind --callgrind-out-file="$tmp/out" --dump-every-bb=20000 \
        --dump-instr=no --dump-line=no "$@"
    drive "$requests"
    kill -KILL "$server_pid"
    wait "$server_pid" 2>/dev/null
    server_pid=
    cat "$tmp"/out* | awk '/^totals:/ { n += $2 } END { print n + 0 }'
}

# slope FEW MANY PROGRAM...: sets counted to the instructions per request, between so few and so many
# of them, so that start and end of the server do not count.
slope() {
    few=$1 many=$2
    shift 2
    by_few=$(instructions "$few" "$@") || exit 1
    by_many=$(instructions "$many" "$@") || exit 1
    [ "$by_few" -gt 0 ] && [ "$by_many" -gt "$by_few" ] || fail "callgrind counted nothing"
    counted=$(((by_many - by_few) / (many - few)))
}

# judge WHAT COUNTED BUDGET: more than 5 % over it fails, until the budget is changed on purpose;
# more than 10 % below it asks for the budget to follow.
judge() {
    echo "$backend: $2 $1 (budget $3)"
    [ "$2" -le $(($3 + $3 / 20)) ] || fail "$2 $1 are more than 5 % over the budget of $3"
    [ "$2" -ge $(($3 - $3 / 10)) ] || echo "note: write the lower figure into bench/BUILD"
}
