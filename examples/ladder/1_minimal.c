/*
 * 1_minimal.c: every block comes from moving the program break, and no block ever goes back.
 *
 *   heap_start                      heap_end = program break
 *   | block | block | ... | block  |
 *
 * One system call for each malloc; free does nothing. The lecture keeps one word, the break; heap_start is
 * kept only to be looked at.
 */
#include "heapmgr.h"

#include <stdint.h>
#include <unistd.h>

enum { ALIGNMENT = 16 };

static char *heap_start, *heap_end;

static bool heap_init(void)
{
    if (heap_end != NULL)
        return true;
    char *now = sbrk(0);
    char *aligned = now + (-(uintptr_t)now & (ALIGNMENT - 1));
    if (brk(aligned) != 0)
        return false;
    heap_start = heap_end = aligned;
    return true;
}

void *HeapMgr_malloc(size_t bytes)
{
    if (bytes == 0 || bytes > PTRDIFF_MAX - ALIGNMENT || !heap_init())
        return NULL;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;

    char *block = heap_end;
    if (sbrk(0) != heap_end || brk(block + bytes) != 0)
        return NULL;
    heap_end = block + bytes;
    return block;
}

void HeapMgr_free(void *block)
{
    (void)block;
}

/* Nothing is known of a block but that it lies in the heap, so an overflow of one is never seen. */
const char *HeapMgr_check(const void *block)
{
    if (heap_end != NULL && sbrk(0) != heap_end)
        return "the program break is not where we left it";
    if (block != NULL && ((const char *)block < heap_start || (const char *)block >= heap_end))
        return "the block is not in the heap";
    return NULL;
}

void HeapMgr_walk(HeapMgr_visit visit, void *context)
{
    if (heap_start < heap_end)
        visit(context, heap_start, (size_t)(heap_end - heap_start), false);
}
