/* stats.h: arena_stats, for who must not call mincore: malloc's statistics, in a sandbox that knows malloc's calls. */
#ifndef ARENA_STATS_H
#define ARENA_STATS_H

#include "heap.h"

/* As arena_stats; without `resident`, resident_bytes is 0. */
HIDDEN void stats_read(arena_t *arena, arena_stats_t *stats, bool resident);

#endif
