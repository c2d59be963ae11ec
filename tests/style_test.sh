#!/bin/sh
# The style rules a machine can check. Looks at the real source tree (the script is a link to its
# file there), so it runs outside the sandbox and is never cached.
#
#   - platform conditionals only in xev/backends and xev/os: the rest asks for features
#   - no line over 100 columns, no tab, no space at a line's end, a newline at the file's end
#   - no two files of the library define a static function of the same name
#   - no file over 800 lines, unless it says why on a line with "long-file:"
set -u
root=${1:-$(dirname "$(dirname "$(readlink -f "$0")")")}
cd "$root" || exit 1

sources() {
    for folder in "$@"; do
        [ -d "$folder" ] && find "$folder" -name '*.[ch]' -o -name '*.cc'
    done | sort
}

everywhere=$(sources xev shard conn serve mpsc threadpool tests examples bench)
portable=$(sources xev shard conn serve mpsc threadpool | grep -v -e '^xev/backends/' -e '^xev/os/')
if [ -z "$everywhere" ] || [ -z "$portable" ]; then
    echo "no source files found under $root"
    exit 1
fi

# No file name here has a space in it, so words are split on purpose.
# shellcheck disable=SC2086
complaints=$(
    awk '
    FNR == 1 { complete() ; file = FILENAME; excused = 0; lines = 0 }
    { lines = FNR }
    /long-file:/ { excused = 1 }
    length($0) > 100 { print FILENAME ":" FNR ": over 100 columns" }
    /\t/ { print FILENAME ":" FNR ": tab" }
    /[ \r]$/ { print FILENAME ":" FNR ": space at the end" }
    END { complete() }
    function complete() {
        if (lines > 800 && !excused) print file ": " lines " lines and no \"long-file:\" reason"
    }' $everywhere

    for file in $everywhere; do
        [ -z "$(tail -c 1 "$file")" ] || echo "$file: no newline at the end"
    done

    # A static function, defined or declared: its name stands before the first parenthesis.
    # shellcheck disable=SC2046
    awk '
    !/^([A-Z_]+ )?static [^;={]*\(/ { next }
    {
        name = $0
        sub(/\(.*/, "", name)
        sub(/.*[ *]/, "", name)
        if (name == "") next
        if (name in first && first[name] != FILENAME) {
            print FILENAME ":" FNR ": " first[name] " has a function " name ", too"
        } else {
            first[name] = FILENAME
        }
    }' $(sources xev shard conn serve mpsc threadpool | grep '\.c$')

    # A directive may go on over several lines.
    awk '
    BEGIN {
        os = "__linux|__gnu_linux__|__ANDROID__|_WIN(32|64)|__MINGW|__CYGWIN__|__APPLE__|" \
             "__MACH__|__(Free|Net|Open)BSD__|__DragonFly__|__wasi__|__wasm|__EMSCRIPTEN__|" \
             "__sun|__unix"
    }
    FNR == 1 { continued = 0 }
    { directive = continued || /^[ ]*#[ ]*(if|ifdef|ifndef|elif)/ }
    directive && $0 ~ os { print FILENAME ":" FNR ": platform conditional" }
    { continued = directive && /\\$/ }' $portable
)
if [ -n "$complaints" ]; then
    echo "$complaints"
    exit 1
fi
echo "$(echo "$everywhere" | wc -l) files are in style"
