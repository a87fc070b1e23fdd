#!/usr/bin/env bash
# usage: 32_bit.sh COMPILER SOURCE...
# The library compiles for 32 bit without a warning. Nothing is linked or run, so that a C library's headers for 64 bit
# will do, but for one that only lists what it lacks. 77: this compiler has no -m32.
set -euo pipefail

compiler=$1
shift
headers=$(mktemp -d)
trap 'rm -rf "$headers"' EXIT
mkdir "$headers/gnu"
touch "$headers/gnu/stubs-32.h"

compile() {
    "$compiler" -m32 -std=gnu11 -O1 -fsyntax-only -D_GNU_SOURCE -DCHECK_LEVEL="$1" -DARENA_TCACHE=1 \
        -Wall -Wextra -Wconversion -Wshadow -Wno-psabi -Werror -I"$headers" -I"/usr/include/$(uname -m)-linux-gnu" "$2"
}

echo '#include <stdint.h>' >"$headers/probe.c"
compile 0 "$headers/probe.c" 2>/dev/null || { echo "no -m32 here" >&2; exit 77; }
for source in "$@"; do
    compile 0 "$source"
    compile 1 "$source"
done
echo "32 bit: $# files"
