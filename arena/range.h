/*
 * range.h: blocks of a range arena: found, cut off, merged; and the list of live ranges. Guarded by the range's
 * lock; a range has no other, and the kernel is called under it.
 */
#ifndef ARENA_RANGE_H
#define ARENA_RANGE_H

#include "check.h"
#include "rangebin.h"

enum {
    RANGE_MOST_WAITING =
        256, /* each needs a descriptor: when there are more, the one that waits longest is merged */
    RANGE_WALK_STEPS = 64 /* over neighbours that wait, before all are merged */
};

/* Whether runs on both sides of `index` may be one. */
INLINE bool range_may_merge(const arena_range_t *range, uint64_t index)
{
    return !range_in_pages(range) || (index & (range->page - 1)) != 0;
}

/* Marks and files [start, end) as free; where no run may cross a page in one for each, the lowest filed last. */
HIDDEN void range_file_locked(arena_range_t *range, uint64_t start, uint64_t end);

/* Merges every run that waits. */
HIDDEN void range_merge_waiting_locked(arena_range_t *range);

/* The index of a new block, or RANGE_NOWHERE. */
HIDDEN uint64_t range_take_locked(arena_range_t *range, range_want_t want);

/* Where `address` lies: MISUSE_NONE, and *index, iff a block of the application begins there. */
HIDDEN misuse_t range_locate_locked(const arena_range_t *range, uint64_t address, uint64_t *index);

HIDDEN void range_put_locked(arena_range_t *range, uint64_t index);

/* Makes the block at `index` `count` quanta long where it lies. */
HIDDEN bool range_resize_locked(arena_range_t *range, uint64_t index, uint64_t count);

/* fork.c only, under the registry lock: the lock of every live range; stops at the first false. */
HIDDEN bool range_each_lock(bool (*act)(lock_t *lock));

/* Caller holds the registry lock. */
HIDDEN void range_add_live_locked(arena_range_t *range);
HIDDEN void range_remove_live_locked(arena_range_t *range);

#endif
