/*
 * 4b_payload.c: as 4_doubly.c, but what only a free chunk needs lies in its payload. A chunk in use costs
 * one word of 8 bytes, not 32.
 *
 *   chunk ->  | size, PREV_IN_USE, IN_USE |     chunk ->  | size, PREV_IN_USE       |
 *   block ->  | payload                   |               | next                    |
 *             | ...                       |               | prev                    |
 *             |                           |               | ...                     |
 *             | (in use)                  |               | size, the footer (free) |
 *   next  ->  | size, PREV_IN_USE, ...    |     next  ->  | size, IN_USE            |
 *
 * The footer is read only when the chunk behind says that this one is free. The last word of the heap is the
 * header of a chunk of no bytes, in use for ever, so that every chunk has one behind it.
 */
#include "heapmgr.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct chunk {
    size_t header;             /* bytes of the whole chunk, a multiple of 16, and flags */
    struct chunk *next, *prev; /* valid only while free */
} chunk_t;

enum { IN_USE = 1, PREV_IN_USE = 2, FLAGS = 15, ALIGNMENT = 16, WORD = sizeof(size_t), MIN_BYTES = 32 };
static_assert(sizeof(chunk_t) + WORD <= MIN_BYTES, "links and footer fit the smallest chunk");

static char *heap_start, *heap_end; /* heap_end is the program break; the first header is at heap_start */
static chunk_t *free_list;

_Noreturn static void broken(const char *what)
{
    fprintf(stderr, "HeapMgr: %s\n", what);
    abort();
}

static size_t chunk_bytes(const chunk_t *chunk)
{
    return chunk->header & ~(size_t)FLAGS;
}

static bool chunk_in_use(const chunk_t *chunk)
{
    return (chunk->header & IN_USE) != 0;
}

static chunk_t *chunk_at(chunk_t *chunk, ptrdiff_t offset)
{
    return (chunk_t *)(void *)((char *)chunk + offset);
}

static chunk_t *chunk_behind(chunk_t *chunk)
{
    return chunk_at(chunk, (ptrdiff_t)chunk_bytes(chunk));
}

static size_t *chunk_footer(chunk_t *chunk)
{
    return (size_t *)(void *)chunk_behind(chunk) - 1;
}

static chunk_t *heap_last(void)
{
    return (chunk_t *)(void *)(heap_end - WORD);
}

/* Size and status of a chunk. PREV_IN_USE is about the chunk before and stays; that of the one behind changes. */
static void chunk_set_free(chunk_t *chunk, size_t bytes)
{
    chunk->header = bytes | (chunk->header & PREV_IN_USE);
    *chunk_footer(chunk) = bytes;
    chunk_behind(chunk)->header &= ~(size_t)PREV_IN_USE;
}

static void chunk_set_used(chunk_t *chunk, size_t bytes)
{
    chunk->header = bytes | IN_USE | (chunk->header & PREV_IN_USE);
    chunk_behind(chunk)->header |= PREV_IN_USE;
}

/* What is wrong with a header as it stands, or NULL. */
static const char *chunk_fault(chunk_t *chunk)
{
    size_t bytes = chunk_bytes(chunk), room = (size_t)((char *)heap_last() - (char *)chunk);

    if ((chunk->header & FLAGS & ~(size_t)(IN_USE | PREV_IN_USE)) != 0 || bytes < MIN_BYTES || bytes > room)
        return "a header has a size that cannot be";
    if (((chunk_behind(chunk)->header & PREV_IN_USE) != 0) != chunk_in_use(chunk))
        return "two headers differ on whether a chunk is in use";
    if (!chunk_in_use(chunk) && *chunk_footer(chunk) != bytes)
        return "a header and its footer differ";
    return NULL;
}

static void list_push(chunk_t *chunk)
{
    chunk->next = free_list;
    chunk->prev = NULL;
    if (free_list != NULL)
        free_list->prev = chunk;
    free_list = chunk;
}

static void list_remove(chunk_t *chunk)
{
    if (chunk->prev == NULL)
        free_list = chunk->next;
    else
        chunk->prev->next = chunk->next;
    if (chunk->next != NULL)
        chunk->next->prev = chunk->prev;
}

/* Puts a chunk that is on no list on the list, as one with what is free beside it. */
static void release(chunk_t *chunk)
{
    size_t bytes = chunk_bytes(chunk);
    chunk_t *next = chunk_behind(chunk);

    if (!chunk_in_use(next)) {
        list_remove(next);
        bytes += chunk_bytes(next);
    }
    if ((chunk->header & PREV_IN_USE) == 0) {
        size_t before = ((size_t *)(void *)chunk)[-1];
        if (before % ALIGNMENT != 0 || before > (size_t)((char *)chunk - heap_start))
            broken("a footer has a size that cannot be");
        chunk = chunk_at(chunk, -(ptrdiff_t)before);
        list_remove(chunk);
        bytes += before;
    }
    chunk_set_free(chunk, bytes);
    list_push(chunk);
}

/* Room for the first chunk's header, so that its block is aligned, which for now is the last header too. */
static bool heap_init(void)
{
    char *now = sbrk(0);
    char *start = now + (-(uintptr_t)now & (ALIGNMENT - 1)) + ALIGNMENT - WORD;

    if (brk(start + WORD) != 0)
        return false;
    heap_start = start;
    heap_end = start + WORD;
    heap_last()->header = IN_USE | PREV_IN_USE;
    return true;
}

/* Moves the break up. The new chunk begins where the last header was; at least `bytes` go on the list. */
static bool heap_grow(size_t bytes)
{
    if (heap_end == NULL && !heap_init())
        return false;
    if (bytes < HEAP_GROWTH_BYTES)
        bytes = HEAP_GROWTH_BYTES;
    if (sbrk(0) != heap_end || brk(heap_end + bytes) != 0)
        return false;
    chunk_t *chunk = heap_last();
    heap_end += bytes;
    heap_last()->header = IN_USE;
    chunk_set_free(chunk, bytes);
    release(chunk);
    return true;
}

static chunk_t *list_find(size_t bytes)
{
    chunk_t *chunk = free_list;

    while (chunk != NULL && chunk_bytes(chunk) < bytes)
        chunk = chunk->next;
    return chunk;
}

/* Takes a free chunk off the list; what is more than `bytes`, if it makes a chunk, goes back. */
static void *use_front(chunk_t *chunk, size_t bytes)
{
    size_t rest = chunk_bytes(chunk) - bytes;

    list_remove(chunk);
    if (rest < MIN_BYTES) {
        chunk_set_used(chunk, bytes + rest);
    } else {
        chunk_t *tail = chunk_at(chunk, (ptrdiff_t)bytes);
        tail->header = 0; /* new: the next line sets its PREV_IN_USE */
        chunk_set_used(chunk, bytes);
        chunk_set_free(tail, rest);
        list_push(tail);
    }
    return (size_t *)(void *)chunk + 1;
}

void *HeapMgr_malloc(size_t bytes)
{
    if (bytes == 0 || bytes > PTRDIFF_MAX - HEAP_GROWTH_BYTES)
        return NULL;
    bytes = (bytes + WORD + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes < MIN_BYTES)
        bytes = MIN_BYTES;

    chunk_t *chunk = list_find(bytes);
    if (chunk == NULL) {
        if (!heap_grow(bytes))
            return NULL;
        chunk = free_list; /* the new memory, in front */
    }
    return use_front(chunk, bytes);
}

void HeapMgr_free(void *block)
{
    if (block == NULL)
        return;
    chunk_t *chunk = (chunk_t *)(void *)((size_t *)block - 1);
    if (!chunk_in_use(chunk))
        broken("a block is freed twice");
    const char *fault = chunk_fault(chunk);
    if (fault == NULL && chunk_behind(chunk) != heap_last())
        fault = chunk_fault(chunk_behind(chunk)); /* what an overflow of this block would have hit */
    if (fault != NULL)
        broken(fault);
    release(chunk);
}

/* How many chunks the list holds; SIZE_MAX if it is broken or holds more than `limit`. */
static size_t list_length(size_t limit)
{
    size_t length = 0;

    for (chunk_t *prev = NULL, *chunk = free_list; chunk != NULL; prev = chunk, chunk = chunk->next) {
        char *at = (char *)chunk;
        if (at < heap_start || at >= heap_end - MIN_BYTES || (uintptr_t)at % ALIGNMENT != WORD)
            return SIZE_MAX;
        if (chunk_in_use(chunk) || chunk->prev != prev || length++ == limit)
            return SIZE_MAX;
    }
    return length;
}

/* The chunks tile the heap, tags agree, free ones are merged and as many as the list holds. */
const char *HeapMgr_check(const void *block)
{
    size_t free_chunks = 0;
    bool block_found = block == NULL;

    if (heap_end == NULL)
        return block_found ? NULL : "the block is not in use";
    if (sbrk(0) != heap_end)
        return "the program break is not where we left it";
    chunk_t *chunk = (chunk_t *)(void *)heap_start;
    for (; chunk < heap_last(); chunk = chunk_behind(chunk)) {
        const char *fault = chunk_fault(chunk);
        if (fault != NULL)
            return fault;
        if (chunk_in_use(chunk))
            block_found = block_found || block == (size_t *)(void *)chunk + 1;
        else if ((chunk->header & PREV_IN_USE) == 0)
            return "two free chunks side by side are not merged";
        else
            free_chunks++;
    }
    if (chunk_bytes(chunk) != 0 || !chunk_in_use(chunk))
        return "the last header is broken";
    if (list_length(free_chunks) != free_chunks)
        return "the free list does not hold the free chunks";
    return block_found ? NULL : "the block is not in use";
}

void HeapMgr_walk(HeapMgr_visit visit, void *context)
{
    if (heap_end == NULL)
        return;
    for (chunk_t *chunk = (chunk_t *)(void *)heap_start; chunk < heap_last(); chunk = chunk_behind(chunk))
        visit(context, chunk, chunk_bytes(chunk), !chunk_in_use(chunk));
}
