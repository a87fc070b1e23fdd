/*
 * split.h: a class whose slabs have much room has two magazines in a cache, one that allocations pop from, and one that
 * frees push onto and that goes home when it is full.
 *
 * A block that is freed and given out again at once keeps its slab in use. Where what is freed is old and what is
 * allocated is young, as in a queue or in a cache of the least recently used, all slabs hold blocks of all ages then, and
 * none becomes empty. Through two magazines the young ones fill the fullest slabs, and the old ones' drain.
 *
 * Meanwhile the class's loaded magazine is the dummy, with none behind it, so that both fast paths miss; what a split
 * class does instead takes no lock either. Whoever is inside, or holds the cache's mutex, has all this to itself; a stopped
 * cache has no split class.
 */
#ifndef ARENA_SPLIT_H
#define ARENA_SPLIT_H

#include "cache.h"

/* Whether the class is split, and has a block to give out. */
INLINE bool split_has_block(const cache_t *cache, size_t class)
{
    return cache_is_split(cache, class) && *cache->split[class].out != NULL;
}

/* A block of the class, or NULL: it is not split, or has none. */
INLINE void *split_pop(cache_t *cache, size_t class)
{
    if (!cache_is_split(cache, class)) {
        return NULL;
    }
    split_t *split = &cache->split[class];
    void *block = *split->out;
    split->out -= block != NULL;
    split->allocated = true;
    return block;
}

/* False: the class is not split, or there is no room, or the block is the one that was freed last. */
INLINE bool split_push(cache_t *cache, size_t class, void *block)
{
    if (!cache_is_split(cache, class)) {
        return false;
    }
    void **in = cache->split[class].in;
    if (*in == block || magazine_top_is_full(in)) {
        return false;
    }
    *++in = block;
    cache->split[class].in = in;
    cache->split[class].freed = true;
    return true;
}

/* Splits the class if its slabs have much room, and if that helped when it was tried. What it has goes home. */
HIDDEN void split_consider(cache_t *cache, unsigned class);

/* All blocks are in the loaded magazine, and perhaps in a full one behind it. */
HIDDEN void split_end(cache_t *cache, unsigned class);
HIDDEN void split_end_all(cache_t *cache);

/*
 * Before a refill: ends it where the class's slabs have little room by now, as it has helped; and for SPLIT_PAUSE
 * ticks where nothing was freed since a whole magazine was filled: allocations alone fill the fullest slabs as it is.
 */
HIDDEN void split_review(cache_t *cache, unsigned class);

/* Blocks in both. */
HIDDEN size_t split_count(const cache_t *cache, unsigned class);

/*
 * What was freed goes home. The class is split no more where nothing was allocated meanwhile, as frees alone need it not,
 * nor where no slabs became empty while as many blocks as are in use came and went SPLIT_TURNS times, or until SPLIT_SLEEPERS
 * threads slept for the arena's mutex, which each magazine that goes home takes.
 */
HIDDEN void split_send_home(cache_t *cache, unsigned class);

#endif
