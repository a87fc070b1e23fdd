/*
 * tick.c: every TICK_ALLOCATIONS allocations a cache looks at the clock: busy classes get slabs, and what stood
 * still for a while goes home. Under the cache's mutex.
 */
#include "../arena/alloc.h"
#include "../arena/os.h"
#include "../arena/slab.h"
#include "cache.h"
#include "depot.h"
#include "piece.h"
#include "split.h"

enum { TICK_LOOKS = 16 };

/* Depot magazines that nobody needed for a while go home; all, where slabs have much room. */
static void decay_depot(cache_t *cache, depot_t *depot)
{
    magazine_t *magazine;
    for (unsigned class = 1; class <= CLASSES; class ++) {
        bool sparse = slab_is_sparse(cache->arena, class);
        while ((magazine = depot_take_spare(depot, class)) != NULL ||
               (sparse && (magazine = depot_take(depot, NULL, class, NULL)) != NULL)) {
            cache_empty_full(cache, class, magazine);
        }
    }
    while ((magazine = depot_take_empty(depot)) != NULL) {
        meta_free(magazine);
    }
}

/* What the loaded magazine looks like. As many blocks as before are no sign of rest: of four, a fifth of all classes in
 * use would have them. The last one has to be the same, too. */
static uint16_t mark_of(const cache_t *cache, unsigned class)
{
    uint64_t state = (uintptr_t)cache->top[class] + (uintptr_t)cache->next[class];
    return (uint16_t)(state * UINT64_C(0x9e3779b97f4a7c15) >> 48);
}

/*
 * So do the cache's own full magazines, and the loaded one of a class that stands still. Where the caller is allocating
 * just now, the magazine stays, even empty: arena_good_size has to hold before and after.
 */
static void decay_class(cache_t *cache, unsigned class, bool allocating)
{
    bool sparse = slab_is_sparse(cache->arena, class);
    split_end(cache, class);
    if (mark_of(cache, class) == cache->held[class]) {
        cache_empty_loaded(cache, class);
        cache->missed[class] = 0;
        if (class > SLAB_CLASSES) {
            alloc_forget_earned(cache->arena, class);
        }
    }
    if (sparse) {
        cache_empty_loaded(cache, class);
    }
    for (unsigned idle = sparse ? cache->full_count[class] : cache->full_least[class]; idle != 0; idle--) {
        cache_empty_full(cache, class, cache_unchain(cache, class));
    }
    cache->full_least[class] = cache->full_count[class];
    cache->held[class] = mark_of(cache, class);
    bool empty = cache->next[class] == NULL && cache->full[class] == NULL;
    if (empty && !allocating && !cache_is_worth_a_magazine(cache, class)) {
        cache_unload(cache, class);
    }
}

/* Idle stock drains: what a quarter of a second did not need pins slabs that could be empty. False: that is not over. */
static bool decay(cache_t *cache, unsigned allocating)
{
    uint64_t now = os_now_ms();
    depot_t *depot = depot_of(cache->arena);
    if (depot != NULL && depot_decay_is_due(depot, now)) {
        decay_depot(cache, depot);
    }
    if (now - cache->decayed_ms < PURGE_DELAY_MS) {
        return false;
    }
    cache->decayed_ms = now;
    for (unsigned word = 0; word < USED_WORDS; word++) {
        for (uint64_t bits = cache->used[word]; bits != 0; bits &= bits - 1) {
            unsigned class = word * 64 + lowest_bit(bits);
            decay_class(cache, class, class == allocating);
        }
    }
    cache->full_most = max_size(cache->full_bytes, CACHE_FIRST_BYTES);
    cache_free_spares(cache, SPARES_IDLE);
    if (cache->piece == cache->piece_then) {
        piece_close(cache);
    }
    cache->piece_then = cache->piece;
    return true;
}

/*
 * A class that is found allocating at a tick is a busy one: it gets slabs although few of its blocks
 * live, and its chunk-backed blocks go home, so that it runs on slabs from here on. Not where a thread has many arenas:
 * none of them is so busy, and a page of each class's slab in each is much.
 */
static bool promote(cache_t *cache, unsigned class)
{
    arena_t *arena = cache->arena;
    if (class > GRANULE_CLASSES || (cache->graduated >> class & 1) != 0 || cache_is_split(cache, class) ||
        !may_have_slabs(arena, class) || is_tight(arena) || thread_self.record->crowded) {
        return false;
    }
    lock_acquire(&arena->lock);
    alloc_graduate_locked(arena, class);
    lock_release(&arena->lock);
    if (class <= SMALL_CLASSES) {
        piece_count(cache);
        cache->carved[class] = cache->carved_noted[class] = GRADUATE_MOST;
    }
    cache->graduated |= (uint64_t)1 << class;
    do {
        cache_empty_loaded(cache, class);
    } while (cache_load_own(cache, class));
    return true;
}

/* The class of the allocation that the tick fell on; returns the block to give out. */
static void *promote_found(cache_t *cache, unsigned class, void *block)
{
    void *better = promote(cache, class) ? cache_refill(cache, class, sizeclass_bytes[class]) : NULL;
    if (better == NULL) {
        return block;
    }
    cache_send_home(cache, &block, 1);
    return better;
}

/* So is one whose magazine moved since the last tick. */
static void promote_moving(cache_t *cache)
{
    for (unsigned class = 1; class <= SMALL_CLASSES; class ++) {
        uint16_t now = (uint16_t)(uintptr_t)cache->top[class];
        if (now != cache->seen[class] && cache->top[class] != magazine_top_of_dummy() &&
            cache->seen[class] != 0) {
            promote(cache, class);
        }
        cache->seen[class] = (uint16_t)(uintptr_t)cache->top[class];
    }
}

void *cache_alloc_tick(cache_t *cache, unsigned class)
{
    void *block = cache_is_split(cache, class) ? split_pop(cache, class) : cache_pop(cache, class);
    const arena_t *arena = cache->arena;
    cache_begin_slow(cache);
    cache->until_tick = TICK_ALLOCATIONS;
    cache->ticks++;
    cache->tick_due = true;
    if (cachehook_allowed(cache->arena)) {
        block = promote_found(cache, class, block);
        promote_moving(cache);
        split_consider(cache, class); /* the magazine may be neither empty nor full, for ever */
    }
    bool decayed = decay(cache, class);
    cache_end_slow(cache); /* may call hooks, which may cost the thread this cache */
    if (decayed) {
        thread_drop_orphans();
    }
    thread_review(TICK_LOOKS);
    thread_restore(arena);
    return block;
}
