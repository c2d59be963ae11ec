#!/usr/bin/env python3
"""Writes compile_commands.json for clangd and clang-tidy, from what Bazel would run.

Usage: tools/compile_commands.py [bazel flags, e.g. --config=clang]
"""
import json
import os
import subprocess
import sys

# gcc flags of Bazel's default toolchain that clang tools refuse.
GCC_ONLY = {"-fno-canonical-system-headers", "-Wno-free-nonheap-object"}

root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
query = subprocess.run(
    [os.path.join(root, "bazelw"), "aquery", 'mnemonic("CppCompile", //...)',
     "--output=jsonproto", *sys.argv[1:]],
    cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
if query.returncode != 0:
    sys.exit(query.stderr)

commands = {}
for action in json.loads(query.stdout).get("actions", []):
    args = [a for a in action["arguments"] if a not in GCC_ONLY]
    source = args[args.index("-c") + 1]
    if not source.startswith("external/"):
        commands[source] = {"directory": root, "file": source, "arguments": args}
with open(os.path.join(root, "compile_commands.json"), "w", encoding="utf-8") as f:
    json.dump(list(commands.values()), f, indent=1)
print(f"compile_commands.json: {len(commands)} files")
