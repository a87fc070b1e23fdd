/*
 * threads.h: what thread.c and revoke.c share: a cache's way in and out of it. All of
 * it under the registry lock.
 */
#ifndef ARENA_THREADS_H
#define ARENA_THREADS_H

#include "tcache.h"

HIDDEN void threads_init(void);

/* Takes the cache out of its thread's table. */
HIDDEN void threads_evict(const cache_t *cache);

/* Out of its thread's and its arena's lists; its magazines are gone already. */
HIDDEN void threads_unlink_cache_locked(cache_t *cache);
HIDDEN void threads_recycle_cache_locked(cache_t *cache);

/* In the child of a fork: all threads but the caller are no more; they have no caches any longer. */
HIDDEN void threads_forget_others_locked(void);

#endif
