/*
 * aligned.c: an allocation at a multiple of more than the quantum, of a class above SMALL_CLASSES. In a class of slabs
 * whose size the alignment divides every block will do. In one of chunks a block that happens to be aligned is looked for among those at hand: whoever frees
 * such blocks and asks for them again finds them. Where there is none the arena makes one, under its mutex, which a
 * magazine then holds when it is freed.
 */
#include "../arena/alloc.h"
#include "cache.h"
#include "depot.h"

static bool exchange(cache_t *cache, unsigned class, void **slot, void **top)
{
    void *block = *slot;
    *slot = *top;
    *top = block;
    cache_set_top(cache, class, top);
    return true;
}

/* Makes an aligned block the next one of the class; false: none is loaded, nor behind that. Inside, or under the mutex. */
static bool bring_up(cache_t *cache, unsigned class, size_t alignment)
{
    if (cache->next[class] == NULL && (cache->spare_count >= SPARES || !cache_load_own(cache, class))) {
        return false;
    }
    void **top = cache->top[class];
    for (void **slot = top; *slot != NULL; slot--) {
        if (is_aligned(*slot, alignment)) {
            return exchange(cache, class, slot, top);
        }
    }
    for (magazine_t *full = cache->full[class]; full != NULL; full = magazine_next(full)) {
        for (unsigned i = 0; i < magazine_capacity(class); i++) {
            if (is_aligned(full->slot[MAGAZINE_SLOTS - i], alignment)) {
                return exchange(cache, class, &full->slot[MAGAZINE_SLOTS - i], top);
            }
        }
    }
    return false;
}

/* The cache's mutex is held. *grow: the arena has no room for what the class would be given. */
static void *take_slow(cache_t *cache, unsigned class, size_t alignment, bool *grow)
{
    if (!cache_has_magazine(cache, class)) {
        cache_count_miss(cache, class);
        return NULL;
    }
    if (class <= SLAB_CLASSES) {
        void *block = cache_take(cache, class, sizeclass_bytes[class]);
        *grow = block == NULL;
        return block;
    }
    bool empty = cache->next[class] == NULL && cache->full[class] == NULL;
    bool found = (!empty || cache_load_full(cache, class)) && bring_up(cache, class, alignment);
    return found ? cache_pop(cache, class) : NULL;
}

static NOINLINE void *take_miss(arena_t *arena, unsigned class, size_t alignment)
{
    void *block = NULL;
    bool grow = false;
    for (int attempt = 0; attempt < 2; attempt++) {
        cache_t *cache = thread_cache(arena); /* growth may call hooks, which may cost the thread its cache */
        if (cache == NULL) {
            break;
        }
        lock_acquire(&cache->lock);
        if (cachehook_allowed(arena)) {
            block = take_slow(cache, class, alignment, &grow);
        }
        if (block != NULL) {
            cache_count_allocation(cache);
        }
        cache_end_slow(cache, false);
        if (block != NULL || !grow || !alloc_make_room(arena, sizeclass_bytes[class])) {
            break;
        }
    }
    return block;
}

void *cachehook_take(arena_t *arena, unsigned class, size_t alignment)
{
    cache_enter(&thread_self);
    cache_t *cache = table_lookup(arena);
    cache = LIKELY(cache->arena == arena) ? cache : record_lookup(arena->index);
    if (UNLIKELY(cache == NULL || !bring_up(cache, class, alignment))) {
        cache_leave(&thread_self);
        return take_miss(arena, class, alignment);
    }
    if (UNLIKELY(--cache->until_tick == 0)) {
        return cache_alloc_tick(cache, class);
    }
    void *block = cache_pop(cache, class);
    cache_leave(&thread_self);
    return block;
}

bool cachehook_may_hold(const arena_t *arena, unsigned class, size_t keep_bytes)
{
    depot_t *depot = depot_of(arena);
    cache_enter(&thread_self);
    const cache_t *cache = record_lookup(arena->index);
    bool has = cache != NULL && cache_has_magazine(cache, class);
    size_t bytes = has ? cache->full_bytes : 0;
    cache_leave(&thread_self);
    return has && bytes <= keep_bytes && (depot == NULL || depot_total_bytes(depot) <= keep_bytes - bytes);
}
