#!/bin/sh
# Every public function is tested: reads the public headers and the tests, and names what is missing.
#
#   - a function of xev is called by a source that runs on each backend, that is one of a
#     conformance_test of tests/BUILD; one of another library by some test
#   - its header says something of it: a comment before it, or before the group it stands in
#   - each of its arguments that can be wrong has a row in the tables of bad arguments
#   - its arguments, and those of its callbacks, stand in the order that the top of xev/xev.h gives,
#     and its times are in _ms or _ns; so are those of the structures
#
# Public headers are those of PUBLIC_HEADERS in tests/BUILD; what xev.h includes must be there.
#
# Rows, of the tables *misuse_test.c and *bad_argument_test.c: ROW(function, argument, ...), in
# which ROW is any macro. SUBMITS(function, ...) stands for its loop, completion (or request) and
# callback. Arguments that need no row: bool, and what is handed through (userdata, arg).
#
# mpsc has no such rows: it is two instructions per call, and looks at nothing.
#
# Looks at the real source tree, as style_test.sh does. `--list` prints function, argument, type.
set -u
list=false
[ "${1:-}" = --list ] && list=true && shift
root=${1:-$(dirname "$(dirname "$(readlink -f "$0")")")}
cd "$root" || exit 1

# Code without comments, strings, characters and directives; one space for each.
strip='
function strip(line,    out, token) {
    out = ""
    while (line != "") {
        if (in_comment) {
            if ((at = index(line, "*/")) == 0) {
                return out
            }
            in_comment = 0
            line = substr(line, at + 2)
        } else if (match(line, /"([^"\\]|\\.)*"|\047([^\047\\]|\\.)*\047|\/\/|\/\*/)) {
            out = out substr(line, 1, RSTART - 1) " "
            token = substr(line, RSTART, 2)
            line = substr(line, RSTART + RLENGTH)
            in_comment = token == "/*"
            if (token == "//") {
                return out
            }
        } else {
            return out line
        }
    }
    return out
}
FNR == 1 { in_comment = in_directive = 0 }
{
    continues = /\\$/
    code = strip($0)
    is_directive = in_directive || code ~ /^[ ]*#/
    in_directive = is_directive && continues
}
'

# "header function argument type" for each argument, "header function - -" where there is none.
# shellcheck disable=SC2016
declarations=$strip'
is_directive { next }
FNR == 1 { depth = 0; statement = "" }
{
    gsub(/XEV_(BEGIN|END)_DECLS/, "", code)
    while (match(code, /[{};]/)) {
        if (depth == 0) statement = statement " " substr(code, 1, RSTART - 1)
        mark = substr(code, RSTART, 1)
        code = substr(code, RSTART + 1)
        if (mark == "{" && statement ~ /^[ ]*extern[ ]*$/) {
            statement = "" # of C++; its end is below
        } else if (mark == "{") {
            if (depth++ == 0) declaration(statement)
        } else if (mark == "}") {
            if (depth > 0 && --depth == 0) statement = ""
        } else if (depth == 0) {
            declaration(statement)
            statement = ""
        }
    }
    if (depth == 0) statement = statement " " code
}
function declaration(s,    name, part, parts, n, i) {
    gsub(/[ ]+/, " ", s)
    if (s ~ /^ ?typedef / || !match(s, /(^|[ *])xev_[a-z0-9_]* ?\(/)) return
    name = substr(s, RSTART, RLENGTH - 1)
    s = substr(s, RSTART + RLENGTH)
    gsub(/[ *]/, "", name)
    if (name ~ /^xev__/) return
    gsub(/\([^()]*\)/, "", s) # of an argument that is a pointer to a function
    sub(/\).*/, "", s)
    n = split(s, parts, ",")
    if (n == 0 || s ~ /^ ?(void)? ?$/) print FILENAME, name, "-", "-"
    for (i = 1; i <= n && s !~ /^ ?(void)? ?$/; i++) {
        part = parts[i]
        if (part ~ /^ ?\.\.\. ?$/) continue
        pointer = gsub(/\*|\[[^]]*\]/, " ", part) > 0 ? "*" : ""
        sub(/ +$/, "", part)
        match(part, /[A-Za-z0-9_]+$/)
        type = substr(part, 1, RSTART - 1)
        gsub(/(const|enum|struct) | /, "", type)
        print FILENAME, name, substr(part, RSTART), type pointer
    }
}
'
# Functions that stand in a paragraph without a comment before them.
# shellcheck disable=SC2016
uncommented=$strip'
FNR == 1 || /^[ ]*$/ { commented = 0 }
/^[ ]*\/[*\/]/ { commented = 1 }
!is_directive && !commented && /^[A-Za-z]/ && !/^typedef/ &&
match(code, /(^|[ *])xev_[a-z0-9_]*\(/) {
    name = substr(code, RSTART, RLENGTH - 1)
    gsub(/[ *]/, "", name)
    if (name !~ /^xev__/) print FILENAME ": " name ": no comment says what it does"
}
'

# Names followed by a parenthesis: "function name", in which function is who does it. Outside of
# functions, and where a directive makes macros of it, it is "-".
# shellcheck disable=SC2016
calls=$strip'
FNR == 1 { depth = 0; head = ""; inside = "-" }
!is_directive {
    while (match(code, /[A-Za-z0-9_]+[ ]*\(|[{};]/)) {
        word = substr(code, RSTART, RLENGTH)
        code = substr(code, RSTART + RLENGTH)
        if (word == "{") {
            if (depth++ == 0) inside = head == "" ? "-" : head
        } else if (word == "}") {
            if (depth > 0 && --depth == 0) head = ""
        } else if (word == ";") {
            if (depth == 0) head = ""
        } else {
            sub(/ *\($/, "", word)
            if (depth > 0) print inside, word
            else if (head == "") head = word
        }
    }
}
is_directive {
    sub(/^[ ]*#[ ]*define[ ]+/, "", code)
    while (match(code, /[A-Za-z0-9_]+\(/)) {
        print "-", substr(code, RSTART, RLENGTH - 1)
        code = substr(code, RSTART + RLENGTH)
    }
}
'

# "function argument" for each row.
# shellcheck disable=SC2016
rows=$strip'
FNR == 1 { all = "" }
!is_directive { all = all " " code; find() }
function find(    row, word) {
    gsub(/[ ]+/, " ", all)
    while (match(all, /(^|[^A-Za-z0-9_])[A-Z][A-Z0-9_]*\( ?xev_[a-z0-9_]+, ?[^ ,(]+ ?[,(]/)) {
        row = substr(all, RSTART, RLENGTH)
        all = substr(all, RSTART + RLENGTH - 1)
        sub(/^[^A-Z]/, "", row)
        split(row, word, /[(), ]+/)
        if (word[1] == "SUBMITS") {
            print word[2], "loop\n" word[2], "c\n" word[2], "req\n" word[2], "cb"
        } else if (row ~ /,$/) {
            print word[2], word[3]
        }
    }
    if (length(all) > 1000) all = substr(all, length(all) - 500)
}
'

# Order of arguments, and units of time: see the top of xev/xev.h. Reads what declarations print.
# shellcheck disable=SC2016
order='
function complain(text) { print header ": " name ": " text }
function is_callback(type) { return type ~ /^xev_[a-z_]*_(cb|fn)$|^xev_cb$/ && !is_work(type) }
function is_work(type) { return type ~ /^xev_(work|message|request|ask)_fn$/ } # runs elsewhere
function is_operation(type) { return type ~ /^xev_(completion|[a-z_]+_req|request)\*$/ }
function check(    i, own, data) {
    own = 0 # where those of the operation itself begin
    for (i = 1; i <= n; i++) {
        if (type[i] == "xev_loop*" && i > 2) complain("the loop is argument " i ", after its own")
        if (type[i] == "xev_loop*" && i > 1 && is_operation(type[1]))
            complain("the loop stands behind a completion")
        if (is_operation(type[i]) && own > 0) complain(argument[i] " stands behind " argument[own])
        if (i > 1 && !own && !is_operation(type[i]) && type[i] != "xev_loop*") own = i
        data = type[i] == "void*" && (argument[i] == "userdata" || argument[i] == "arg")
        if (is_callback(type[i]) && i < n) complain("the callback " argument[i] " is not the last")
        if (data && !(i == n - 1 && is_callback(type[n])) && !(i == n && is_work(type[n - 1])))
            complain(argument[i] " does not stand before the callback")
        if (is_work(type[i]) && argument[i + 1] != "userdata" && argument[i + 1] != "arg")
            complain(argument[i] " does not stand before its userdata")
        if (argument[i] ~ /_ns$/ && name !~ /_ns$/)
            complain(argument[i] " is in ns, and the name does not end in _ns")
        if (name ~ /_ns$/ && argument[i] ~ /_ms$/) complain(argument[i] " is not in ns")
    }
}
$2 != name { check(); n = 0; header = $1; name = $2 }
{ argument[++n] = $3; type[n] = $4; argument[n + 1] = "" }
END { check() }
'
# Integers, arguments and fields, that are times by their names and have another unit, or none.
# shellcheck disable=SC2016
units=$strip'
FNR == 1 { type = rest = "" }
!is_directive {
    rest = rest " " code
    while (match(rest, /[][;,=:(){}]/)) {
        piece = substr(rest, 1, RSTART - 1)
        mark = substr(rest, RSTART, 1) # a parenthesis: what stands before it is a function
        rest = substr(rest, RSTART + 1)
        gsub(/[*]/, " ", piece)
        if ((n = split(piece, word, " ")) > 1) type = word[n - 1] # else a, b: the type is of a
        if (n > 0 && mark != "(" && is_integer(type) && is_time(word[n]) && word[n] !~ /_(ms|ns)$/)
            print FILENAME ": " word[n] ": a time whose name ends neither in _ms nor in _ns"
    }
}
function is_integer(s) { return s ~ /^(u?int[0-9]*_t|u?intptr_t|int|unsigned|long|size_t)$/ }
function is_time(s) {
    return s ~ /_(s|us|sec|secs|seconds|msec|usec|nsec|millis|micros|nanos)$/ ||
           s ~ /(^|_)(timeout|deadline|interval|delay|stagger|linger)(_|$)/ ||
           s ~ /(^|_)(duration|elapsed|since|until|due)(_|$)/
}
'

# Callbacks whose userdata is not their last argument: see the top of xev/xev.h.
# shellcheck disable=SC2016
callbacks=$strip'
FNR == 1 { rest = "" }
!is_directive {
    rest = rest " " code
    gsub(/[ ]+/, " ", rest)
    while (match(rest, /\( ?\* ?[A-Za-z0-9_]+ ?\) ?\([^()]*\)/)) {
        call = substr(rest, RSTART, RLENGTH)
        rest = substr(rest, RSTART + RLENGTH)
        name = call
        gsub(/^\( ?\* ?| ?\).*/, "", name)
        if (call ~ /[ *](userdata|arg) ?,/)
            print FILENAME ": " name ": userdata is not the last argument of the callback"
    }
}
'

# "library header target" for each.
libraries=$(sed -n '/^PUBLIC_HEADERS = {/,/^}/s/^ *"\([^"]*\.h\)": "\([^"]*\)".*/library \1 \2/p' \
    tests/BUILD | grep -v '^library tests/')
headers=$(echo "$libraries" | cut -d ' ' -f 2)
# Of a target, or of a list of targets: what is quoted is a source, or a name that makes one.
conformance=$(awk '
    /^[^ #]/ && !/^[])]/ { block = "" }
    { block = block $0 "\n" }
    /^[])]/ {
        if (block ~ /(^|\n) *conformance_test\(/) {
            while (match(block, /"[A-Za-z0-9_.]+"/)) {
                word = substr(block, RSTART + 1, RLENGTH - 2)
                block = substr(block, RSTART + RLENGTH)
                if (word ~ /_test$/) word = word ".c"
                if (word ~ /\.(c|cc|h)$/ && word !~ /_scene\.h$/) print "tests/" word
            }
        }
        block = ""
    }' tests/BUILD | sort -u | while read -r file; do [ -f "$file" ] && echo "$file"; done)
scenes=$(find tests -name '*_scene.h' | sort)
any=$(find tests -name '*.[ch]' -o -name '*.cc' | sort)
tables=$(find tests -name '*misuse_test.c' -o -name '*bad_argument_test.c' | sort)
if [ -z "$headers" ] || [ -z "$conformance" ]; then
    echo "no public headers or no conformance tests found under $root"
    exit 1
fi

# No file name here has a space in it, so words are split on purpose.
# shellcheck disable=SC2086
declared=$(awk "$declarations" $headers)
if $list; then
    echo "$declared"
    exit 0
fi
# shellcheck disable=SC2086
complaints=$(
    sed -n 's/^ *# *include "\(xev\/[^"]*\)".*/\1/p' xev/xev.h | while read -r header; do
        echo "$headers" | grep -qx "$header" ||
            echo "$header: in xev.h, not in PUBLIC_HEADERS of tests/BUILD"
    done
    awk "$uncommented" $headers
    awk "$units" $headers
    awk "$callbacks" $headers
    echo "$declared" | awk "$order"
    {
        echo "$libraries"
        echo "$declared" | sed 's/^/declared /'
        awk "$calls" $conformance | sed 's/^[^ ]* /everywhere /' | sort -u
        awk "$calls" $any | sed 's/^[^ ]* /somewhere /' | sort -u
        [ -z "$scenes" ] || awk "$calls" $scenes | sort -u | sed 's/^/helper /'
        [ -z "$tables" ] || awk "$rows" $tables | sed 's/^/row /'
    } | awk '
        $1 == "library" { library[$2] = $3 }
        $1 == "declared" { order[++n] = $0 }
        $1 == "everywhere" || $1 == "somewhere" { used[$1, $2] = 1 }
        # What the functions of a scene call counts if a test calls them.
        $1 == "helper" { helper[++helpers] = $2; callee[helpers] = $3 }
        $1 == "row" { has_row[$2, $3] = 1 }
        END {
            for (more = 1; more;) {
                more = 0
                for (i = 1; i <= helpers; i++) {
                    if ((helper[i] == "-" || used["everywhere", helper[i]]) &&
                        !used["everywhere", callee[i]]++) more = 1
                }
            }
            for (i = 1; i <= n; i++) {
                split(order[i], word, " ")
                header = word[2]; name = word[3]; argument = word[4]; type = word[5]
                ours = library[header] == "//xev"
                if (!seen[name]++ && !used[ours ? "everywhere" : "somewhere", name])
                    print header ": " name ": no test calls it" (ours ? " on each backend" : "")
                free = argument == "-" || type == "bool" ||
                       (type == "void*" && (argument == "userdata" || argument == "arg"))
                if (library[header] != "//mpsc" && !free && !has_row[name, argument])
                    print header ": " name ": no row for its argument " argument
            }
        }'
)
if [ -n "$complaints" ]; then
    echo "$complaints"
    exit 1
fi
echo "$(echo "$declared" | cut -d ' ' -f 2 | sort -u | wc -l) public functions are tested"
