/* orphan.c: see orphan.h. There are few of them, so all is found by looking at each. */
#include "orphan.h"

#include "../arena/os.h"

/*
 * ORPHANS_MAX in the process, as each is some KiB even if it holds nothing; and what those of an arena hold is at most a
 * 16th of what it has mapped, or ORPHANS_LEAST_BYTES.
 */
enum { ORPHANS_MAX = 16, ORPHANS_MANY = ORPHANS_MAX / 2, ORPHANS_LEAST_BYTES = 128 * 1024 };

static thread_t nobody; /* never inside */
thread_record_t orphanage = {.thread = &nobody};

static cache_t *orphan_at(unsigned place)
{
    uintptr_t cache = atomic_load_explicit(&orphanage.few[place], memory_order_relaxed);
    return (cache_t *)(cache & ~(uintptr_t)CACHE_EVICTED);
}

/* The place of an orphan, or a free one if `cache` is NULL; ORPHANS_MAX: there is none. */
static unsigned place_of(const cache_t *cache)
{
    unsigned place = 0;
    while (place < ORPHANS_MAX && orphan_at(place) != cache) {
        place++;
    }
    return place;
}

cache_slot_t *orphan_slot_locked(const cache_t *cache)
{
    return &orphanage.few[place_of(cache)];
}

bool orphan_many_wait_locked(void)
{
    return orphanage.caches >= ORPHANS_MANY;
}

static bool holds_too_much(const cache_t *cache, size_t mapped_bytes)
{
    const arena_t *arena = cache->arena;
    size_t held = cache_held_bytes(cache, 1);
    for (unsigned place = 0; place < ORPHANS_MAX; place++) {
        const cache_t *orphan = orphan_at(place);
        held += orphan != NULL && orphan->arena == arena ? cache_held_bytes(orphan, 1) : 0;
    }
    return held > max_size(mapped_bytes / 16, ORPHANS_LEAST_BYTES);
}

bool orphan_keep_locked(cache_t *cache, size_t mapped_bytes)
{
    unsigned place = place_of(NULL);
    if (place == ORPHANS_MAX || holds_too_much(cache, mapped_bytes)) {
        return false;
    }
    thread_record_t *record = cache->thread;
    atomic_store_explicit(record_slot(record, cache->arena->index), 0, memory_order_relaxed);
    record->caches--;
    cache->arena->cache_count--;
    cache->thread = &orphanage;
    atomic_store_explicit(&orphanage.few[place], (uintptr_t)cache, memory_order_relaxed);
    orphanage.caches++;
    cache->decayed_ms = os_now_ms();
    return true;
}

cache_t *orphan_take_locked(const arena_t *arena)
{
    for (unsigned place = 0; place < ORPHANS_MAX && orphanage.caches != 0; place++) {
        cache_t *cache = orphan_at(place);
        if (cache != NULL && cache->arena == arena) {
            atomic_store_explicit(&orphanage.few[place], 0, memory_order_relaxed);
            orphanage.caches--;
            return cache;
        }
    }
    return NULL;
}

cache_t *orphan_find_old_locked(uint64_t now_ms)
{
    for (unsigned place = 0; place < ORPHANS_MAX && orphanage.caches != 0; place++) {
        cache_t *cache = orphan_at(place);
        if (cache != NULL && now_ms - cache->decayed_ms >= PURGE_DELAY_MS) {
            return cache;
        }
    }
    return NULL;
}
