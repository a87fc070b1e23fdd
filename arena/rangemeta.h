/*
 * rangemeta.h: where a range arena's metadata lives: in the caller's buffer, in memory of meta.h, or, for a
 * range that may use nothing but the break, in the range itself. Guarded by the range's lock.
 *
 * In the break there are two kinds of metadata blocks. The *table* is the boundary map, in one block that moves when it
 * has to grow. A *piece* holds descriptors of free runs. Both lie wherever there was room, and move down when they
 * are all that keeps the break up.
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

/* Quanta of a table of `windows` leaves, and how many it must have for marks up to `end`. */
HIDDEN uint64_t rangemeta_table_quanta(const arena_range_t *range, uint64_t windows);
HIDDEN uint64_t rangemeta_windows(uint64_t end);

/* Puts the table at `index`, where nothing is filed, and below or apart from where it was, whose mark is the caller's
 * to change. */
HIDDEN void rangemeta_put_table_locked(arena_range_t *range, uint64_t index, uint64_t windows);

/* As the last, at the front of a free run, and frees where it was. */
HIDDEN void rangemeta_move_table_locked(arena_range_t *range, range_run_t *run, uint64_t windows);

/* Makes a piece where nothing is filed; the caller marks what follows it. Answers where it ends. */
HIDDEN uint64_t rangemeta_add_piece_locked(arena_range_t *range, uint64_t index);
HIDDEN uint64_t rangemeta_piece_quanta(const arena_range_t *range);

/* Whether the block at `index` is metadata; whether it is a piece. */
HIDDEN bool rangemeta_owns(const arena_range_t *range, uint64_t index);
HIDDEN range_piece_t *rangemeta_piece_at(const arena_range_t *range, uint64_t index);

/* Moves what a piece holds below it; its block has no owner then. False: no room there. */
HIDDEN bool rangemeta_evacuate_locked(arena_range_t *range, range_piece_t *piece);

#endif
