#!/bin/sh
# echo_test.sh TEST RUN PROGRAM: see echo_test.mjs.
exec node --no-warnings --experimental-wasi-unstable-preview1 "$@"
