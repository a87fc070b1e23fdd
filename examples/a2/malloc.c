/*
 * malloc.c: the last point of A2, a malloc without a prefix: the C library's names over a2.c, for programs that know
 * nothing of it.
 *
 *     gcc -O2 -fPIC -shared -DA2_QUANTUM=16 -fno-builtin a2.c malloc.c -larena -o a2_malloc.so
 *     LD_PRELOAD=./a2_malloc.so ls
 *
 * A quantum of 16, because compilers count on malloc's blocks being aligned for every type. Besides the assignment's four
 * functions those that align, as their blocks come back by the same free. libarena's own replacement of malloc is in
 * preload/; this one is the assignment's, one lock and one heap, from the break alone.
 */
#include "a2.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

void *malloc(size_t size)
{
    return mymalloc(size);
}

void free(void *block)
{
    myfree(block);
}

void *calloc(size_t count, size_t size)
{
    return mycalloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return myrealloc(block, size);
}

void *memalign(size_t alignment, size_t size)
{
    return myaligned_alloc(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return myaligned_alloc(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    int before = errno; /* the answer is the result, and errno stays */

    if (alignment % sizeof(void *) != 0)
        return EINVAL;
    void *new = myaligned_alloc(alignment, size);
    int result = new == NULL ? errno : 0;
    if (new != NULL)
        *block = new;
    errno = before;
    return result;
}

void *valloc(size_t size)
{
    return myaligned_alloc((size_t)sysconf(_SC_PAGESIZE), size);
}

size_t malloc_usable_size(void *block)
{
    return myusable_size(block);
}
