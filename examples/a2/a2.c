/*
 * a2.c: malloc, calloc, realloc and free over the program break and nothing else: no mmap, no static heap. Blocks are
 * multiples of 8 bytes and lie side by side; what describes them lies apart, but in the break too. The break moves
 * 8 KiB at a time, and comes down by pages when the last block goes.
 *
 * A freed block is handed out first to the next request of its size (LIFO); built with -DA2_ORDER=ARENA_RANGE_FIFO, last.
 *
 * introduces: ARENA_RANGE_SBRK, ARENA_RANGE_INSIDE, ARENA_RANGE_LIFO, arena_range_aligned_alloc(), arena_range_resize(),
 * arena_range_size()
 */
#include "a2.h"

#include "arena.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#ifndef A2_ORDER
#define A2_ORDER ARENA_RANGE_LIFO
#endif
#ifndef A2_QUANTUM
#define A2_QUANTUM 8 /* sizes and addresses are multiples of it */
#endif

static arena_range_t *heap; /* NULL: the break is not ours to move */

static void open_heap(void)
{
    static const arena_range_options_t options = {.name = "a2",
                                                  .source = ARENA_RANGE_SBRK,
                                                  .flags = ARENA_RANGE_INSIDE | A2_ORDER,
                                                  .quantum = A2_QUANTUM,
                                                  .growth_bytes = 8192};
    heap = arena_range_create(&options);
}

void *myaligned_alloc(size_t alignment, size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_heap);
    if (heap == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    uint64_t address = arena_range_aligned_alloc(heap, alignment, size);
    return address == ARENA_RANGE_NONE ? NULL : (void *)(uintptr_t)address;
}

void *mymalloc(size_t size)
{
    return myaligned_alloc(A2_QUANTUM, size);
}

void myfree(void *block)
{
    if (block != NULL)
        arena_range_free(heap, (uintptr_t)block);
}

void *mycalloc(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = mymalloc(count * size);
    return block == NULL ? NULL : memset(block, 0, count * size);
}

void *myrealloc(void *block, size_t size)
{
    if (block == NULL)
        return mymalloc(size);
    size_t old = arena_range_size(heap, (uintptr_t)block);
    if (arena_range_resize(heap, (uintptr_t)block, size))
        return block;
    void *moved = mymalloc(size); /* what lies behind is in use */
    if (moved == NULL)
        return NULL;
    memcpy(moved, block, old < size ? old : size);
    myfree(block);
    return moved;
}

size_t myusable_size(void *block)
{
    return block == NULL ? 0 : arena_range_size(heap, (uintptr_t)block);
}
