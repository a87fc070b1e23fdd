/*
 * hit.h: the two fast paths, once the thread's cache is found: a block out of the loaded magazine, and a block
 * into it. fast.c and preload/malloc.c differ in how they find the cache, and in where a miss goes.
 *
 * All run inside and leave, or tail-call a slow path that leaves. Nothing here may push registers.
 */
#ifndef ARENA_HIT_H
#define ARENA_HIT_H

#include "../arena/carve.h"
#include "../arena/slab.h"
#include "tcache.h"

/* The slow paths of an allocation; both are called inside and leave. */
typedef void *alloc_empty_fn(cache_t *cache, size_t class, size_t request);
typedef void *alloc_tick_fn(cache_t *cache, unsigned class); /* there is a block */

INLINE void *hit_alloc(cache_t *cache, size_t class, size_t request, alloc_empty_fn *empty,
                       alloc_tick_fn *tick)
{
    if (UNLIKELY(cache->next[class] == NULL)) {
        return empty(cache, class, request);
    }
    if (UNLIKELY(--cache->until_tick == 0)) {
        return tick(cache, (unsigned)class);
    }
    void *block = cache_pop(cache, class);
    cache_leave(&thread_self);
    return block;
}

INLINE void hit_free(cache_t *cache, size_t class, void *block)
{
    if (UNLIKELY(cache->next[class] == block)) { /* freed twice in a row */
        cache_free_other(cache->arena, block);
        return;
    }
    if (UNLIKELY(magazine_top_is_full(cache->top[class]))) {
        cache_free_full(cache, (unsigned)class, block);
        return;
    }
    __builtin_prefetch(block, 1); /* it is the next to be given out, and to be written to */
    cache_push(cache, class, block);
    cache_leave(&thread_self);
}

/* Of any block: `entry` is the page map's, the mark for names included. */
INLINE void hit_free_any(cache_t *cache, void *block, uint32_t entry)
{
    uint64_t kind = entry ^ cache->tag;
    if (UNLIKELY(kind > SLAB_CLASSES)) {
        if (LIKELY(kind == KIND_CHUNKS)) {
            cache_free_chunk(cache, block);
            return;
        }
        cache_free_other(cache->arena, block);
        return;
    }
    hit_free(cache, (size_t)kind, block);
}

/*
 * Usable bytes of a block in use whose page-map entry, tag taken out, is `kind`; 0: it is not so easy, or no block.
 * Reads what is constant while the block is in use, so that the caller need not be inside.
 */
INLINE size_t hit_usable(uint64_t kind, const void *block)
{
    if (kind <= SLAB_CLASSES) {
        return slab_is_start((unsigned)kind, block) ? sizeclass_bytes[kind] : 0;
    }
    unsigned low = (unsigned)((uintptr_t)block & (GRANULE - 1));
    if (kind != KIND_CHUNKS || low == 0 || low % 8 != 0) {
        return 0;
    }
    uint64_t header = chunk_header(chunk_of(block));
    unsigned class = chunk_class_of(block, header);
    if (class <= CLASSES) {
        return sizeclass_bytes[class];
    }
    size_t pad = 8 * (size_t)(class - CHUNK_PLAIN);
    return chunk_is_plain(class) ? (size_t)(header & CHUNK_SIZE_MASK) - CHUNK_HEADER - pad : 0;
}

#endif
