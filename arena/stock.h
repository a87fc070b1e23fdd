/*
 * stock.h: warm mappings of arenas that are gone, for arenas to come, so that create, a few hundred
 * allocations, destroy makes no system call in steady state. Of the whole process; bounded by STOCK_MAX_BYTES, and beyond
 * that by what was refused and had to be mapped anew; both the stock and that are halved every PURGE_DELAY_MS of
 * activity. What touches is one. One lock, rank os.
 */
#ifndef ARENA_STOCK_H
#define ARENA_STOCK_H

#include "lock.h"

#include <stdbool.h>
#include <stddef.h>

/* Keeps a mapping of whole granules, contents unknown, or its end; returns how many bytes. The caller unmaps those
 * before them. Looks at the clock, and may unmap what lies there: no mutex of an arena is held. */
HIDDEN size_t stock_put(void *start, size_t bytes);

/* Whether it would keep a part of so much that is worth it, as far as can be told. */
HIDDEN bool stock_has_room(size_t bytes);

/* An arena maps so much, because the stock does not have it: it may hold as much more, if it refused that lately. */
HIDDEN void stock_note_mapped(size_t bytes);

/* A mapping of at least `least` and at most `most` bytes, or NULL. */
HIDDEN void *stock_take(size_t least, size_t most, size_t *bytes);

/* `bytes`, whole granules, of a longer mapping, or NULL. */
HIDDEN void *stock_cut(size_t bytes);

/* Unmaps all but `keep` bytes, in whole granules, what lies there longest first; returns what went. */
HIDDEN size_t stock_trim(size_t keep);

/* Halves the stock if PURGE_DELAY_MS have passed since it last was. */
HIDDEN void stock_decay(uint64_t now_ms);

HIDDEN size_t stock_bytes(void);
HIDDEN lock_t *stock_lock(void); /* fork.c only */

#endif
