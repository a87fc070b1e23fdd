/*
 * cachehook.h: the few moments at which an arena must know that caches exist. tcache/ defines these; in a
 * build without it uncached.c does, as nothing.
 */
#ifndef ARENA_CACHEHOOK_H
#define ARENA_CACHEHOOK_H

#include "check.h"
#include "heap.h"

typedef struct {
    size_t bytes, blocks;   /* usable bytes and blocks that caches and depots hold */
    size_t caches, skipped; /* skipped: their thread could not be stopped */
    uint64_t allocations;   /* that threads made from their caches */
} cache_totals_t;

/* Caches may be taken away at any time; who takes them holds each cache's mutex after this became false. */
INLINE bool cachehook_allowed(const arena_t *arena)
{
    return atomic_load_explicit(&arena->cached, memory_order_relaxed);
}

/*
 * Stops every cache of the arena: registry lock, each cache's mutex, its thread out of the fast paths,
 * its piece closed. Between the two calls the caller alone sees them. Takes the arena's mutex for a moment.
 */
HIDDEN void cachehook_stop(arena_t *arena);
HIDDEN void cachehook_resume(arena_t *arena);

/* Takes the arena's caches out of their threads' tables, whether these can be stopped or not. Caller holds the
 * registry lock. */
HIDDEN void cachehook_evict(arena_t *arena);

/* While stopped: */
HIDDEN void cachehook_count(arena_t *arena, cache_totals_t *totals);
HIDDEN void cachehook_each_block(arena_t *arena, void (*visit)(void *context, void *block), void *context);
HIDDEN misuse_t cachehook_drain_stopped(arena_t *arena, void **culprit);

/* Whether the calling thread's next request of the class, one above SMALL_MAX, is served by a magazine. */
HIDDEN bool cachehook_has_magazine(const arena_t *arena, unsigned class);

/* arena_alloc of a size up to LARGE_MIN_BYTES. *zero: what came reads as zero. No lock held. */
HIDDEN void *cachehook_alloc(arena_t *arena, size_t size, bool *zero);

/* The same for a class above SMALL_CLASSES; if it has none yet, the question counts as a use that earns it. No lock held. */
HIDDEN bool cachehook_earn_magazine(arena_t *arena, unsigned class);

/* Whose caches: the calling thread's; those of threads that have ended; both; all but those whose threads are inside of
 * them just now; all, even if some thread has to be waited for until it has a CPU again. */
typedef enum { REACH_OWN, REACH_ENDED, REACH_REST, REACH_IDLE, REACH_ALL } reach_t;

/* Returns blocks to the arena: the depot's, and those caches'. */
HIDDEN misuse_t cachehook_reclaim(arena_t *arena, reach_t reach, void **culprit);

/* The arena would have to grow: if its depot, or the caller's cache, holds more than `keep_bytes`, that goes home
 * first, so that what is cached hardly adds to the peak; but only blocks above `least_bytes`. No lock held. */
HIDDEN misuse_t cachehook_flow_back(arena_t *arena, size_t least_bytes, size_t keep_bytes, void **culprit);

/* The same for one cached block, or a few, of the least class of chunks that would do for `usable` bytes. False: there is
 * none. No lock held. */
HIDDEN bool cachehook_flow_one(arena_t *arena, size_t usable, misuse_t *wrong, void **culprit);

/* The arena is emptied: all its caches are forgotten, blocks and all; `keep_own`: the caller's stays. Caller holds
 * the registry lock. */
HIDDEN void cachehook_forget(arena_t *arena, bool keep_own);

/* Around fork, caller holds the registry lock; `child` after reinitialising it. */
HIDDEN void cachehook_fork_prepare(void);
HIDDEN bool cachehook_fork_each_depot(bool (*act)(lock_t *lock));
HIDDEN void cachehook_fork_parent(void);
HIDDEN void cachehook_fork_child(void);

/* Once, before the first arena that may have caches is created. Caller holds the registry lock. */
HIDDEN void cachehook_init(void);

#endif
