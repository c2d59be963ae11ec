#!/bin/sh
# run.sh PROGRAM ARGS...: runs a WASI program under Node (see run.mjs). bazel test --run_under=this.
exec node --no-warnings "$(dirname "$0")/run.mjs" "$@"
