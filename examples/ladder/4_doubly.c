/*
 * 4_doubly.c: free chunks in a doubly linked list in no order; the size of a chunk is at both its ends.
 *
 *   chunk ->  | units, status | next |  header; next only while free
 *   block ->  | payload              |  whole units of 16 bytes
 *             | ...                  |
 *             | units         | prev |  footer; prev only while free
 *
 * The neighbours in memory are found by the sizes at hand, a free one leaves the list by its own links: free
 * is O(1). malloc still takes the first chunk that fits, O(free chunks). Header and footer say the same, so
 * an overflow that reached the footer is noticed at the free, which then ends the program.
 */
#include "heapmgr.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A header or a footer. */
typedef struct tag {
    size_t units;     /* of the whole chunk, both tags included; in a header with IN_USE or not */
    struct tag *link; /* in a header the next free chunk's header, in a footer the previous one's */
} tag_t;

enum { UNIT = sizeof(tag_t), MIN_UNITS = 3 };
static_assert(UNIT == 16, "a unit keeps blocks aligned");
#define IN_USE (SIZE_MAX / 2 + 1) /* the status: the top bit, which no size needs */

static tag_t *heap_start, *heap_end; /* heap_end is the program break */
static tag_t *free_list;

_Noreturn static void broken(const char *what)
{
    fprintf(stderr, "HeapMgr: %s\n", what);
    abort();
}

static size_t chunk_units(const tag_t *chunk)
{
    return chunk->units & ~IN_USE;
}

static bool chunk_in_use(const tag_t *chunk)
{
    return (chunk->units & IN_USE) != 0;
}

static tag_t *chunk_behind(tag_t *chunk)
{
    return chunk + chunk_units(chunk);
}

static tag_t *chunk_footer(tag_t *chunk)
{
    return chunk_behind(chunk) - 1;
}

static void chunk_set(tag_t *chunk, size_t units, size_t status)
{
    chunk->units = units | status;
    chunk_footer(chunk)->units = units;
}

/* What is wrong with a chunk as it stands, or NULL. */
static const char *chunk_fault(tag_t *chunk)
{
    size_t units = chunk_units(chunk);

    if (units < MIN_UNITS || units > (size_t)(heap_end - chunk))
        return "a header has a size that cannot be";
    return chunk_footer(chunk)->units == units ? NULL : "a header and its footer differ";
}

/* The chunk in front, by its footer; NULL at the heap's start. */
static tag_t *chunk_before(tag_t *chunk)
{
    if (chunk == heap_start)
        return NULL;
    size_t units = (chunk - 1)->units;
    if (units < MIN_UNITS || units > (size_t)(chunk - heap_start) || chunk_units(chunk - units) != units)
        broken("a footer has a size that cannot be");
    return chunk - units;
}

static void list_push(tag_t *chunk)
{
    chunk->link = free_list;
    chunk_footer(chunk)->link = NULL;
    if (free_list != NULL)
        chunk_footer(free_list)->link = chunk;
    free_list = chunk;
}

static void list_remove(tag_t *chunk)
{
    tag_t *next = chunk->link, *prev = chunk_footer(chunk)->link;

    if (prev == NULL)
        free_list = next;
    else
        prev->link = next;
    if (next != NULL)
        chunk_footer(next)->link = prev;
}

/* Puts a chunk that is on no list on the list, as one with what is free beside it. */
static void release(tag_t *chunk)
{
    size_t units = chunk_units(chunk);
    tag_t *next = chunk_behind(chunk), *prev = chunk_before(chunk);

    if (next < heap_end && !chunk_in_use(next)) {
        list_remove(next);
        units += chunk_units(next);
    }
    if (prev != NULL && !chunk_in_use(prev)) {
        list_remove(prev);
        units += chunk_units(prev);
        chunk = prev;
    }
    chunk_set(chunk, units, 0);
    list_push(chunk);
}

/* Moves the break up by at least `units`, which go on the list. */
static bool heap_grow(size_t units)
{
    if (heap_end == NULL) {
        char *now = sbrk(0);
        char *aligned = now + (-(uintptr_t)now & (UNIT - 1));
        if (brk(aligned) != 0)
            return false;
        heap_start = heap_end = (tag_t *)(void *)aligned;
    }
    if (units < HEAP_GROWTH_BYTES / UNIT)
        units = HEAP_GROWTH_BYTES / UNIT;
    if (sbrk(0) != heap_end || brk(heap_end + units) != 0)
        return false;
    tag_t *chunk = heap_end;
    heap_end += units;
    chunk_set(chunk, units, 0);
    release(chunk);
    return true;
}

static tag_t *list_find(size_t units)
{
    tag_t *chunk = free_list;

    while (chunk != NULL && chunk_units(chunk) < units)
        chunk = chunk->link;
    return chunk;
}

/* Takes a free chunk off the list; what is more than `units`, if it makes a chunk, goes back. */
static void *use_front(tag_t *chunk, size_t units)
{
    size_t rest = chunk_units(chunk) - units;

    list_remove(chunk);
    if (rest < MIN_UNITS) {
        chunk_set(chunk, units + rest, IN_USE);
    } else {
        chunk_set(chunk, units, IN_USE);
        chunk_set(chunk + units, rest, 0);
        list_push(chunk + units);
    }
    return chunk + 1;
}

void *HeapMgr_malloc(size_t bytes)
{
    if (bytes == 0 || bytes > PTRDIFF_MAX - HEAP_GROWTH_BYTES)
        return NULL;
    size_t units = 2 + (bytes + UNIT - 1) / UNIT;

    tag_t *chunk = list_find(units);
    if (chunk == NULL) {
        if (!heap_grow(units))
            return NULL;
        chunk = free_list; /* the new memory, in front */
    }
    return use_front(chunk, units);
}

void HeapMgr_free(void *block)
{
    if (block == NULL)
        return;
    tag_t *chunk = (tag_t *)block - 1;
    const char *fault = chunk_fault(chunk);
    if (fault != NULL)
        broken(fault);
    if (!chunk_in_use(chunk))
        broken("a block is freed twice");
    release(chunk);
}

/* How many chunks the list holds; SIZE_MAX if it is broken or holds more than `limit`. */
static size_t list_length(size_t limit)
{
    size_t length = 0;

    for (tag_t *prev = NULL, *chunk = free_list; chunk != NULL; prev = chunk, chunk = chunk->link) {
        if (chunk < heap_start || chunk >= heap_end || (uintptr_t)chunk % UNIT != 0 || length++ == limit)
            return SIZE_MAX;
        if (chunk_fault(chunk) != NULL || chunk_in_use(chunk) || chunk_footer(chunk)->link != prev)
            return SIZE_MAX;
    }
    return length;
}

/* The chunks tile the heap, tags agree, free ones are merged and as many as the list holds. */
const char *HeapMgr_check(const void *block)
{
    size_t free_chunks = 0;
    bool before_is_free = false, block_found = block == NULL;

    if (heap_end != NULL && sbrk(0) != heap_end)
        return "the program break is not where we left it";
    for (tag_t *chunk = heap_start; chunk < heap_end; chunk = chunk_behind(chunk)) {
        const char *fault = chunk_fault(chunk);
        if (fault != NULL)
            return fault;
        bool is_free = !chunk_in_use(chunk);
        if (is_free && before_is_free)
            return "two free chunks side by side are not merged";
        if (is_free)
            free_chunks++;
        else if (block == chunk + 1)
            block_found = true;
        before_is_free = is_free;
    }
    if (list_length(free_chunks) != free_chunks)
        return "the free list does not hold the free chunks";
    return block_found ? NULL : "the block is not in use";
}

void HeapMgr_walk(HeapMgr_visit visit, void *context)
{
    for (tag_t *chunk = heap_start; chunk < heap_end; chunk = chunk_behind(chunk))
        visit(context, chunk, chunk_units(chunk) * UNIT, !chunk_in_use(chunk));
}
