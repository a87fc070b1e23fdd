#!/usr/bin/env bash
# Both parts of the lab build by the lab's command line plus -larena, and run.
#
# usage: lab_command_line.sh CC ROOT LIBRARY_DIRECTORY
set -euo pipefail
cc=$1 root=$2 libraries=$3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$root"/examples/lab/*.[ch] "$root"/include/arena.h "$work"
cd "$work"

# As installed: the header and the library are found without being named.
export C_INCLUDE_PATH=$work LIBRARY_PATH=$libraries LD_LIBRARY_PATH=$libraries
for part in alloc ealloc; do
    "$cc" "test_$part.c" "$part.c" -larena
    ./a.out
done
