/*
 * region.h: spans of address space from one source, their growth, and giving them back.
 *
 * Growth: with `grow` held and the arena's mutex not, because it calls the kernel or the user's hooks.
 * mmap regions grow with the arena, up to a cap, and join with a neighbour that happens to touch; the break grows in
 * place while it is ours, and a foreign sbrk in between only begins a new region. Giving back: a free
 * run is taken out under the mutex, unmapped or purged under `grow` alone, and, unless it is gone, put
 * back. Whole granules throughout, but for a break that moves by pages: its regions are outside the page map, as a
 * buffer is, and each is one chunk run, whose end moves.
 */
#ifndef ARENA_REGION_H
#define ARENA_REGION_H

#include "heap.h"

/* Adds at least `need` contiguous bytes of free runs (or, from unaligned hooks, of what is still raw). Caller holds
 * grow. True: the caller holds the mutex as well, so that no other thread gets to them first. */
HIDDEN bool region_grow_and_lock(arena_t *arena, size_t need);

/* The same of the stock alone, and no more. */
HIDDEN bool region_grow_warm_and_lock(arena_t *arena, size_t need);

/* Before the source is asked: `bytes` of the limit; false: it forbids them. Caller holds grow. */
HIDDEN bool region_reserve(arena_t *arena, size_t bytes);

/* Afterwards: they did not come, or they are mapped. */
HIDDEN void region_unreserve(arena_t *arena, size_t bytes);
HIDDEN void region_count_locked(arena_t *arena, size_t bytes);

/* Keeps a mapping that the source would not take back, already counted as mapped: whole granules as free runs,
 * the rest as stuck. Caller holds grow. */
HIDDEN void region_keep(arena_t *arena, arena_source_t source, void *start, size_t bytes);

/* The region outside the map that holds `address`, or NULL. Caller holds the mutex. */
HIDDEN region_t *region_by_bounds_locked(const arena_t *arena, const void *address);

/* Puts a region into its place in the arena's list, by address. Caller holds both locks. */
HIDDEN void region_link(arena_t *arena, region_t *region);

/* Gives a region's descriptor up; NULL: none. Caller holds grow, under which descriptors come and go. */
HIDDEN void region_free(arena_t *arena, region_t *region);

/* Registers a buffer as the arena's only region. */
HIDDEN void region_add_buffer(arena_t *arena, char *start, size_t bytes);

/*
 * Gives free runs back until at most `dirty_target` free bytes are resident, longest first: cut off if
 * they lie at an end of their region, purged otherwise. Takes grow. Returns the bytes given back.
 */
HIDDEN size_t region_purge(arena_t *arena, size_t dirty_target);

/* Cuts free ends of regions off while more than `keep_bytes` are mapped. Takes grow. Returns the bytes. */
HIDDEN size_t region_trim(arena_t *arena, size_t keep_bytes);

/* The last region outside the map, but for one that is just growing, or NULL. */
HIDDEN region_t *region_highest_locked(const arena_t *arena);

/* Gives [start, start + bytes), at an end of its region, back. It is in no bin, its entries, if it has any, say BUSY.
 * False: it stays, raw if it is outside the map. Caller holds grow alone. */
HIDDEN bool region_cut(arena_t *arena, region_t *region, char *start, size_t bytes);

/* Takes every region out of the arena, but for a small first one if `keep_first`, under both locks, and returns
 * the last; then gives them up, under grow alone. An arena that lives on keeps what its source refuses. */
HIDDEN region_t *region_detach_all_locked(arena_t *arena, bool keep_first);
HIDDEN void region_release(arena_t *arena, region_t *last, bool lives_on);

/* Makes the region that was kept one free run again, once the bins are clear. */
HIDDEN void region_reuse_kept_locked(arena_t *arena);

#endif
