/*
 * 3b_unsorted.c: the list without its order. free puts a chunk at the front, O(1), and merges nothing;
 * malloc still takes the first that fits, O(free chunks).
 *
 *   chunk -> | units | next |  header, one unit of 16 bytes; next is IN_USE while in use
 *   block -> | payload      |  whole units
 *            | ...          |
 *
 * Chunks are split but never merged again: the heap crumbles, and grows where free chunks would do together.
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
static chunk_t in_use; /* only its address counts */
#define IN_USE (&in_use)

static chunk_t *chunk_behind(chunk_t *chunk)
{
    return chunk + chunk->units;
}

static void list_push(chunk_t *chunk)
{
    chunk->next = free_list;
    free_list = chunk;
}

/* Gives out the tail end of a free chunk, or all of one that would leave no chunk in front. */
static void *use_tail(chunk_t *chunk, chunk_t **link, size_t units)
{
    if (chunk->units >= units + MIN_UNITS) {
        chunk->units -= units;
        chunk = chunk_behind(chunk);
        chunk->units = units;
    } else {
        *link = chunk->next;
    }
    chunk->next = IN_USE;
    return chunk + 1;
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

void *HeapMgr_malloc(size_t bytes)
{
    if (bytes == 0 || bytes > PTRDIFF_MAX - HEAP_GROWTH_BYTES)
        return NULL;
    size_t units = 1 + (bytes + UNIT - 1) / UNIT;

    for (chunk_t **link = &free_list; *link != NULL; link = &(*link)->next)
        if ((*link)->units >= units)
            return use_tail(*link, link, units);
    chunk_t *chunk = heap_grow(units);
    if (chunk == NULL)
        return NULL;
    list_push(chunk);
    return use_tail(chunk, &free_list, units);
}

void HeapMgr_free(void *block)
{
    if (block != NULL)
        list_push((chunk_t *)block - 1);
}

/* How many chunks the list holds; more than `limit` (a ring), or SIZE_MAX if it leads out of the heap. */
static size_t list_length(size_t limit)
{
    size_t length = 0;

    for (chunk_t *chunk = free_list; chunk != NULL && length <= limit; chunk = chunk->next) {
        if (chunk < heap_start || chunk >= heap_end || (uintptr_t)chunk % UNIT != 0)
            return SIZE_MAX;
        length++;
    }
    return length;
}

/* The chunks tile the heap, and those that are not in use are as many as the list holds. */
const char *HeapMgr_check(const void *block)
{
    size_t free_chunks = 0;
    bool block_found = block == NULL;

    if (heap_end != NULL && sbrk(0) != heap_end)
        return "the program break is not where we left it";
    for (chunk_t *chunk = heap_start; chunk < heap_end; chunk = chunk_behind(chunk)) {
        if (chunk->units < MIN_UNITS || chunk->units > (size_t)(heap_end - chunk))
            return "a header has a size that cannot be";
        if (chunk->next != IN_USE)
            free_chunks++;
        else if (block == chunk + 1)
            block_found = true;
    }
    if (list_length(free_chunks) != free_chunks)
        return "the free list does not hold the free chunks";
    return block_found ? NULL : "the block is not in use";
}

void HeapMgr_walk(HeapMgr_visit visit, void *context)
{
    for (chunk_t *chunk = heap_start; chunk < heap_end; chunk = chunk_behind(chunk))
        visit(context, chunk, chunk->units * UNIT, chunk->next != IN_USE);
}
