/*
 * orphan.h: caches whose threads have ended, kept for the next threads of their arenas: where threads come and go,
 * neither has each to send home what it cached, nor the next to ask for the same. All of it under the registry lock.
 */
#ifndef ARENA_ORPHAN_H
#define ARENA_ORPHAN_H

#include "tcache.h"

/* What stands in for the thread of such a cache. Its slots are places, not indices of arenas. */
extern HIDDEN thread_record_t orphanage;

INLINE bool is_orphan(const cache_t *cache)
{
    return cache->thread == &orphanage;
}

/* Of an orphan. */
HIDDEN cache_slot_t *orphan_slot_locked(const cache_t *cache);

/* Whether many wait for a thread. */
HIDDEN bool orphan_many_wait_locked(void);

/* Takes the cache out of its thread's record; false: there are too many, or it holds too much for an arena that has
 * mapped so many bytes. It is in no table, and has no piece. */
HIDDEN bool orphan_keep_locked(cache_t *cache, size_t mapped_bytes);

/* One of the arena's, in no record; NULL: there is none. */
HIDDEN cache_t *orphan_take_locked(const arena_t *arena);

/* One that nobody took for PURGE_DELAY_MS; NULL: none. */
HIDDEN cache_t *orphan_find_old_locked(uint64_t now_ms);

#endif
