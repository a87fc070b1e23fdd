/*
 * rangebin.h: bins of free runs: a power of two, then 16 steps (binmap.h). Sizes are quanta and runs are descriptors,
 * so that nothing else of bin.c fits. Up to 31 quanta a bin holds one size. Guarded by the range's lock.
 */
#ifndef ARENA_RANGEBIN_H
#define ARENA_RANGEBIN_H

#include "rangeheap.h"

/* What a run must have room for. */
typedef struct {
    uint64_t count;     /* quanta */
    uint64_t alignment; /* quanta of address; 0 or 1: any */
    uint64_t ahead; /* how much further the block may grow soon: a new table is made large enough for that */
} range_want_t;

/* Files a run whose start and count are set: bin, leaf's list and, if it may adjoin another free run, the ring of
 * those that wait. */
HIDDEN void rangebin_insert_locked(arena_range_t *range, range_run_t *run, bool waits);
HIDDEN void rangebin_remove_locked(arena_range_t *range, range_run_t *run);

/* Puts `to`, a copy, in the place of `from` everywhere. */
HIDDEN void rangebin_move_locked(arena_range_t *range, range_run_t *from, range_run_t *to);

/* The run by the range's policy; NULL. *offset: where in it the block shall begin. */
HIDDEN range_run_t *rangebin_find_locked(arena_range_t *range, range_want_t want, uint64_t *offset);

/* First in order of the bin that `want` belongs to, or NULL. */
HIDDEN range_run_t *rangebin_find_own_locked(arena_range_t *range, range_want_t want, uint64_t *offset);

/* The lowest of at least `count` quanta that begins below `below`; NULL. */
HIDDEN range_run_t *rangebin_find_below_locked(const arena_range_t *range, uint64_t count, uint64_t below);

HIDDEN uint64_t rangebin_largest(const arena_range_t *range);

/* The bin of a run of `count`; the check compares. */
HIDDEN unsigned rangebin_index(uint64_t count);

#endif
