/*
 * heap.h: what a replay asks of an allocator, as direct calls: malloc's names, whoever is behind them, or
 * (REPLAY_ARENA) an arena of libarena with the options of options.h.
 */
#ifndef REPLAY_HEAP_H
#define REPLAY_HEAP_H

#include "../../bench/bench.h"

#ifdef REPLAY_ARENA

#include "options.h"

#include <stdio.h>

static arena_t *heap_arena;
static size_t heap_alignment; /* of blocks of 16 bytes and more */

static arena_options_t heap_options;

/* Before memory is counted: what reads the text is the replay's own. */
static inline void heap_set(const char *text)
{
    heap_options = options_parse(text);
    heap_alignment = heap_options.quantum == 8 ? 8 : 16;
}

static inline void heap_open(void)
{
    heap_arena = arena_create(&heap_options);
    bench_require(heap_arena != NULL, "arena_create");
}

static inline void *heap_alloc(size_t request)
{
    return arena_alloc(heap_arena, request);
}

static inline void *heap_calloc(size_t count, size_t request)
{
    return arena_calloc(heap_arena, count, request);
}

static inline void *heap_realloc(void *block, size_t request)
{
    return arena_realloc(heap_arena, block, request);
}

static inline void *heap_aligned(size_t alignment, size_t request)
{
    return arena_aligned_alloc(heap_arena, alignment, request);
}

static inline void heap_free(void *block)
{
    arena_free(heap_arena, block);
}

/* Where the arena's memory is now: one figure a line. */
static inline void heap_report(void)
{
    arena_stats_t own, process;
    arena_stats(heap_arena, &own, sizeof own);
    arena_stats(NULL, &process, sizeof process);
    printf("stat_mapped %zu\nstat_live %zu\n", own.mapped_bytes, own.live_bytes);
    printf("stat_cached %zu\nstat_free %zu\n", own.cached_bytes, own.free_bytes);
    printf("stat_metadata %zu\nstat_resident %zu\n", own.metadata_bytes, own.resident_bytes);
    printf("stat_slabs %zu\nstat_large_blocks %zu\n", own.slabs, own.large_blocks);
    printf("stat_regions %zu\nstat_kernel_calls %zu\n", own.regions, (size_t)own.kernel_calls);
    printf("stat_process_metadata %zu\n", process.process_metadata_bytes);
    bench_require(arena_check(heap_arena) == 0, "arena_check");
}

#else

#include <stdlib.h>

static const size_t heap_alignment = 16;

static inline void heap_set(const char *text)
{
    bench_require(text[0] == '\0', "malloc, which takes no options");
}

static inline void heap_open(void) {}

static inline void *heap_alloc(size_t request)
{
    return malloc(request);
}

static inline void *heap_calloc(size_t count, size_t request)
{
    return calloc(count, request);
}

static inline void *heap_realloc(void *block, size_t request)
{
    return realloc(block, request);
}

static inline void *heap_aligned(size_t alignment, size_t request)
{
    void *block = NULL;
    alignment = alignment < sizeof(void *) ? sizeof(void *) : alignment;
    return posix_memalign(&block, alignment, request) == 0 ? block : NULL;
}

static inline void heap_free(void *block)
{
    free(block);
}

static inline void heap_report(void) {}

#endif

#endif
