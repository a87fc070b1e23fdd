/*
 * want.h: what serves a request: its size class, if it has one, and the chunk that it gets where no slab serves it.
 * Looks at the arena's options alone.
 */
#ifndef ARENA_WANT_H
#define ARENA_WANT_H

#include "heap.h"

/* What one allocation is after. */
typedef struct {
    size_t request, alignment;
    size_t chunk;         /* bytes of the chunk that serves it */
    unsigned class, mark; /* mark: the class byte of that chunk */
    bool counts;          /* as an allocation of the application */
} want_t;

/*
 * The size class of a request in this arena, or 0 if it gets a chunk or a large block of just its size. So does one
 * above SMALL_MAX: it is rounded to a class only for a magazine of that class (want_block_of).
 */
HIDDEN unsigned want_class(const arena_t *arena, size_t request);

/*
 * The chunk that serves a block of `usable` bytes. Large ones are whole cache lines: so two that lie side by side are
 * multiples of 64 bytes apart, and not 16 bytes more than a power of two, which makes copies slow (see copy in api.c).
 */
HIDDEN size_t want_chunk_size(const arena_t *arena, size_t usable);

/* What a request without a class is usable for. From LARGE_MIN_BYTES on that is what a large block would have,
 * whatever serves it, because the threshold moves. */
HIDDEN size_t want_good_size(const arena_t *arena, size_t request);

/* The class whose magazine may serve a request with an alignment above the quantum, or 0. All of its blocks are so
 * aligned if slabs back them; nearly all are, to a cache line, if they are so large that chunks must. */
HIDDEN unsigned want_aligned_class(const arena_t *arena, size_t request, size_t alignment);

HIDDEN want_t want_of(arena_t *arena, size_t request, size_t alignment);

/* What serves a block that grew: no class, but a class's size, so that not every few bytes more are a step. */
HIDDEN want_t want_grown(arena_t *arena, size_t request);

/* A block of the class itself, for a magazine. */
HIDDEN want_t want_block_of(arena_t *arena, unsigned class);

#endif
