#!/usr/bin/env bash
# A rung can be handed out as it is: each builds with a program of a student's by one command line, without a warning,
# also where the compiler is told to keep to the standard, and the program's figures are right.
#
# usage: command_line.sh ROOT CC
set -euo pipefail
root=$1 cc=$2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$root"/examples/ladder/heapmgr.h "$root"/examples/ladder/[1-7]*_*.c "$work"
cd "$work"

# Blocks freed in the order of their allocation, in the reverse order, and every other one: as the lecture's programs.
cat > yours.c << 'END'
#include <stdio.h>
#include <string.h>
#include "heapmgr.h"

enum { COUNT = 1000 };

static char *blocks[COUNT];

static int step(int order, int i)
{
    return order == 0 ? i : order == 1 ? COUNT - 1 - i : (2 * i + (i >= COUNT / 2)) % COUNT;
}

int main(void)
{
    int i, order, broken = 0;

    for (order = 0; order < 3; order++) {
        for (i = 0; i < COUNT; i++) {
            blocks[i] = HeapMgr_malloc((size_t)(i % 200 + 1));
            if (blocks[i] == NULL)
                return 1;
            memset(blocks[i], i % 100, (size_t)(i % 200 + 1));
        }
        for (i = 0; i < COUNT; i++) {
            char *block = blocks[step(order, i)];
            broken += block[0] != step(order, i) % 100 || block[step(order, i) % 200] != block[0];
            HeapMgr_free(block);
        }
        broken += HeapMgr_check(NULL) != NULL;
    }
    printf("%d\n", broken);
    return broken;
}
END

for rung in [1-7]*_*.c; do
    for standard in gnu17 c11; do
        "$cc" -std=$standard -O -Wall -Wextra -Wpedantic -Werror yours.c "$rung" -o yours
        echo "$rung, $standard: $(./yours) broken"
    done
done
