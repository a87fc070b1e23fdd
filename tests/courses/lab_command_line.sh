#!/usr/bin/env bash
# Both parts of the lab build by the lab's command lines (gcc, and g++ for C++) plus -larena, and run: with the tests that
# lie beside them, and with one that includes the lab's header and nothing else, as the lab's own tests may.
#
# usage: lab_command_line.sh ROOT LIBRARY_DIRECTORY CC [CXX]
set -euo pipefail
root=$1 libraries=$2
shift 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$root"/examples/lab/*.[ch] "$root"/include/arena.h "$work"
cd "$work"

for part in alloc ealloc; do
    cat > "bare_$part.c" << END
#include "$part.h"

int main()
{
    init_alloc();
    char *half = alloc(PAGESIZE / 2), *least = alloc(MINALLOC);
    if (half == NULL || least == NULL || alloc(MINALLOC / 2) != NULL)
        exit(1);
    strcpy(half, "Hello, world!");
    strcpy(least, "Hello!");
    printf("%s %s %d\\n", half, least, (int)getpid());
    dealloc(half);
    dealloc(least);
    cleanup();
    return 0;
}
END
done

# As installed: the header and the library are found without being named.
export C_INCLUDE_PATH=$work CPLUS_INCLUDE_PATH=$work LIBRARY_PATH=$libraries LD_LIBRARY_PATH=$libraries
for compiler; do
    for program in test_alloc:alloc test_ealloc:ealloc bare_alloc:alloc bare_ealloc:ealloc; do
        "$compiler" "${program%:*}.c" "${program#*:}.c" -larena
        ./a.out
    done
done
"$1" -std=c17 -Wall -Wextra -Wpedantic -Werror test_alloc.c alloc.c -larena
./a.out
