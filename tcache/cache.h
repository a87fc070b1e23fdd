/*
 * cache.h: what the slow paths of a cache share: empty magazines to spare, its own stack of full ones, blocks that
 * go home, and how a slow path begins and ends. refill.c and overflow.c are what allocations and frees do with
 * it, tick.c what is done now and then.
 */
#ifndef ARENA_CACHE_H
#define ARENA_CACHE_H

#include "../arena/alloc.h"
#include "../arena/cachehook.h"
#include "../arena/meta.h"
#include "tcache.h"

enum { SPARES = 256, SPARES_IDLE = 32 }; /* at most, and what a decay leaves */

INLINE void cache_note_used(cache_t *cache, unsigned class)
{
    cache->used[class / 64] |= (uint64_t)1 << (class % 64);
}

INLINE magazine_t *cache_take_spare(cache_t *cache)
{
    magazine_t *magazine = cache->spare;
    if (magazine == NULL) {
        cache->review_due = true;
        return meta_try_alloc(sizeof *magazine);
    }
    cache->spare = magazine_next(magazine);
    cache->spare_count--;
    return magazine;
}

INLINE void cache_put_spare(cache_t *cache, magazine_t *magazine)
{
    if (cache->spare_count >= SPARES) {
        meta_free(magazine);
        return;
    }
    magazine_set_next(magazine, cache->spare);
    cache->spare = magazine;
    cache->spare_count++;
}

INLINE void cache_load(cache_t *cache, unsigned class, magazine_t *full)
{
    if (cache->top[class] != magazine_top_of_dummy()) {
        cache_put_spare(cache, magazine_of(cache->top[class]));
    }
    cache_set_top(cache, class, magazine_load_full(full, class));
    cache_note_used(cache, class);
}

/* Puts a full magazine in front of its own. */
INLINE void cache_chain(cache_t *cache, unsigned class, magazine_t *magazine)
{
    magazine_set_next(magazine, cache->full[class]);
    cache->full[class] = magazine;
    cache->full_count[class]++;
    cache->full_bytes += magazine_bytes(class);
}

/* Takes the first of its own full magazines off the chain. There must be one. */
INLINE magazine_t *cache_unchain(cache_t *cache, unsigned class)
{
    magazine_t *magazine = cache->full[class];
    cache->full[class] = magazine_next(magazine);
    cache->full_count[class]--;
    cache->full_least[class] = (uint16_t)min_size(cache->full_least[class], cache->full_count[class]);
    cache->full_bytes -= magazine_bytes(class);
    return magazine;
}

/* Puts the next of its own full magazines in place of the loaded one, which is empty. */
INLINE bool cache_load_own(cache_t *cache, unsigned class)
{
    if (cache->full[class] == NULL) {
        return false;
    }
    cache_load(cache, class, cache_unchain(cache, class));
    return true;
}

/* Off the fast path; the next miss does the tick's work. */
INLINE void cache_count_allocation(cache_t *cache)
{
    if (--cache->until_tick == 0) {
        cache->until_tick = TICK_ALLOCATIONS;
        cache->ticks++;
        cache->tick_due = true;
    }
}

/* Whether the class has two magazines just now: see split.h. */
INLINE bool cache_is_split(const cache_t *cache, size_t class)
{
    return class <= GRANULE_CLASSES && (cache->split_classes >> class & 1) != 0;
}

/* Of a class above SMALL_MAX, before it has a magazine. */
INLINE unsigned cache_uses_to_earn(unsigned class)
{
    if (class > SLAB_CLASSES || sizeclass_bytes[class] <= GRANULE / 8) {
        return EARN_FREES;
    }
    return class <= GRANULE_CLASSES ? EARN_LONG : EARN_LONGEST; /* less than eight of it fill a slab */
}

/*
 * A class above SMALL_MAX has to earn it, by this thread's own use and in the arena: a few large blocks more or less in
 * each thread's magazine are much memory. Until then its requests get chunks of just their size. For one of slabs its own
 * use is enough, and must be: the room of chunks that are freed later is of no use to slabs.
 */
INLINE bool cache_is_worth_a_magazine(const cache_t *cache, unsigned class)
{
    return class <= SMALL_CLASSES || (cache->missed[class] >= cache_uses_to_earn(class) &&
                                      (class <= SLAB_CLASSES || alloc_has_earned(cache->arena, class)));
}

/* Whether a request of the class is served by one. */
INLINE bool cache_has_magazine(const cache_t *cache, unsigned class)
{
    return cache->top[class] != magazine_top_of_dummy() || cache_is_split(cache, class) ||
           cache_is_worth_a_magazine(cache, class);
}

/* The class was wanted, and had no magazine. */
INLINE void cache_count_miss(cache_t *cache, unsigned class)
{
    cache->missed[class] = (uint16_t)min_size(cache->missed[class] + 1u, EARN_LONGEST);
}

/* Takes the loaded magazine, an empty one, away. */
HIDDEN void cache_unload(cache_t *cache, unsigned class);

/* The owner's slow paths: out of busy, into the mutex, which a revoker may hold for a while. */
HIDDEN void cache_begin_slow(cache_t *cache);

/* Ends a slow path: what draining found is reported, and what must wait for a moment without locks is done. */
HIDDEN void cache_end_slow(cache_t *cache);

/* Sends blocks home; a misuse that this finds is kept for when no lock is held. */
HIDDEN void cache_send_home(cache_t *cache, void **blocks, size_t count);

/* What is left of it are loaded magazines with blocks: full ones go to the depot, or their blocks home, empty ones go. */
HIDDEN void cache_pack(cache_t *cache);

/* Sends a full magazine's blocks home; it becomes a spare one. It is in no chain. */
HIDDEN void cache_empty_full(cache_t *cache, unsigned class, magazine_t *magazine);

/* Empties the loaded magazine into the arena. */
HIDDEN void cache_empty_loaded(cache_t *cache, unsigned class);

/* Fills the loaded, empty magazine from the arena without growing it; returns one block that serves the request, or
 * NULL. */
HIDDEN void *cache_refill(cache_t *cache, unsigned class, size_t request);

#endif
