/*
 * heap.h: the one interface through which rows reach an allocator, chosen when the program is compiled:
 * every row is compiled once for each, and each call is a direct call to that allocator's own function.
 *
 * A heap is what is created and dropped; a lane is a thread's way into a heap. HEAP_SHARED says whether
 * several threads may allocate in one heap, HEAP_EXPLICIT whether there are heaps at all, HEAPS_MOST how many of
 * them there may be at once. heap_trim gives
 * back what the allocator can of the heap and of the calling thread's lane.
 */
#ifndef BENCH_HEAP_H
#define BENCH_HEAP_H

#include "bench.h"

#include <limits.h>
#include <stdlib.h>

#if defined(HEAP_ARENA)

#include <arena.h>

enum { HEAP_SHARED = 1, HEAP_EXPLICIT = 1, HEAPS_MOST = INT_MAX };
typedef arena_t *heap_t;
typedef arena_t *lane_t;

static inline heap_t heap_new(void)
{
    return arena_create(NULL);
}

static inline void heap_drop(heap_t heap)
{
    arena_destroy(heap);
}

static inline void heap_trim(heap_t heap, lane_t lane)
{
    (void)lane;
    arena_trim(heap, 0);
}

static inline lane_t lane_open(heap_t heap)
{
    return heap;
}

static inline void lane_close(lane_t lane)
{
    (void)lane;
}

static inline void *lane_alloc(lane_t lane, size_t request)
{
    return arena_alloc(lane, request);
}

static inline void lane_free(lane_t lane, void *block)
{
    arena_free(lane, block);
}

#elif defined(HEAP_MIMALLOC)

#include <mimalloc.h>

/* A heap of mimalloc 2 belongs to the thread that made it; only mi_free may come from elsewhere. */
enum { HEAP_SHARED = 0, HEAP_EXPLICIT = 1, HEAPS_MOST = INT_MAX };
typedef mi_heap_t *heap_t;
typedef mi_heap_t *lane_t;

static inline heap_t heap_new(void)
{
    return mi_heap_new();
}

static inline void heap_drop(heap_t heap)
{
    mi_heap_destroy(heap);
}

static inline void heap_trim(heap_t heap, lane_t lane)
{
    (void)lane;
    mi_heap_collect(heap, true);
    mi_collect(true);
}

static inline lane_t lane_open(heap_t heap)
{
    return heap;
}

static inline void lane_close(lane_t lane)
{
    (void)lane;
}

static inline void *lane_alloc(lane_t lane, size_t request)
{
    return mi_heap_malloc(lane, request);
}

static inline void lane_free(lane_t lane, void *block)
{
    (void)lane;
    mi_free(block);
}

#elif defined(HEAP_JEMALLOC)

#include <jemalloc/jemalloc.h>
#include <stdio.h>

/* An arena made by mallctl, and for each thread an explicit cache that holds blocks of it alone. */
enum { HEAP_SHARED = 1, HEAP_EXPLICIT = 1, HEAPS_MOST = 4000 };
typedef unsigned heap_t;
typedef struct {
    unsigned tcache;
    int flags;
} lane_t;

static inline heap_t heap_new(void)
{
    unsigned arena = 0;
    size_t bytes = sizeof arena;
    bench_require(mallctl("arenas.create", &arena, &bytes, NULL, 0) == 0, "arenas.create");
    return arena;
}

static inline void heap_command(heap_t heap, const char *command)
{
    char name[48];
    snprintf(name, sizeof name, "arena.%u.%s", heap, command);
    bench_require(mallctl(name, NULL, NULL, NULL, 0) == 0, name);
}

static inline void heap_drop(heap_t heap)
{
    heap_command(heap, "destroy");
}

static inline void heap_trim(heap_t heap, lane_t lane)
{
    int failed = mallctl("tcache.flush", NULL, NULL, &lane.tcache, sizeof lane.tcache);
    bench_require(failed == 0, "tcache.flush");
    heap_command(heap, "purge");
}

static inline lane_t lane_open(heap_t heap)
{
    lane_t lane = {0, 0};
    size_t bytes = sizeof lane.tcache;
    bench_require(mallctl("tcache.create", &lane.tcache, &bytes, NULL, 0) == 0, "tcache.create");
    lane.flags = MALLOCX_ARENA(heap) | MALLOCX_TCACHE(lane.tcache);
    return lane;
}

static inline void lane_close(lane_t lane)
{
    int failed = mallctl("tcache.destroy", NULL, NULL, &lane.tcache, sizeof lane.tcache);
    bench_require(failed == 0, "tcache.destroy");
}

static inline void *lane_alloc(lane_t lane, size_t request)
{
    return mallocx(request, lane.flags);
}

static inline void lane_free(lane_t lane, void *block)
{
    dallocx(block, lane.flags);
}

#elif defined(HEAP_EMPTY)

/* Two functions elsewhere that do nothing: what a loop and its two calls cost by themselves. */
typedef void *heap_t;
typedef void *lane_t;

void *empty_alloc(lane_t lane, size_t request);
void empty_free(lane_t lane, void *block);

static inline heap_t heap_new(void)
{
    return NULL;
}

static inline lane_t lane_open(heap_t heap)
{
    return heap;
}

static inline void *lane_alloc(lane_t lane, size_t request)
{
    return empty_alloc(lane, request);
}

static inline void lane_free(lane_t lane, void *block)
{
    empty_free(lane, block);
}

#elif defined(HEAP_EMPTY_PLAIN)

/* The same with malloc's and free's own parameters. */
typedef int heap_t;
typedef int lane_t;

void *empty_malloc(size_t request);
void empty_plain_free(void *block);

static inline heap_t heap_new(void)
{
    return 0;
}

static inline lane_t lane_open(heap_t heap)
{
    return heap;
}

static inline void *lane_alloc(lane_t lane, size_t request)
{
    (void)lane;
    return empty_malloc(request);
}

static inline void lane_free(lane_t lane, void *block)
{
    (void)lane;
    empty_plain_free(block);
}

#else /* the process's malloc, whoever that is */

enum { HEAP_SHARED = 1, HEAP_EXPLICIT = 0, HEAPS_MOST = 0 };
typedef int heap_t;
typedef int lane_t;

void plain_trim(void);

static inline heap_t heap_new(void)
{
    return 0;
}

static inline void heap_drop(heap_t heap)
{
    (void)heap;
}

static inline void heap_trim(heap_t heap, lane_t lane)
{
    (void)heap;
    (void)lane;
    plain_trim();
}

static inline lane_t lane_open(heap_t heap)
{
    return heap;
}

static inline void lane_close(lane_t lane)
{
    (void)lane;
}

static inline void *lane_alloc(lane_t lane, size_t request)
{
    (void)lane;
    return malloc(request);
}

static inline void lane_free(lane_t lane, void *block)
{
    (void)lane;
    free(block);
}

#endif

#endif
