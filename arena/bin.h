/*
 * bin.h: bins of free chunks: a power of two, then 16 steps of it, so that a good fit is found by two bit scans
 * (binmap.h). The other fit policies search the same bins. Guarded by the arena's mutex.
 */
#ifndef ARENA_BIN_H
#define ARENA_BIN_H

#include "chunk.h"
#include "heap.h"

/* Bytes of heads for chunks of up to `largest` bytes; larger ones share the last bin. */
HIDDEN size_t bin_table_bytes(size_t largest, unsigned steps_log2);

/* Lays the table out in `memory`, which is zero. */
HIDDEN void bin_table_init(chunk_bins_t *bins, void *memory, size_t largest, unsigned steps_log2);

/* Forgets every chunk. O(bins in use). */
HIDDEN void bin_table_clear(chunk_bins_t *bins);

HIDDEN void bin_insert_locked(arena_t *arena, chunk_t *chunk);
HIDDEN void bin_remove_locked(arena_t *arena, chunk_t *chunk);

/*
 * A free chunk of `size` bytes, whose header is not written yet and which may overlap `old`, comes into the bins in the
 * place of `old`, whose header still is as it was.
 */
HIDDEN void bin_replace_locked(arena_t *arena, chunk_t *old, chunk_t *chunk, size_t size);

/* A free chunk of at least `size` bytes by the arena's policy, still in its bin; NULL if there is none. */
HIDDEN chunk_t *bin_find_locked(arena_t *arena, size_t size);

/* One of the largest, or NULL if it has less than `size` bytes. O(1). */
HIDDEN chunk_t *bin_find_wide_locked(arena_t *arena, size_t size);

/* The lowest bin from `index` up that holds a chunk, or BINMAP_NONE. */
INLINE unsigned bin_next(const chunk_bins_t *bins, unsigned index)
{
    return binmap_next(&bins->used, index, bins->steps_log2);
}

/* The bin that a chunk of `size` belongs to; verify.c compares. */
HIDDEN unsigned bin_index(const chunk_bins_t *bins, size_t size);

#endif
