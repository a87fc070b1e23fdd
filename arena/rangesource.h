/*
 * rangesource.h: where a range arena's addresses come from and go back to: a given range, mmap, or the break.
 * Guarded by the range's lock.
 */
#ifndef ARENA_RANGESOURCE_H
#define ARENA_RANGESOURCE_H

#include "rangebin.h"

/* Adds addresses so that a block of `want` fits, as far as it is for the source to say; false: it cannot. */
HIDDEN bool rangesource_grow_locked(arena_range_t *range, range_want_t want);

/* Moves the break and makes a range there that is as `model` but for what depends on the place; its lock is the
 * caller's to make. NULL: the break does not move. */
HIDDEN arena_range_t *rangesource_found(const arena_range_t *model);

/* Brings the break down to the end of the last block, but for `keep` quanta and the rest of a page. `tail` is
 * where the last block ends, or ended. Answers how many quanta went. */
HIDDEN uint64_t rangesource_lower_break_locked(arena_range_t *range, uint64_t keep);

/* Unmaps the pages that are free in the run around `start`, as long as `keep` quanta of all are left free. */
HIDDEN uint64_t rangesource_unmap_pages_locked(arena_range_t *range, uint64_t start, uint64_t keep);

/* Gives back all that the range holds, the range itself if it lies there. */
HIDDEN void rangesource_close(arena_range_t *range);

#endif
