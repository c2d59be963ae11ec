# Sourced by the scripts that compare servers: http_ratio.sh, proxy_ratio.sh, kv_ratio.sh. What they
# share: servers, each on a CPU, that end with the script; a process's CPU time; the median.
tmp=$(mktemp -d) || exit 1
declare -A pid port # by the server's name
end_servers() {
    [ ${#pid[@]} -eq 0 ] || kill "${pid[@]}" 2>/dev/null
    wait
    rm -rf "$tmp"
}
trap end_servers EXIT

fail() {
    echo "$(basename "$0" .sh): $*" >&2
    exit 1
}

# need PROGRAM...: that they are installed
need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || fail "$program is not installed"
    done
}

# running NAME: fails where it has ended
running() {
    kill -0 "${pid[$1]}" 2>/dev/null || fail "$1 did not start: $(cat "$tmp/$1" "$tmp/$1.log" 2>/dev/null)"
}

# start NAME CPU PROGRAM FLAG...: one of this project's, at a port that it chooses and prints
start() {
    taskset -c "$2" "${@:3}" --port 0 >"$tmp/$1" &
    pid[$1]=$!
    until grep -q 'listening on' "$tmp/$1"; do
        running "$1"
        sleep 0.05
    done
    port[$1]=$(sed -nE 's/^listening on [^ ]*:([0-9]+).*/\1/p' "$tmp/$1")
}

# start_nginx NAME CPU [FIRST]: one process; its configuration begins with FIRST, and ends with
# stdin, where @PORT@ is its port
start_nginx() {
    port[$1]=$((20000 + RANDOM % 10000))
    {
        echo "${3:-}"
        echo "daemon off; master_process off; pid $tmp/$1.pid; error_log $tmp/$1.log;"
        echo "events { worker_connections 8192; }"
        sed "s/@PORT@/${port[$1]}/"
    } >"$tmp/$1.conf"
    taskset -c "$2" nginx -p "$tmp" -c "$tmp/$1.conf" 2>"$tmp/$1" &
    pid[$1]=$!
    until (: <"/dev/tcp/127.0.0.1/${port[$1]}") 2>/dev/null; do
        running "$1"
        sleep 0.05
    done
}

# ticks NAME: the CPU time that it has used
ticks() { awk '{ print $14 + $15 }' "/proc/${pid[$1]}/stat"; }

# An awk function: of values[1] to values[n], which it sorts.
# shellcheck disable=SC2034 # used by those who source this
median='
function median(values, n,   i, j, t) {
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && values[j] < values[j - 1]; j--) {
            t = values[j]; values[j] = values[j - 1]; values[j - 1] = t
        }
    return n % 2 ? values[(n + 1) / 2] : (values[n / 2] + values[n / 2 + 1]) / 2
}'
