/*
 * 3_list.c: free chunks wait in a list in address order; malloc takes the first that fits.
 *
 *   chunk -> | units | next |  header, one unit of 16 bytes; next only while free
 *   block -> | payload      |  whole units
 *            | ...          |
 *
 * A chunk that is too big is split and its tail end given out, so that the list's links stay. free looks
 * for the place in the list and merges with the neighbours there: neighbours in the list that are also
 * neighbours in memory. malloc and free are both O(free chunks).
 */
#include "heapmgr.h"

#include <assert.h>
#include <stdint.h>
#include <unistd.h>

typedef struct chunk {
    size_t units; /* of the whole chunk, this header included */
    struct chunk *next;
} chunk_t;

enum { UNIT = sizeof(chunk_t), MIN_UNITS = 2 };
static_assert(UNIT == 16, "a unit keeps blocks aligned");

static chunk_t *heap_start, *heap_end; /* heap_end is the program break */
static chunk_t *free_list;

static chunk_t *chunk_behind(chunk_t *chunk)
{
    return chunk + chunk->units;
}

/* Shortens a chunk by `units` and answers these as a chunk of their own. */
static chunk_t *chunk_split_tail(chunk_t *chunk, size_t units)
{
    chunk->units -= units;
    chunk_t *tail = chunk_behind(chunk);
    tail->units = units;
    return tail;
}

/* next in the list == next in memory: one chunk. */
static void chunk_merge_next(chunk_t *chunk)
{
    chunk_t *next = chunk->next;

    if (next == NULL || chunk_behind(chunk) != next)
        return;
    chunk->units += next->units;
    chunk->next = next->next;
}

/* Moves the break up; the new memory is one chunk of at least `units`. */
static chunk_t *heap_grow(size_t units)
{
    if (heap_end == NULL) {
        char *now = sbrk(0);
        char *aligned = now + (-(uintptr_t)now & (UNIT - 1));
        if (brk(aligned) != 0)
            return NULL;
        heap_start = heap_end = (chunk_t *)(void *)aligned;
    }
    if (units < HEAP_GROWTH_BYTES / UNIT)
        units = HEAP_GROWTH_BYTES / UNIT;
    if (sbrk(0) != heap_end || brk(heap_end + units) != 0)
        return NULL;
    chunk_t *chunk = heap_end;
    chunk->units = units;
    heap_end += units;
    return chunk;
}

static void list_insert(chunk_t *chunk)
{
    chunk_t *prev = NULL, *next = free_list;

    while (next != NULL && next < chunk) {
        prev = next;
        next = next->next;
    }
    chunk->next = next;
    chunk_merge_next(chunk);
    if (prev == NULL) {
        free_list = chunk;
    } else {
        prev->next = chunk;
        chunk_merge_next(prev);
    }
}

/* First fit: takes `units` from the first chunk that has as many, or NULL. */
static chunk_t *list_take(size_t units)
{
    for (chunk_t *prev = NULL, *chunk = free_list; chunk != NULL; prev = chunk, chunk = chunk->next) {
        if (chunk->units < units)
            continue;
        if (chunk->units >= units + MIN_UNITS)
            return chunk_split_tail(chunk, units);
        if (prev == NULL)
            free_list = chunk->next;
        else
            prev->next = chunk->next;
        return chunk;
    }
    return NULL;
}

void *HeapMgr_malloc(size_t bytes)
{
    if (bytes == 0 || bytes > PTRDIFF_MAX - HEAP_GROWTH_BYTES)
        return NULL;
    size_t units = 1 + (bytes + UNIT - 1) / UNIT;

    chunk_t *chunk = list_take(units);
    if (chunk == NULL) {
        chunk = heap_grow(units);
        if (chunk == NULL)
            return NULL;
        list_insert(chunk); /* which merges it with a free chunk at the old end */
        chunk = list_take(units);
    }
    return chunk + 1;
}

void HeapMgr_free(void *block)
{
    if (block != NULL)
        list_insert((chunk_t *)block - 1);
}

/* The chunks tile the heap, and the list holds some of them, in order, no two side by side. */
const char *HeapMgr_check(const void *block)
{
    chunk_t *next_free = free_list;
    bool before_is_free = false, block_found = block == NULL;

    if (heap_end != NULL && sbrk(0) != heap_end)
        return "the program break is not where we left it";
    for (chunk_t *chunk = heap_start; chunk < heap_end; chunk = chunk_behind(chunk)) {
        if (chunk->units < MIN_UNITS || chunk->units > (size_t)(heap_end - chunk))
            return "a header has a size that cannot be";
        bool is_free = chunk == next_free;
        if (is_free && before_is_free)
            return "two free chunks side by side are not merged";
        if (is_free)
            next_free = chunk->next;
        else if (block == chunk + 1)
            block_found = true;
        before_is_free = is_free;
    }
    if (next_free != NULL)
        return "the free list leads to what is no chunk, or is not in address order";
    return block_found ? NULL : "the block is not in use";
}

void HeapMgr_walk(HeapMgr_visit visit, void *context)
{
    chunk_t *next_free = free_list;

    for (chunk_t *chunk = heap_start; chunk < heap_end; chunk = chunk_behind(chunk)) {
        visit(context, chunk, chunk->units * UNIT, chunk == next_free);
        if (chunk == next_free)
            next_free = chunk->next;
    }
}
