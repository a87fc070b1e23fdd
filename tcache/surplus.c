/* surplus.c: see surplus.h. */
#include "surplus.h"

enum {
    CACHES_MAX = 1024,
    LOOKS = 16, /* that the mean goes over, about */
    SOON = 16   /* turns of all these arenas: a sixteenth of all such uses is a good share */
};

/* Bytes, as of this moment. */
static size_t taken_by(const cache_t *cache)
{
    size_t bytes = sizeof *cache;
    for (unsigned word = 0; word < USED_WORDS; word++) {
        for (uint64_t bits = cache->used[word]; bits != 0; bits &= bits - 1) {
            bytes += sizeof(magazine_t) + cache_held_of(cache, word * 64 + lowest_bit(bits));
        }
    }
    return bytes;
}

static size_t caches_most(const thread_record_t *record)
{
    size_t most = record->cache_bytes == 0 ? CACHES_MAX : SURPLUS_BYTES / record->cache_bytes;
    return min_size(max_size(most, CACHES_LEAST), CACHES_MAX);
}

/* An eighth below the bound, or caches would come and go as the mean does. */
bool surplus_begins_locked(const thread_record_t *record, const arena_t *arena)
{
    return record->caches >= CACHES_LEAST && record->caches >= caches_most(record) / 8 * 7 &&
           (arena->cache_count != 0 || arena->granules->in_passing);
}

bool surplus_earns_locked(thread_record_t *record, arena_t *arena)
{
    cache_slot_t *slot = record_slot(record, arena->index);
    uintptr_t mark = atomic_load_explicit(slot, memory_order_relaxed);
    uintptr_t turn = record->turns++ << SURPLUS_TURN_SHIFT;
    bool had_turn = (mark & CACHE_SURPLUS) != 0;
    bool soon = had_turn && turn - (mark & SURPLUS_TURN) <= (uintptr_t)SOON << SURPLUS_TURN_SHIFT;
    if (soon && (mark & SURPLUS_OFTEN) != 0) {
        return true;
    }
    arena->granules->in_passing |= had_turn && !soon;
    mark = turn | (soon ? SURPLUS_OFTEN : 0) | SURPLUS_USES | CACHE_SURPLUS;
    atomic_store_explicit(slot, mark, memory_order_relaxed);
    return false;
}

cache_t *surplus_look_locked(thread_record_t *record)
{
    cache_t *cache;
    do {
        record->hand = record_next_index(record, record->hand);
    } while ((cache = record_cache_locked(record, record->hand)) == NULL);
    size_t taken = taken_by(cache), mean = record->cache_bytes;
    record->cache_bytes = mean == 0 ? taken : mean - mean / LOOKS + taken / LOOKS;
    const arena_t *arena = cache->arena;
    bool spare = (arena->cache_count > 1 || arena->granules->in_passing) && table_lookup(arena) != cache;
    return spare && record->caches > caches_most(record) ? cache : NULL;
}
