/*
 * warm.h: which pages of a chunk run are resident for sure: a bit a page in the granule's tag, set where a header is
 * written. Only a hint: what the application writes into its blocks is not known here, nor what a cache carves from a
 * piece. Guarded by the arena's mutex.
 *
 * A header is the one thing that the arena itself writes into a free chunk, and the first write to a page is a fault,
 * a hundred times as long as the rest of an allocation. So where a chunk is split, and how many are taken at
 * once, depends on it (carve.c, alloc_fill).
 */
#ifndef ARENA_WARM_H
#define ARENA_WARM_H

#include "chunk.h"
#include "heap.h"

enum { WARM_PAGE_LOG2 = 12 }; /* no page is smaller; a larger one only makes the hint a worse one */

_Static_assert(GRANULE_LOG2 - WARM_PAGE_LOG2 <= 6, "a word has a bit for each page");

INLINE uint64_t warm_bit(const chunk_t *chunk)
{
    return (uint64_t)1 << ((uintptr_t)chunk % GRANULE >> WARM_PAGE_LOG2);
}

/* The chunk is in the page map, as all of the others here. */
INLINE bool warm_is_known(const chunk_t *chunk)
{
    return (pagemap_tag(granule_of(chunk))->warm & warm_bit(chunk)) != 0;
}

/* A header is about to be written there. */
INLINE void warm_note(granules_t *granules, const chunk_t *chunk)
{
    run_tag_t *tag = pagemap_tag(granule_of(chunk));
    granules->pages_warmed += (tag->warm & warm_bit(chunk)) == 0;
    tag->warm |= warm_bit(chunk);
}

/* Of a granule that becomes part of a chunk run. What is not known to be zero was in use before. */
INLINE uint64_t warm_at_first(bool zero)
{
    return zero ? 0 : UINT64_MAX;
}

#endif
