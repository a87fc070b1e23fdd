/*
 * flow.h: what is cached makes room: when blocks that caches and depots hold go home because the arena would have to
 * grow, because they may pin slabs, or because many threads have ended. Called with no lock held; a misuse that is found
 * on the way is reported.
 */
#ifndef ARENA_FLOW_H
#define ARENA_FLOW_H

#include "cachehook.h"
#include "heap.h"

/*
 * Before the arena grows for a chunk of `usable` bytes: one cached block, or a few, of the least class that would do. Not
 * for small requests: classes of many blocks each would take from one another again and again. False: there is none.
 */
HIDDEN bool flow_one(arena_t *arena, size_t usable);

/*
 * Before the arena grows: larger blocks each time, because one of them may be the room that is missing. Small ones seldom
 * are, and the next refill takes them again: they go only if the arena has grown since they last did, or if they are much.
 */
HIDDEN void flow_back(arena_t *arena);

/* All that these caches and the depot hold. */
HIDDEN void flow_drain_caches(arena_t *arena, reach_t reach);

/* After many threads have ended: what is kept for those to come goes home where it may keep slabs from being empty, and
 * half of the demand for what was given back is forgotten. Before alloc_settle. */
HIDDEN void flow_after_threads(arena_t *arena);

#endif
