#!/bin/sh
# Runs the micro-benchmarks for libuv, for xev and bare, in turn and several rounds of each. Per
# benchmark and program a line of JSON with the medians, field by field; then one with the ratios to
# libuv, or to the program of --to: medians over the rounds, below 1 where less is taken.
#
# Usage: loop_ratio.sh [--rounds 5] [--benches NAME,...] [--who uv,xev_io_uring,xev_epoll]
#                      [--to WHO] [--count N] [--uv PROGRAM] [--xev PROGRAM] [--raw PROGRAM]
# WHO: uv, xev_io_uring, xev_epoll, raw_io_uring, raw_pread, raw_nowait, raw_threads.
# --markdown yes: a table instead, of CPU per operation and its ratio.
set -u
here=$(dirname "$0")
rounds=5 benches='' who=uv,xev_io_uring,xev_epoll count='' uv=$here/uv_bench xev=$here/xev_bench
raw=$here/raw_bench to=uv markdown=no

die() {
    echo "loop_ratio: $*" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
    --rounds) rounds=$2 ;;
    --benches) benches=$(echo "$2" | tr ',' ' ') ;;
    --who) who=$2 ;;
    --count) count="--count $2" ;;
    --uv) uv=$2 ;;
    --xev) xev=$2 ;;
    --raw) raw=$2 ;;
    --markdown) markdown=$2 ;;
    --to) to=$2 ;;
    *) die "unknown flag '$1' (known: --rounds --benches --who --to --count --uv --xev --raw --markdown)" ;;
    esac
    shift 2
done
case $rounds in
'' | 0* | *[!0-9]*) die "--rounds needs a number above 0, not '$rounds'" ;;
esac
who=$(echo "$who" | tr ',' ' ')
for one in $who "$to"; do
    case $one in
    uv | xev_io_uring | xev_epoll | raw_io_uring | raw_pread | raw_nowait | raw_threads) ;;
    *) die "nobody is called '$one' (see the usage)" ;;
    esac
done
# names PROGRAM: what it offers, a line each.
names() {
    list=$("$1" --list) || die "$1 does not run"
    echo "$list" | sed 's/ .*//'
}
of_xev=$(names "$xev") || exit
of_uv='' of_raw=''
case " $who " in
*" uv "*) of_uv=$(names "$uv") || exit ;;
esac
case " $who " in
*" raw_"*) of_raw=$(names "$raw") || exit ;;
esac
# has WHO BENCH: there is something of its to put beside.
has() {
    case $1 in
    uv) echo "$of_uv" | grep -qx "$2" ;;
    raw_threads) case $2 in shard_*) echo "$of_raw" | grep -qx "$2" ;; *) false ;; esac ;;
    raw_*) case $2 in shard_*) false ;; *) echo "$of_raw" | grep -qx "$2" ;; esac ;;
    esac
}
for bench in $benches; do
    echo "$of_xev" | grep -qx "$bench" || die "no benchmark '$bench' (xev_bench --list names all)"
done
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# run BENCH WHO: one line of JSON. $count is a flag and its value, or nothing.
# shellcheck disable=SC2086
run() {
    case $2 in
    uv) "$uv" "$1" $count ;;
    xev_*) "$xev" "$1" $count --backend "${2#xev_}" ;;
    raw_*) "$raw" "$1" $count --backend "${2#raw_}" ;;
    esac
}

# Input: "WHO ROUND JSON" of one benchmark. Prints the medians; and to the file `ratios` what the
# last line has of it. The JSON is flat, and no value has a comma or a colon.
summarise() {
    awk -v ratios="$tmp/ratios" -v rows="$tmp/rows" -v to="$to" -v who="$who" '
    function median(key, n,    i, j, v, sorted) {
        for (i = 1; i <= n; i++) {
            v = value[key, i]
            for (j = i; j > 1 && sorted[j - 1] > v; j--) sorted[j] = sorted[j - 1]
            sorted[j] = v
        }
        return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
    }
    function ratio(w, name,    i) {
        for (i = 1; i <= rounds; i++)
            value["ratio", i] = value[w SUBSEP name, i] / value[to SUBSEP name, i]
        return sprintf("\"%s\":%.3f", name, median("ratio", rounds))
    }
    {
        if (!($1 in seen)) { order[++programs] = $1; seen[$1] = 1 }
        gsub(/[{}"]/, "", $3)
        fields[$1] = split($3, pairs, ",")
        for (i = 1; i <= fields[$1]; i++) {
            split(pairs[i], pair, ":")
            name[$1, i] = pair[1]
            value[$1 SUBSEP pair[1], $2] = pair[2]
        }
        rounds = $2
    }
    function cell(w,    text) {
        if (!(w in seen)) return "|"
        text = sprintf(" %.0f / %.0f", median(w SUBSEP "ns_per_op", rounds),
                       median(w SUBSEP "cpu_ns_per_op", rounds))
        if (w != to && to in seen) {
            ratio(w, "cpu_ns_per_op")
            text = text sprintf(" (%.2f)", median("ratio", rounds))
        }
        if ((w, "p99_us", 1) in value || (w SUBSEP "p99_us", 1) in value)
            text = text sprintf(", p99 %.0f us", median(w SUBSEP "p99_us", rounds))
        return text " |"
    }
    END {
        row = "| " value[order[1] SUBSEP "bench", 1] " |"
        whos = split(who, names, " ")
        for (p = 1; p <= whos; p++) row = row cell(names[p])
        print row >>rows
        for (p = 1; p <= programs; p++) {
            w = order[p]
            line = ""
            for (i = 1; i <= fields[w]; i++) {
                field = name[w, i]
                first = value[w SUBSEP field, 1]
                if (first !~ /^[0-9.]+$/) text = "\"" first "\""
                else text = sprintf(first ~ /[.]/ ? "%.2f" : "%.0f", median(w SUBSEP field, rounds))
                line = line (i > 1 ? "," : "") "\"" field "\":" text
            }
            print "{" line "}"
            if (w != to && to in seen)
                of_this = of_this (of_this == "" ? "" : ",") "\"" w "/" to "\":{" \
                    ratio(w, "ns_per_op") "," ratio(w, "cpu_ns_per_op") "}"
        }
        if (of_this != "") print "\"" value[order[1] SUBSEP "bench", 1] "\":{" of_this "}" >>ratios
    }'
}

: >"$tmp/ratios"
: >"$tmp/rows"
for bench in ${benches:-$of_xev}; do
    : >"$tmp/lines"
    round=0
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        for one in $who; do
            has "$one" "$bench" || continue
            line=$(run "$bench" "$one") || exit 1
            echo "$one $round $line" >>"$tmp/lines"
        done
    done
    summarise <"$tmp/lines" >>"$tmp/medians"
    [ "$markdown" = yes ] || cat "$tmp/medians"
    : >"$tmp/medians"
done
if [ "$markdown" = yes ]; then
    echo "| per operation, ns: wall / CPU (CPU to $to) | $(echo "$who" | sed 's/ / | /g') |"
    echo "| --- |$(echo "$who" | sed 's/[^ ]*/ --- |/g; s/| /|/g')"
    cat "$tmp/rows"
    exit
fi
awk '{ all = all (NR > 1 ? "," : "") $0 } END { print "{\"ratios\":{" all "}}" }' "$tmp/ratios"
