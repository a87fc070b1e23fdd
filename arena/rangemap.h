/*
 * rangemap.h: the boundary map of a range arena: a start and a use bit for each quantum, in leaves that exist
 * only where there are marks, under inner nodes of 64 children each with one word that says which of them have
 * marks. Each call is O(levels): at most 9, 2 for a gigabyte in quanta of 8. A leaf also lists the
 * descriptors of the free runs that begin in it. Guarded by the range's lock.
 */
#ifndef ARENA_RANGEMAP_H
#define ARENA_RANGEMAP_H

#include "rangeheap.h"

/* Makes the leaf of `index`; false: no memory, and nothing is left of what was made for it. */
HIDDEN bool rangemap_ensure(arena_range_t *range, uint64_t index);

HIDDEN range_mark_t rangemap_get(const arena_range_t *range, uint64_t index);

/* The leaf must be there, unless the mark is RANGE_INSIDE. A leaf without marks goes. */
HIDDEN void rangemap_set(arena_range_t *range, uint64_t index, range_mark_t mark);

/* The first marked index behind `index`, the last one up to `index`; RANGE_NOWHERE. */
HIDDEN uint64_t rangemap_next(const arena_range_t *range, uint64_t index);
HIDDEN uint64_t rangemap_last(const arena_range_t *range, uint64_t index);

/* Whether nothing of ours is at `index`: what is ours ended, or has not begun. */
HIDDEN bool rangemap_in_hole(const arena_range_t *range, uint64_t index);

/* Gives back the leaf of `index` and the nodes above it as far as they are empty. */
HIDDEN void rangemap_prune(arena_range_t *range, uint64_t index);

/* Descriptors by where their run begins. */
HIDDEN range_run_t *rangemap_run(const arena_range_t *range, uint64_t index);
HIDDEN void rangemap_add_run(arena_range_t *range, range_run_t *run);
HIDDEN void rangemap_remove_run(arena_range_t *range, range_run_t *run);

/* Puts `to` in the place of `from`, which was copied. */
HIDDEN void rangemap_move_run(arena_range_t *range, range_run_t *from, range_run_t *to);

/* Makes the map anew of `count` leaves, one behind the other, and of inner nodes laid out at `nodes`. */
HIDDEN void rangemap_build(arena_range_t *range, range_leaf_t *leaves, uint64_t count, range_node_t *nodes);

/* Inner nodes that it takes. */
HIDDEN uint64_t rangemap_nodes(uint64_t leaves);

/* Gives every leaf and inner node back. */
HIDDEN void rangemap_clear(arena_range_t *range);

/* Whether each summary word says what is below it. */
HIDDEN bool rangemap_is_sound(const arena_range_t *range);

#endif
