/*
 * refill.c: an allocation that its loaded magazine does not serve: the cache's own full magazines, then the arena's
 * depot, a piece, and the arena. The first functions are still inside, or hold the arena's mutex alone; the others hold
 * the cache's. The arena grows only when that is released again, because a user's hooks may use other arenas.
 */
#include "../arena/alloc.h"
#include "cache.h"
#include "depot.h"
#include "piece.h"
#include "split.h"

enum {
    CACHE_LINE = 64, /* bytes */
    FILL_FIRST = 4,
    FILL_FIRST_BYTES = 1024,
    FILL_PREFETCHED = 16,
    FILL_SOON = 256, /* allocations from the cache, of all classes */
    FILL_LATE = 2048
};

static void *alloc_slow(arena_t *arena, size_t size, bool *zero);

/* Inside; leaves. */
static NOINLINE void *alloc_from_own(cache_t *cache, size_t class)
{
    cache_load_own(cache, (unsigned)class);
    void *block = cache_pop(cache, class);
    cache_count_allocation(cache);
    cache_leave(&thread_self);
    return block;
}

/*
 * Inside; leaves. A chunk of just that size: as alloc_slow would find it, but without the cache's mutex. What is noted of
 * it is noted afterwards, or what comes next would find the class worth a magazine, and round the request.
 */
static NOINLINE void *alloc_plain(cache_t *cache, unsigned class, size_t request)
{
    arena_t *arena = cache->arena;
    bool settle = false, zero;
    cache_leave(&thread_self);
    void *block = alloc_exact(arena, request, &settle, &zero);
    if (UNLIKELY(block == NULL)) {
        return alloc_slow(arena, request, NULL);
    }
    cache_enter(&thread_self);
    cache = record_lookup(arena->index);
    if (LIKELY(cache != NULL)) {
        cache_count_miss(cache, class);
        cache_count_allocation(cache);
    }
    cache_leave(&thread_self);
    if (UNLIKELY(cache == NULL)) { /* somebody looks into it */
        alloc_count(arena, 1);
    }
    if (UNLIKELY(settle)) {
        alloc_settle(arena);
    }
    return block;
}

/*
 * Still inside: the next of its own full magazines, or a plain block. Whoever is inside has the cache to
 * itself, as whoever holds the mutex has; so an exchange with its own stack takes no lock.
 */
static NOINLINE void *alloc_not_young(cache_t *cache, size_t class, size_t request)
{
    if (cache->full[class] != NULL && cache->spare_count < SPARES) {
        return alloc_from_own(cache, class);
    }
    if (UNLIKELY(cache->until_tick == 1 && split_has_block(cache, class))) {
        return cache_alloc_tick(cache, (unsigned)class); /* or a thread might never have one */
    }
    void *block = split_pop(cache, class);
    if (block == NULL && piece_serves_plain(cache, class, request)) {
        block = piece_carve_plain(cache, (unsigned)class, request);
    } else if (block == NULL && request <= LARGE_MIN_BYTES && !cache_has_magazine(cache, (unsigned)class)) {
        return alloc_plain(cache, (unsigned)class, request);
    }
    if (UNLIKELY(block == NULL)) {
        return cache_alloc_miss(cache->arena, request);
    }
    cache_count_allocation(cache);
    cache_leave(&thread_self);
    return block;
}

/* Still inside. A young block is carved here, without a call: arenas of one task live on these. */
void *cache_alloc_empty(cache_t *cache, size_t class, size_t request)
{
    void *block = NULL;
    if (LIKELY(class <= SMALL_CLASSES && cache->full[class] == NULL && !cache_is_split(cache, class))) {
        block = piece_carve(cache, class);
    }
    if (UNLIKELY(block == NULL)) {
        return alloc_not_young(cache, class, request);
    }
    cache_count_allocation(cache);
    cache_leave(&thread_self);
    return block;
}

/*
 * Blocks that a refill takes: twice as many as the last one if they lasted for less than FILL_SOON allocations, a quarter
 * if for more than FILL_LATE: a class that is seldom empty would get a magazine full each time.
 */
static size_t next_fill(const cache_t *cache, unsigned class)
{
    size_t bytes = sizeclass_bytes[class], fill = cache->fill[class];
    uint16_t lasted = (uint16_t)(cache_allocations(cache) - cache->filled_at[class]);
    if (bytes >= FILL_ONE_BYTES) {
        return 1;
    }
    if (fill == 0) {
        return max_size(min_size(FILL_FIRST, FILL_FIRST_BYTES / bytes), 1);
    }
    return lasted < FILL_SOON ? 2 * fill : lasted <= FILL_LATE ? fill : (fill + 3) / 4;
}

/* So many that their bytes are whole cache lines: of blocks never given out, two threads get none of the same line. */
static size_t in_whole_lines(unsigned class, size_t count)
{
    return sizeclass_bytes[class] < CACHE_LINE ? max_size(count / 8 * 8, 8) : count;
}

/* The top of the empty magazine that a refill fills; NULL: no memory for one. A class may be split from here on. */
static void **empty_magazine(cache_t *cache, unsigned class)
{
    if (cache_is_split(cache, class)) {
        return cache->split[class].out;
    }
    if (cache->top[class] == magazine_top_of_dummy()) {
        magazine_t *magazine = cache_take_spare(cache);
        if (magazine == NULL) {
            return NULL;
        }
        cache_set_top(cache, class, magazine_make_empty(magazine, class));
        cache_note_used(cache, class);
    }
    void **top = cache->top[class];
    split_consider(cache, class);
    return top;
}

void *cache_refill(cache_t *cache, unsigned class, size_t request)
{
    if (!cache_has_magazine(cache, class)) {
        void *block = alloc_exact(cache->arena, request, &cache->settle_due, &cache->took_zero);
        if (block != NULL) { /* or the next attempt of the same request might find the class worth one */
            cache_count_miss(cache, class);
        }
        return block;
    }
    void **top = empty_magazine(cache, class);
    if (top == NULL) {
        return NULL;
    }
    unsigned capacity = magazine_capacity(class);
    size_t want = in_whole_lines(class, min_size(next_fill(cache, class), capacity));
    size_t got = alloc_fill(cache->arena, class, top + 1, want, &cache->settle_due, &cache->took_zero);
    if (got == 0) {
        return NULL; /* once the arena has grown, the same question is asked again */
    }
    cache->fill[class] = (uint8_t)want;
    cache->filled_at[class] = (uint16_t)cache_allocations(cache);
    if (class <= GRANULE_CLASSES && pagemap_entry(top[got]) == (cache->tag | class)) {
        cache->graduated |= (uint64_t)1 << class;
    }
    for (size_t i = 1; i <= got && got >= FILL_PREFETCHED; i++) {
        __builtin_prefetch(top[i], 1); /* who takes so many will write to them, one miss after the other */
    }
    for (size_t i = 0; i < got / 2; i++) { /* the lowest address comes out first */
        void *swapped = top[1 + i];
        top[1 + i] = top[got - i];
        top[got - i] = swapped;
    }
    if (cache_is_split(cache, class)) {
        cache->split[class].out = top + got - 1;
    } else {
        cache_set_top(cache, class, top + got - 1);
    }
    return top[got];
}

/* A full magazine of the depot, or NULL; for an empty one if the cache has more of these than it needs. */
static magazine_t *exchange(cache_t *cache, depot_t *depot, unsigned class)
{
    magazine_t *empty = cache->spare_count > SPARES_IDLE ? cache_take_spare(cache) : NULL;
    magazine_t *full = depot_take(depot, cache, class, &empty);
    if (empty != NULL) {
        cache_put_spare(cache, empty);
    }
    return full;
}

/* Loads a full magazine, its own or one of the depot, in place of the loaded one, which is empty. */
static bool load_full(cache_t *cache, unsigned class)
{
    if (cache_load_own(cache, class)) {
        return true;
    }
    depot_t *depot = depot_of(cache->arena);
    bool may_take = depot != NULL && cache_is_worth_a_magazine(cache, class);
    magazine_t *full = may_take ? exchange(cache, depot, class) : NULL;
    if (full == NULL) {
        return false;
    }
    cache_load(cache, class, full);
    size_t most = class > GRANULE_CLASSES && class <= SLAB_CLASSES ? CACHE_MOST_BYTES /* few, a mutex each */
                                                                   : CACHE_HELD_BYTES;
    cache->full_most = max_size(cache->full_most, min_size(2 * cache->full_most, most));
    return true;
}

/*
 * A block of the class, the cache's mutex being held: its own, the depot's, or from the arena without growing it. Who wants
 * to know what reads as zero gets no part of a piece, of which nobody knows.
 */
static void *take(cache_t *cache, unsigned class, size_t request, bool wants_zero)
{
    void *block = split_pop(cache, class);
    if (block != NULL) {
        return block;
    }
    split_review(cache, class);
    if (!cache_is_split(cache, class) &&
        (cache->next[class] != NULL ||
         load_full(cache, class))) { /* the miss may have been of the table only */
        return cache_pop(cache, class);
    }
    if (class <= SMALL_CLASSES && piece_is_young(cache, class)) {
        piece_open(cache, class, request);
        block = piece_carve(cache, class);
    } else if (!wants_zero && piece_serves_plain(cache, class, request)) {
        piece_open(cache, class, request);
        block = piece_carve_plain(cache, class, request);
    } else if (class <= SMALL_CLASSES && cache->carved_noted[class] != cache->carved[class]) {
        piece_count(cache); /* so that the arena knows that it is time for slabs */
    }
    if (block == NULL && cache->plain_freed && cache->piece_bytes > PIECE_MAX_BYTES) {
        piece_close(cache);
    }
    return block != NULL ? block : cache_refill(cache, class, request);
}

/* Counts a use. */
static bool has_magazine(cache_t *cache, unsigned class)
{
    lock_acquire(&cache->lock);
    bool has = cache_has_magazine(cache, class);
    cache_count_miss(cache, class);
    lock_release(&cache->lock);
    return has;
}

bool cachehook_earn_magazine(arena_t *arena, unsigned class)
{
    if (!cachehook_allowed(arena)) {
        return false;
    }
    if (cachehook_has_magazine(arena, class)) {
        return true;
    }
    cache_t *cache = thread_cache(arena);
    return cache != NULL && has_magazine(cache, class);
}

/* *zero: the block is known to read as zero; NULL: nobody asks. */
static void *alloc_slow(arena_t *arena, size_t size, bool *zero)
{
    cache_t *cache = arena == NULL || !cachehook_allowed(arena) ? NULL : thread_cache(arena);
    if (cache == NULL) {
        return alloc_public(arena, size);
    }
    unsigned class = sizeclass_of(size);
    if (size > LARGE_MIN_BYTES && !has_magazine(cache, class)) {
        return alloc_public(arena, size); /* perhaps a large block */
    }
    void *block = NULL;
    bool empty = !atomic_load_explicit(&arena->grown, memory_order_relaxed);
    for (int attempt = empty; attempt < 2 && block == NULL; attempt++) {
        if (attempt != 0) {
            bool room = alloc_make_room_for(arena, class);
            cache = room ? thread_cache(arena) : NULL; /* hooks may have cost the thread the one it had */
        }
        if (cache == NULL) {
            break;
        }
        lock_acquire(&cache->lock);
        cache->took_zero = false;
        if (attempt != 0) {
            piece_note_growth(cache);
        }
        if (cachehook_allowed(arena)) { /* still */
            block = take(cache, class, size, zero != NULL);
        }
        if (zero != NULL) {
            *zero = cache->took_zero;
        }
        if (block != NULL) {
            cache_count_allocation(cache);
        }
        cache_end_slow(cache);
    }
    /* What tries harder rounds as arena_good_size said; it was asked before the caches went, if they did. */
    bool exact = size > SMALL_MAX && cachehook_allowed(arena) && !cachehook_has_magazine(arena, class);
    return block != NULL ? block : alloc_public(arena, exact ? size : sizeclass_bytes[class]);
}

NOINLINE void *cache_alloc_miss(arena_t *arena,
                                size_t size) /* inlined above, it would push registers there */
{
    cache_leave(&thread_self);
    return alloc_slow(arena, size, NULL);
}

void *cachehook_alloc(arena_t *arena, size_t size, bool *zero)
{
    *zero = false;
    cache_enter(&thread_self);
    const cache_t *cache = record_lookup(arena->index);
    bool loaded = cache != NULL && cache->next[sizeclass_of(size)] != NULL;
    cache_leave(&thread_self);
    return loaded ? arena_alloc(arena, size) : alloc_slow(arena, size, zero);
}
