/*
 * overflow.c: a free that its loaded magazine has no room for, or that the fast path knows nothing about: the
 * cache's own stack of full magazines, then the arena's depot, then the arena. Under the cache's mutex.
 */
#include "../arena/alloc.h"
#include "../arena/chunk.h"
#include "../arena/name.h"
#include "../arena/slab.h"
#include "cache.h"
#include "depot.h"
#include "split.h"

/* Whether its own stack may hold one more full magazine of the class. Of blocks above SLAB_MAX the
 * loaded one is enough: their user does not feel a mutex, but their memory. */
static bool keeps_full(const cache_t *cache, unsigned class)
{
    size_t bytes = magazine_bytes(class);
    return class <= SLAB_CLASSES && !slab_is_sparse(cache->arena, class) &&
           (cache->full_count[class] + 1) * bytes <= cache->full_most / 4 &&
           cache->full_bytes + bytes <= cache->full_most;
}

/* The loaded, full magazine goes to its own stack, and `fresh` takes its place. */
static void keep_full(cache_t *cache, unsigned class, magazine_t *fresh)
{
    cache_chain(cache, class, magazine_of(cache->top[class]));
    cache_set_top(cache, class, magazine_make_empty(fresh, class));
}

/* The arena's depot, made if need be; another thread may be faster. */
static depot_t *depot_for(arena_t *arena)
{
    depot_t *there = depot_of(arena);
    depot_t *fresh = there == NULL ? depot_create() : NULL;
    if (fresh == NULL) {
        return there;
    }
    if (atomic_compare_exchange_strong_explicit(&arena->depot, &there, fresh, memory_order_acq_rel,
                                                memory_order_acquire)) {
        return fresh;
    }
    meta_free(fresh);
    return there;
}

/* The loaded, full magazine goes to the depot, or its blocks home. Without memory for another the class has none. */
static void give_loaded_away(cache_t *cache, unsigned class)
{
    magazine_t *fresh = cache->spare == NULL ? NULL : cache_take_spare(cache);
    depot_t *depot = slab_is_sparse(cache->arena, class) ? NULL : depot_for(cache->arena);
    if (depot == NULL || !depot_put(depot, cache, class, magazine_of(cache->top[class]), &fresh)) {
        if (fresh != NULL) {
            cache_put_spare(cache, fresh);
        }
        cache_empty_loaded(cache, class);
        return;
    }
    fresh = fresh != NULL ? fresh : cache_take_spare(cache);
    cache_set_top(cache, class, fresh == NULL ? magazine_top_of_dummy() : magazine_make_empty(fresh, class));
}

/* Makes room where the magazine is full (or the dummy): keeps it, deposits it, or empties it. */
static void make_room(cache_t *cache, unsigned class)
{
    if (cache_is_split(cache, class)) {
        split_send_home(cache, class);
        return;
    }
    if (!cache_has_magazine(cache, class)) {
        cache_count_miss(cache, class);
        return;
    }
    bool dummy = cache->top[class] == magazine_top_of_dummy();
    magazine_t *fresh = dummy || keeps_full(cache, class) ? cache_take_spare(cache) : NULL;
    if (fresh == NULL) {
        if (!dummy) {
            give_loaded_away(cache, class);
        }
        return;
    }
    if (!dummy) {
        keep_full(cache, class, fresh);
    }
    cache_set_top(cache, class, magazine_make_empty(fresh, class));
    cache_note_used(cache, class);
}

/* Into the depot, or home. */
static void deposit(cache_t *cache, depot_t *depot, unsigned class)
{
    magazine_t *magazine = cache_unchain(cache, class);
    if (depot == NULL || !depot_put(depot, cache, class, magazine, NULL)) {
        cache_empty_full(cache, class, magazine);
    }
}

void cache_pack(cache_t *cache)
{
    split_end_all(cache);
    depot_t *depot = cache->full_bytes == 0 ? NULL : depot_for(cache->arena);
    for (unsigned class = 1; class <= CLASSES; class ++) {
        while (cache->full[class] != NULL) {
            deposit(cache, depot, class);
        }
        if (cache->next[class] == NULL) {
            cache_unload(cache, class);
        }
    }
    cache_free_spares(cache, 0);
}

static void *last_freed(const cache_t *cache, unsigned class)
{
    return cache_is_split(cache, class) ? *cache->split[class].in : cache->next[class];
}

/* False: there is no room. */
static bool put(cache_t *cache, unsigned class, void *block)
{
    if (cache_is_split(cache, class)) {
        return split_push(cache, class, block);
    }
    if (magazine_top_is_full(cache->top[class])) {
        return false;
    }
    cache_push(cache, class, block);
    return true;
}

/* The cache's mutex is not held. */
static void free_slow(cache_t *cache, unsigned class, void *block)
{
    arena_t *arena = cache->arena;
    bool done = false;
    bool crowded = thread_self.record->crowded; /* none of its arenas is worth so many slabs' pages */
    if (class <= SMALL_CLASSES && !crowded) {
        alloc_note_freed(arena);
    }
    lock_acquire(&cache->lock);
    if (last_freed(cache, class) == block) {
        cache->wrong = MISUSE_DOUBLE_FREE;
        cache->culprit = block;
    } else if (cachehook_allowed(arena)) {
        done = put(cache, class, block);
        if (!done) {
            make_room(cache, class);
            done = cache->wrong == MISUSE_NONE && put(cache, class, block);
        }
    }
    cache_end_slow(cache);
    if (!done) {
        alloc_public_free(arena,
                          block); /* no memory for a magazine, not worth one, or caches were taken away */
    }
}

/* Still inside, as cache_alloc_empty. */
void cache_free_full(cache_t *cache, unsigned class, void *block)
{
    if (split_push(cache, class, block)) {
        cache_leave(&thread_self);
        return;
    }
    if (cache->spare != NULL && cache->top[class] != magazine_top_of_dummy() && keeps_full(cache, class)) {
        keep_full(cache, class, cache_take_spare(cache));
        cache_push(cache, class, block);
        cache_leave(&thread_self);
        return;
    }
    cache_leave(&thread_self);
    free_slow(cache, class, block);
}

/* Old chunks of a class that has slabs merge again. */
void cache_free_home(cache_t *cache, void *block)
{
    cache_begin_slow(cache);
    cache_send_home(cache, &block, 1);
    cache_end_slow(cache);
}

/* No magazine holds it. */
void cache_free_plain(cache_t *cache, void *block)
{
    arena_t *arena = cache->arena;
    cache->plain_freed = true;
    cache_leave(&thread_self);
    alloc_public_free(arena, block);
}

/* The class under which a cache may hold the block, or 0: it is large, plain, or no block at all. The mutex
 * buys a look at the slab's bitmap: a block that has gone home already is found out here. A name goes. */
static unsigned cacheable_class(arena_t *arena, const void *block)
{
    misuse_t wrong = MISUSE_NONE;
    uint32_t kind = pagemap_entry(block) ^ arena->tag;
    if (kind > SLAB_CLASSES && kind != KIND_CHUNKS) {
        return 0;
    }
    if (kind == KIND_CHUNKS && is_aligned(block, 8) && alloc_header_is_readable(block) &&
        chunk_is_plain(chunk_class(chunk_of(block)))) {
        return 0;
    }
    lock_acquire(&arena->lock);
    alloc_usable_locked(arena, block, &wrong);
    if (wrong == MISUSE_NONE) {
        names_forget_locked(arena, block);
    }
    lock_release(&arena->lock);
    unsigned class = kind <= SLAB_CLASSES || wrong != MISUSE_NONE ? kind : chunk_class(chunk_of(block));
    return wrong == MISUSE_NONE && class <= CLASSES ? class : 0;
}

/* Everything that the fast path does not: no cache yet, no class, a large block, a mistake. */
void cache_free_other(arena_t *arena, void *block)
{
    cache_leave(&thread_self);
    bool plain = arena == NULL || block == NULL || !cachehook_allowed(arena) || thread_begins() ||
                 thread_has_surplus(arena);
    unsigned class = plain ? 0 : cacheable_class(arena, block);
    cache_t *cache = class == 0 ? NULL : thread_cache(arena);
    if (cache == NULL) {
        alloc_public_free(arena, block);
        return;
    }
    free_slow(cache, class, block);
}
