/*
 * rangemeta.h: where a range arena's metadata lives: in the caller's buffer, in memory of meta.h, or, for a
 * range that may use nothing but the break, in the range itself. Guarded by the range's lock.
 *
 * In the break there are two kinds of metadata blocks. A *front* begins a growth and holds the part of the
 * boundary map that the growth needs; it goes when the break comes back below it. A *piece* holds descriptors
 * of free runs and lies wherever there was room; if it is the last block of all, its descriptors move.
 */
#ifndef ARENA_RANGEMETA_H
#define ARENA_RANGEMETA_H

#include "rangeheap.h"

/* One object, zeroed; NULL: no memory. */
HIDDEN void *rangemeta_get_locked(arena_range_t *range, range_object_t kind);
HIDDEN void rangemeta_put_locked(arena_range_t *range, range_object_t kind, void *object);

/* Sees to it that the next rangemeta_take_run_locked does not fail; false: no memory. May cut a piece from a free
 * run, so that no run found before is valid behind it. */
HIDDEN bool rangemeta_reserve_locked(arena_range_t *range);
HIDDEN range_run_t *rangemeta_take_run_locked(arena_range_t *range);

/* Bytes that a growth up to index `end` must begin with. */
HIDDEN size_t rangemeta_front_bytes(const arena_range_t *range, uint64_t end);

/* Makes a front in fresh memory of the break at `index`, `skip` bytes behind it, of at most `bytes`, for what is
 * ours up to `end`. Answers where it ends. */
HIDDEN uint64_t rangemeta_add_front_locked(arena_range_t *range, uint64_t index, size_t skip, size_t bytes,
                                           uint64_t end);

/* Forgets the highest front; it has no marks any more. */
HIDDEN void rangemeta_drop_front_locked(arena_range_t *range);

/* Makes a piece where nothing is filed; the caller marks what follows it. Answers where it ends. */
HIDDEN uint64_t rangemeta_add_piece_locked(arena_range_t *range, uint64_t index);
HIDDEN uint64_t rangemeta_piece_quanta(const arena_range_t *range);

/* Whether the block at `index` is metadata; whether it is a piece. */
HIDDEN bool rangemeta_owns(const arena_range_t *range, uint64_t index);
HIDDEN range_piece_t *rangemeta_piece_at(const arena_range_t *range, uint64_t index);

/* Moves what a piece holds below it; its block has no owner then. False: no room there. */
HIDDEN bool rangemeta_evacuate_locked(arena_range_t *range, range_piece_t *piece);

#endif
