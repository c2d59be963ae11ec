#!/bin/sh
# run.sh PROGRAM ARGS...: runs a WASI program under Node (see run.mjs); what is none, such as a script
# that tests one, as it is. bazel test --run_under=this.
if [ "$(head -c 4 "$1" | tail -c 3)" = asm ]; then
    exec node --no-warnings --experimental-wasi-unstable-preview1 "$(dirname "$0")/run.mjs" "$@"
fi
exec "$@"
