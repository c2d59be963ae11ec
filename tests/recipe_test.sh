#!/bin/sh
# The README's recipe for a build without Bazel works, pasted as it stands: its commands are the
# indented lines between "Without Bazel" and the next paragraph. Looks at the real source tree.
set -eu
root=$(dirname "$(dirname "$(readlink -f "$0")")")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/recipe.XXXXXX")
trap 'rm -rf "$work"' EXIT
recipe=$(awk '/^Without Bazel/ { on = 1; next } on && /^    / { print; seen = 1; next }
              on && seen { exit }' "$root/README.md")
[ "$(echo "$recipe" | wc -l)" -ge 3 ] || { echo "found no recipe in README.md: $recipe"; exit 1; }
# The build leaves its folder in the tree, so it is done in a copy.
for entry in README.md xev mpsc threadpool shard conn serve examples; do
    [ ! -e "$root/$entry" ] || cp -r "$root/$entry" "$work/"
done
cd "$work"
echo "$recipe" | sh -eux
[ -x build/echo_sharded ] || { echo "the recipe made no build/echo_sharded"; exit 1; }
build/echo_sharded --help >/dev/null
