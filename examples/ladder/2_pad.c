/*
 * 2_pad.c: as 1_minimal.c, but the break moves by more than is needed, and the rest, the pad, serves the
 * calls that follow.
 *
 *   heap_start                      pad          heap_end = program break
 *   | block | block | ... | block  |            |
 *
 * Few system calls; free still does nothing.
 */
#include "heapmgr.h"

#include <stdint.h>
#include <unistd.h>

enum { ALIGNMENT = 16 };

static char *heap_start, *pad, *heap_end;

/* Moves the break up so that the pad has at least `bytes`. */
static bool heap_grow(size_t bytes)
{
    if (heap_end == NULL) {
        char *now = sbrk(0);
        char *aligned = now + (-(uintptr_t)now & (ALIGNMENT - 1));
        if (brk(aligned) != 0)
            return false;
        heap_start = pad = heap_end = aligned;
    }
    size_t missing = bytes - (size_t)(heap_end - pad);
    if (missing < HEAP_GROWTH_BYTES)
        missing = HEAP_GROWTH_BYTES;
    if (sbrk(0) != heap_end || brk(heap_end + missing) != 0)
        return false;
    heap_end += missing;
    return true;
}

void *HeapMgr_malloc(size_t bytes)
{
    if (bytes == 0 || bytes > PTRDIFF_MAX - ALIGNMENT)
        return NULL;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;

    if (bytes > (size_t)(heap_end - pad) && !heap_grow(bytes))
        return NULL;
    char *block = pad;
    pad += bytes;
    return block;
}

void HeapMgr_free(void *block)
{
    (void)block;
}

/* Nothing is known of a block but that it lies before the pad, so an overflow of one is never seen. */
const char *HeapMgr_check(const void *block)
{
    if (heap_end != NULL && sbrk(0) != heap_end)
        return "the program break is not where we left it";
    if (pad < heap_start || pad > heap_end)
        return "the pad is not in the heap";
    if (block != NULL && ((const char *)block < heap_start || (const char *)block >= pad))
        return "the block is not in the heap";
    return NULL;
}

void HeapMgr_walk(HeapMgr_visit visit, void *context)
{
    if (heap_start < pad)
        visit(context, heap_start, (size_t)(pad - heap_start), false);
}
