/*
 * run.h: runs of whole granules: boundary tags at the grain of a granule, out of band in the page map.
 *
 * A region is cut into runs; each granule's entry says of which kind its run is. A run's first and last
 * tag hold its length and region. Free runs are in bins, those with a resident granule apart, because
 * they serve first (warm) and are what a purge looks for. Dirtiness itself is a granule's, in its entry:
 * a run merged of purged and dirty parts forgets nothing. All O(1) but for storing the entries.
 *
 * Everything here is guarded by the arena's mutex and makes no system call.
 */
#ifndef ARENA_RUN_H
#define ARENA_RUN_H

#include "heap.h"

/* Which bins a free run is in stands in the top bit of its tags' region. */
#define RUN_DIRTY ((uint32_t)1 << 31)

/* Adds granules of `kind` (one of the KIND_FREE_*) to the free runs; merges with both neighbours. Returns
 * the first granule of the merged run. */
HIDDEN granule_t run_put_locked(arena_t *arena, granule_t first, uint32_t length, uint32_t region,
                                uint32_t kind);

/* A run of `length` granules marked as `kind`, or 0. *zero: all of it reads as zero. */
HIDDEN granule_t run_take_locked(arena_t *arena, uint32_t length, uint32_t kind, bool *zero);

/* The same, but only if the granules from `first` on are free. */
HIDDEN bool run_take_at_locked(arena_t *arena, granule_t first, uint32_t length, uint32_t kind, bool *zero);

/* A free run of at least `length` granules, still in its bin, or 0. */
HIDDEN granule_t run_find_locked(arena_t *arena, uint32_t length);

/* Takes a whole free run, whose first granule is `first`, out of its bin; entries stay as they are. */
HIDDEN uint32_t run_remove_locked(arena_t *arena, granule_t first);

/* Bytes mapped that are not in free runs. */
INLINE size_t run_in_use_locked(const arena_t *arena)
{
    return arena->totals.mapped_bytes - arena->totals.free_run_bytes;
}

/* So many dirty bytes left the free runs, or were purged. */
HIDDEN void run_count_dirty_locked(arena_t *arena, size_t gone);

/* First granule of a run of the highest bin that holds one, or 0. */
HIDDEN granule_t run_find_long_locked(const run_bins_t *bins);

/* Puts part of a run just removed, `region` being its tag's, back as it was. */
HIDDEN void run_restore_locked(arena_t *arena, granule_t first, uint32_t length, uint32_t region);

/* Writes the tags of a run that is not free. */
HIDDEN void run_set_tags(granule_t first, uint32_t length, uint32_t region);

INLINE bool run_kind_is_free(uint32_t kind)
{
    return kind >= KIND_FREE_DIRTY && kind <= KIND_FREE_ZERO;
}

/* The kind of `granule` if it is the arena's, else 0. */
INLINE uint32_t run_kind(const arena_t *arena, granule_t granule)
{
    uint32_t kind = pagemap_entry_of(granule) ^ arena->tag;
    return kind <= 0xff ? kind : 0;
}

/* Runs merge within one region only. */
INLINE bool run_is_free_of_region(const arena_t *arena, granule_t granule, uint32_t region)
{
    return run_kind_is_free(run_kind(arena, granule)) &&
           (pagemap_tag(granule)->region & ~RUN_DIRTY) == region;
}

#endif
