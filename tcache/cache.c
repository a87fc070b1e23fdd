/*
 * cache.c: what a cache does when its loaded magazine is empty or full: its own stack of full magazines,
 * then the arena's depot, then the arena. All under the cache's mutex; the arena grows only when that is
 * released again, because a user's hooks may use other arenas.
 */
#include "../arena/alloc.h"
#include "../arena/carve.h"
#include "../arena/meta.h"
#include "../arena/name.h"
#include "../arena/os.h"
#include "../arena/slab.h"
#include "depot.h"
#include "tcache.h"

#include <string.h>

enum { SPARES = 32, FILL_FIRST = 4 };

void cache_init(cache_t *cache, arena_t *arena)
{
    cache->arena = arena;
    cache->tag = arena->tag;
    cache->counted_from += cache_allocations(cache); /* ticks go on: arenas may be shorter than one */
    memset(cache->fill, 0, sizeof cache->fill);
    memset(cache->earned, 0, sizeof cache->earned);
    cache->graduated = 0;
    cache->next_piece_bytes = PIECE_FIRST_BYTES;
    for (unsigned class = 1; class <= SLAB_CLASSES; class ++) {
        cache->carve_left[class] = cache->carve_noted[class] = GRADUATE_BYTES;
    }
}

/* Caches may be taken away at any time; who takes them holds the cache's mutex after this became false. */
static bool is_cached(const arena_t *arena)
{
    return atomic_load_explicit(&arena->cached, memory_order_relaxed);
}

static void note_used(cache_t *cache, unsigned class)
{
    cache->used[class / 64] |= (uint64_t)1 << (class % 64);
}

static magazine_t *take_spare(cache_t *cache)
{
    magazine_t *magazine = cache->spare;
    if (magazine == NULL) {
        return meta_alloc(sizeof *magazine);
    }
    cache->spare = magazine_next(magazine);
    cache->spare_count--;
    return magazine;
}

static void put_spare(cache_t *cache, magazine_t *magazine)
{
    if (cache->spare_count >= SPARES) {
        meta_free(magazine);
        return;
    }
    magazine_set_next(magazine, cache->spare);
    cache->spare = magazine;
    cache->spare_count++;
}

void cache_free_spares(cache_t *cache)
{
    while (cache->spare != NULL) {
        magazine_t *magazine = cache->spare;
        cache->spare = magazine_next(magazine);
        meta_free(magazine);
    }
    cache->spare_count = 0;
}

/* The owner's slow paths: out of busy, into the mutex, which a revoker may hold for a while. */
static void begin_slow(cache_t *cache)
{
    cache_leave(&thread_self);
    lock_acquire(&cache->lock);
}

/* Off the fast path; the next miss does the tick's work. */
INLINE void count_allocation(cache_t *cache)
{
    if (--cache->until_tick == 0) {
        cache->until_tick = TICK_ALLOCATIONS;
        cache->ticks++;
        cache->tick_due = true;
    }
}

/*
 * Carves one young block from the thread's piece: no lock, because the piece's header says OPEN and only
 * its owner writes it. The rest gets its header before the block loses OPEN: whoever frees the block finds
 * a neighbour either way. NULL: no room, or the class has had its share.
 */
INLINE void *carve(cache_t *cache, size_t class)
{
    size_t size = sizeclass_chunk[class];
    if (UNLIKELY(cache->piece_bytes < size + CHUNK_MIN || cache->carve_left[class] < size)) {
        return NULL;
    }
    size_t rest = cache->piece_bytes - size;
    chunk_t *chunk = cache->piece;
    chunk_t *next = chunk_at(chunk, size);
    chunk_set(next, CHUNK_PIECE, rest, CHUNK_INUSE | CHUNK_PREV_INUSE | CHUNK_OPEN);
    chunk_set(chunk, (unsigned)class, size, CHUNK_INUSE | CHUNK_PREV_INUSE);
    cache->piece = next;
    cache->piece_bytes = rest;
    cache->carve_left[class] = (uint16_t)(cache->carve_left[class] - size);
    return chunk_block(chunk);
}

static void load(cache_t *cache, unsigned class, magazine_t *full)
{
    if (cache->top[class] != magazine_top_of_dummy()) {
        put_spare(cache, magazine_of(cache->top[class]));
    }
    cache->top[class] = magazine_load_full(full, class);
    note_used(cache, class);
}

/* Puts the next of its own full magazines in place of the loaded one, which is empty. */
static bool load_own(cache_t *cache, unsigned class)
{
    magazine_t *magazine = cache->full[class];
    if (magazine == NULL) {
        return false;
    }
    cache->full[class] = magazine_next(magazine);
    cache->full_count[class]--;
    cache->full_least[class] = (uint16_t)min_size(cache->full_least[class], cache->full_count[class]);
    cache->full_bytes -= magazine_bytes(class);
    load(cache, class, magazine);
    return true;
}

/*
 * Still inside: the next of its own full magazines, or a young block. Whoever is inside has the cache to
 * itself, as whoever holds the mutex has; so an exchange with its own stack takes no lock.
 */
void *cache_alloc_empty(cache_t *cache, size_t class, size_t request)
{
    void *block = NULL;
    if (cache->full[class] != NULL && cache->spare_count < SPARES) {
        load_own(cache, (unsigned)class);
        block = *cache->top[class]--;
    } else if (class <= SLAB_CLASSES) {
        block = carve(cache, class);
    }
    if (UNLIKELY(block == NULL)) {
        return cache_alloc_miss(cache->arena, request);
    }
    count_allocation(cache);
    cache_leave(&thread_self);
    return block;
}

/* Tells the arena what was carved since the last time. Its mutex is held. */
static void count_carved_locked(cache_t *cache)
{
    arena_t *arena = cache->arena;
    for (unsigned class = 1; class <= SLAB_CLASSES; class ++) {
        size_t bytes = cache->carve_noted[class] - (size_t)cache->carve_left[class];
        if (bytes != 0) {
            size_t count = bytes / sizeclass_chunk[class];
            size_t usable = count * sizeclass_bytes[class];
            arena->totals.chunk_blocks += count;
            arena->totals.chunk_usable += usable;
            arena->granules->slab_class[class].chunk_bytes += (ptrdiff_t)usable;
            cache->carve_noted[class] = cache->carve_left[class];
        }
    }
}

static void close_piece_locked(cache_t *cache)
{
    if (cache->piece_bytes != 0) {
        chunk_set(cache->piece, CHUNK_PIECE, cache->piece_bytes, CHUNK_INUSE | CHUNK_PREV_INUSE);
        carve_put_locked(cache->arena, cache->piece);
    }
    cache->piece = NULL;
    cache->piece_bytes = 0;
    if (cache->arena->deferred != NULL) {
        carve_put_deferred_locked(cache->arena);
    }
}

void cache_close_piece_locked(cache_t *cache)
{
    count_carved_locked(cache);
    close_piece_locked(cache);
}

/* A new piece, if the class is still young and the arena has room without growing. */
static void open_piece(cache_t *cache, unsigned class)
{
    arena_t *arena = cache->arena;
    bool zero;
    size_t bytes = cache->next_piece_bytes;
    lock_acquire(&arena->lock);
    close_piece_locked(cache);
    bool young = cache->carve_left[class] >= sizeclass_chunk[class] && !alloc_wants_slab_locked(arena, class);
    if (young) {
        chunk_t *chunk = carve_take_locked(arena, bytes, CHUNK_PIECE, &zero);
        if (chunk == NULL && carve_grow_locked(arena, bytes)) {
            chunk = carve_take_locked(arena, bytes, CHUNK_PIECE, &zero);
        }
        if (chunk != NULL) {
            cache->piece = chunk;
            cache->piece_bytes = chunk_size(chunk);
            chunk_set(chunk, CHUNK_PIECE, cache->piece_bytes, CHUNK_INUSE | CHUNK_PREV_INUSE | CHUNK_OPEN);
            cache->next_piece_bytes = min_size(2 * bytes, PIECE_MAX_BYTES);
        }
    }
    lock_release(&arena->lock);
}

static void count_carved(cache_t *cache)
{
    lock_acquire(&cache->arena->lock);
    count_carved_locked(cache);
    lock_release(&cache->arena->lock);
}

/*
 * A class above SLAB_MAX has to earn its magazine: a few large blocks more or less in one are much memory, and few
 * programs use many of them.
 */
static bool is_worth_a_magazine(const cache_t *cache, unsigned class)
{
    return class <= SLAB_CLASSES || cache->earned[class] >= EARN_FREES;
}

/* Fills the loaded, empty magazine from the arena without growing it; returns one block, or NULL. */
static void *refill(cache_t *cache, unsigned class)
{
    void **top = cache->top[class];
    if (top == magazine_top_of_dummy() && !is_worth_a_magazine(cache, class)) {
        void *block;
        return alloc_fill(cache->arena, class, &block, 1, &cache->settle_due) == 1 ? block : NULL;
    }
    if (top == magazine_top_of_dummy()) {
        magazine_t *magazine = take_spare(cache);
        if (magazine == NULL) {
            return NULL;
        }
        top = magazine_make_empty(magazine, class);
        cache->top[class] = top;
        note_used(cache, class);
    }
    unsigned capacity = magazine_capacity(class);
    size_t want = min_size(max_size(cache->fill[class], FILL_FIRST), capacity);
    size_t got = alloc_fill(cache->arena, class, top + 1, want, &cache->settle_due);
    if (got == 0) {
        return NULL;
    }
    cache->fill[class] = (uint8_t)min_size(2 * want, capacity);
    if (pagemap_entry(top[got]) == (cache->tag | class)) {
        cache->graduated |= (uint64_t)1 << class;
    }
    for (size_t i = 0; i < got / 2; i++) { /* the lowest address comes out first */
        void *swapped = top[1 + i];
        top[1 + i] = top[got - i];
        top[got - i] = swapped;
    }
    cache->top[class] = top + got - 1;
    return top[got];
}

/* Its own, or one of the depot. */
static bool load_full(cache_t *cache, unsigned class)
{
    depot_t *depot = depot_of(cache->arena);
    if (load_own(cache, class)) {
        return true;
    }
    magazine_t *magazine = depot == NULL ? NULL : depot_take(depot, class);
    if (magazine != NULL) {
        load(cache, class, magazine);
    }
    return magazine != NULL;
}

static void *alloc_slow(cache_t *cache, unsigned class)
{
    void *block = *cache->top[class]; /* the miss may have been of the table only */
    if (block == NULL && load_full(cache, class)) {
        block = *cache->top[class];
    }
    if (block != NULL) {
        cache->top[class]--;
        return block;
    }
    if (class <= SLAB_CLASSES && cache->carve_left[class] >= sizeclass_chunk[class]) {
        open_piece(cache, class);
        block = carve(cache, class);
    } else if (class <= SLAB_CLASSES && cache->carve_noted[class] != cache->carve_left[class]) {
        count_carved(cache); /* so that the arena knows that it is time for slabs */
    }
    return block != NULL ? block : refill(cache, class);
}

/* Sends blocks home; a misuse that this finds is kept for when no lock is held. */
static void drain(cache_t *cache, void **blocks, size_t count)
{
    void *culprit = NULL;
    misuse_t wrong = alloc_drain(cache->arena, blocks, count, &culprit);
    if (UNLIKELY(wrong != MISUSE_NONE && cache->wrong == MISUSE_NONE)) {
        cache->wrong = wrong;
        cache->culprit = culprit;
    }
}

/* Empties the loaded magazine into the arena. */
static void empty_loaded(cache_t *cache, unsigned class)
{
    size_t count;
    void **blocks = magazine_blocks(cache->top[class], class, &count);
    if (count != 0) {
        cache->top[class] = blocks - 1;
        drain(cache, blocks, count);
    }
}

/* Ends a slow path: what draining found is reported, and what must wait for a moment without locks is done. */
static void end_slow(cache_t *cache, bool settle)
{
    arena_t *arena = cache->arena;
    misuse_t wrong = cache->wrong;
    bool tick = cache->tick_due;
    settle |= cache->settle_due;
    cache->wrong = MISUSE_NONE;
    cache->tick_due = cache->settle_due = false;
    lock_release(&cache->lock);
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        misuse(wrong, arena, cache->culprit);
    }
    if (tick) {
        alloc_tick(arena);
    } else if (settle) {
        alloc_settle(arena);
    }
}

/* Depot magazines that nobody needed for a while go home. */
static void decay_depot(cache_t *cache, depot_t *depot)
{
    for (unsigned class = 1; class <= CLASSES; class ++) {
        magazine_t *magazine;
        while ((magazine = depot_take_spare(depot, class)) != NULL) {
            size_t count;
            void **blocks = magazine_blocks(magazine_load_full(magazine, class), class, &count);
            drain(cache, blocks, count);
            put_spare(cache, magazine);
        }
    }
}

/* So do the cache's own full magazines, and the loaded one of a class that stands still. */
static void decay_class(cache_t *cache, unsigned class)
{
    size_t count;
    void **blocks = magazine_blocks(cache->top[class], class, &count);
    if (count == cache->held[class]) {
        empty_loaded(cache, class);
        cache->earned[class] = 0;
    }
    while (cache->full_least[class] != 0) {
        magazine_t *magazine = cache->full[class];
        cache->full[class] = magazine_next(magazine);
        cache->full_count[class]--;
        cache->full_least[class]--;
        cache->full_bytes -= magazine_bytes(class);
        blocks = magazine_blocks(magazine_load_full(magazine, class), class, &count);
        drain(cache, blocks, count);
        put_spare(cache, magazine);
    }
    cache->full_least[class] = cache->full_count[class];
    magazine_blocks(cache->top[class], class, &count);
    cache->held[class] = (uint8_t)count;
}

/* Idle stock drains: what a quarter of a second did not need pins slabs that could be empty. */
static void decay(cache_t *cache)
{
    uint64_t now = os_now_ms();
    depot_t *depot = depot_of(cache->arena);
    if (depot != NULL && depot_decay_is_due(depot, now)) {
        decay_depot(cache, depot);
    }
    if (now - cache->decayed_ms < PURGE_DELAY_MS) {
        return;
    }
    cache->decayed_ms = now;
    for (unsigned word = 0; word < 2; word++) {
        for (uint64_t bits = cache->used[word]; bits != 0; bits &= bits - 1) {
            decay_class(cache, word * 64 + lowest_bit(bits));
        }
    }
}

/*
 * A class that is found allocating at a tick is a busy one: it gets slabs although few of its blocks
 * live, and its chunk-backed blocks go home, so that it runs on slabs from here on.
 */
static bool promote(cache_t *cache, unsigned class)
{
    arena_t *arena = cache->arena;
    if (class > SLAB_CLASSES || cache->carve_left[class] < sizeclass_chunk[class] ||
        (arena->flags & ARENA_NO_SLABS) != 0) {
        return false;
    }
    lock_acquire(&arena->lock);
    arena->granules->slab_class[class].graduated = true;
    lock_release(&arena->lock);
    count_carved(cache);
    cache->carve_left[class] = cache->carve_noted[class] = 0;
    empty_loaded(cache, class);
    return true;
}

/* The class of the allocation that the tick fell on; returns the block to give out. */
static void *promote_found(cache_t *cache, unsigned class, void *block)
{
    void *better = promote(cache, class) ? refill(cache, class) : NULL;
    if (better == NULL) {
        return block;
    }
    drain(cache, &block, 1);
    return better;
}

/* So is one whose magazine moved since the last tick. */
static void promote_moving(cache_t *cache)
{
    for (unsigned class = 1; class <= SLAB_CLASSES; class ++) {
        uint16_t now = (uint16_t)(uintptr_t)cache->top[class];
        if (now != cache->seen[class] && cache->top[class] != magazine_top_of_dummy() &&
            cache->seen[class] != 0) {
            promote(cache, class);
        }
        cache->seen[class] = (uint16_t)(uintptr_t)cache->top[class];
    }
}

/* `block` is the caller's already. */
void *cache_alloc_tick(cache_t *cache, unsigned class, void *block)
{
    begin_slow(cache);
    cache->until_tick = TICK_ALLOCATIONS;
    cache->ticks++;
    cache->tick_due = true;
    if (is_cached(cache->arena)) {
        block = promote_found(cache, class, block);
        promote_moving(cache);
    }
    decay(cache);
    end_slow(cache, false);
    return block;
}

void *cache_alloc_miss(arena_t *arena, size_t size)
{
    cache_leave(&thread_self);
    cache_t *cache = arena == NULL || !is_cached(arena) ? NULL : thread_cache(arena);
    if (cache == NULL) {
        return alloc_public(arena, size);
    }
    unsigned class = sizeclass_of(size);
    void *block = NULL;
    bool empty = !atomic_load_explicit(&arena->grown, memory_order_relaxed);
    for (int attempt = empty; attempt < 2 && block == NULL; attempt++) {
        if (attempt != 0 && !alloc_make_room(arena, sizeclass_bytes[class])) {
            break;
        }
        lock_acquire(&cache->lock);
        if (is_cached(arena)) { /* still */
            block = alloc_slow(cache, class);
        }
        if (block != NULL) {
            count_allocation(cache);
        }
        end_slow(cache, false);
    }
    size = is_cached(arena) ? sizeclass_bytes[class] : size;
    return block != NULL ? block : alloc_public(arena, size); /* which tries harder */
}

/* Whether its own stack may hold one more full magazine of the class. */
static bool keeps_full(const cache_t *cache, unsigned class)
{
    size_t bytes = magazine_bytes(class);
    return (cache->full_count[class] + 1) * bytes <= STACK_HELD_BYTES &&
           cache->full_bytes + bytes <= CACHE_HELD_BYTES;
}

/* The loaded, full magazine goes to its own stack, and `fresh` takes its place. */
static void keep_full(cache_t *cache, unsigned class, magazine_t *fresh)
{
    magazine_t *magazine = magazine_of(cache->top[class]);
    magazine_set_next(magazine, cache->full[class]);
    cache->full[class] = magazine;
    cache->full_count[class]++;
    cache->full_bytes += magazine_bytes(class);
    cache->top[class] = magazine_make_empty(fresh, class);
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

/* Makes room where the magazine is full (or the dummy): keeps it, deposits it, or empties it: true. */
static bool make_room(cache_t *cache, unsigned class)
{
    if (!is_worth_a_magazine(cache, class) && cache->top[class] == magazine_top_of_dummy()) {
        cache->earned[class]++;
        return false;
    }
    magazine_t *fresh = take_spare(cache);
    bool dummy = cache->top[class] == magazine_top_of_dummy();
    bool keep = !dummy && keeps_full(cache, class);
    depot_t *depot = fresh == NULL || dummy || keep ? NULL : depot_for(cache->arena);
    if (fresh != NULL && keep) {
        keep_full(cache, class, fresh);
    } else if (fresh != NULL &&
               (dummy || (depot != NULL && depot_put(depot, class, magazine_of(cache->top[class]))))) {
        cache->top[class] = magazine_make_empty(fresh, class);
        note_used(cache, class);
    } else if (!dummy) {
        if (fresh != NULL) {
            put_spare(cache, fresh);
        }
        empty_loaded(cache, class);
        return true;
    }
    return false;
}

/* The cache's mutex is not held. */
static void free_slow(cache_t *cache, unsigned class, void *block)
{
    arena_t *arena = cache->arena;
    bool drained = false;
    lock_acquire(&cache->lock);
    if (*cache->top[class] == block) {
        cache->wrong = MISUSE_DOUBLE_FREE;
        cache->culprit = block;
    } else if (is_cached(arena) && magazine_top_is_full(cache->top[class])) {
        drained = make_room(cache, class);
    }
    void **top = cache->top[class];
    bool room = is_cached(arena) && !magazine_top_is_full(top) && cache->wrong == MISUSE_NONE;
    if (room) {
        top[1] = block;
        cache->top[class] = top + 1;
    }
    end_slow(cache, drained);
    if (!room) {
        alloc_public_free(arena,
                          block); /* no memory for a magazine, not worth one, or caches were taken away */
    }
}

/* Still inside, as cache_alloc_empty. */
void cache_free_full(cache_t *cache, unsigned class, void *block)
{
    if (cache->spare != NULL && cache->top[class] != magazine_top_of_dummy() && keeps_full(cache, class)) {
        keep_full(cache, class, take_spare(cache));
        *++cache->top[class] = block;
        cache_leave(&thread_self);
        return;
    }
    cache_leave(&thread_self);
    free_slow(cache, class, block);
}

/* Old chunks of a class that has slabs merge again. */
void cache_free_home(cache_t *cache, void *block)
{
    begin_slow(cache);
    drain(cache, &block, 1);
    end_slow(cache, false);
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
    bool plain = arena == NULL || block == NULL || !is_cached(arena);
    unsigned class = plain ? 0 : cacheable_class(arena, block);
    cache_t *cache = class == 0 ? NULL : thread_cache(arena);
    if (cache == NULL) {
        alloc_public_free(arena, block);
        return;
    }
    free_slow(cache, class, block);
}

misuse_t cache_drain(cache_t *cache, void **culprit)
{
    for (unsigned word = 0; word < 2; word++) {
        for (uint64_t bits = cache->used[word]; bits != 0; bits &= bits - 1) {
            unsigned class = word * 64 + lowest_bit(bits);
            do {
                empty_loaded(cache, class);
            } while (load_own(cache, class));
            put_spare(cache, magazine_of(cache->top[class]));
            cache->top[class] = magazine_top_of_dummy();
        }
        cache->used[word] = 0;
    }
    misuse_t wrong = cache->wrong;
    cache->wrong = MISUSE_NONE;
    *culprit = wrong == MISUSE_NONE ? *culprit : cache->culprit;
    return wrong;
}

void cache_discard(cache_t *cache)
{
    for (unsigned word = 0; word < 2; word++) {
        for (uint64_t bits = cache->used[word]; bits != 0; bits &= bits - 1) {
            unsigned class = word * 64 + lowest_bit(bits);
            while (load_own(cache, class)) {
            }
            if (cache->top[class] != magazine_top_of_dummy()) {
                put_spare(cache, magazine_of(cache->top[class]));
            }
            cache->top[class] = magazine_top_of_dummy();
        }
        cache->used[word] = 0;
    }
    cache->piece = NULL;
    cache->piece_bytes = 0;
}

size_t cache_held_bytes(const cache_t *cache)
{
    size_t bytes = cache->full_bytes;
    for (unsigned class = 1; class <= CLASSES; class ++) {
        size_t count;
        magazine_blocks(cache->top[class], class, &count);
        bytes += count * sizeclass_bytes[class];
    }
    return bytes;
}

void cache_each_block(const cache_t *cache, void (*visit)(void *context, void *block), void *context)
{
    for (unsigned class = 1; class <= CLASSES; class ++) {
        for (void **top = cache->top[class]; *top != NULL; top--) {
            visit(context, *top);
        }
        depot_each_block(cache->full[class], class, visit, context);
    }
}
