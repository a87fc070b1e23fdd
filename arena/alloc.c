/* alloc.c: see alloc.h. What concerns blocks that come back is in free.c. */
#include "alloc.h"

#include "cachehook.h"
#include "carve.h"
#include "flow.h"
#include "large.h"
#include "os.h"
#include "park.h"
#include "region.h"
#include "run.h"
#include "slab.h"
#include "stock.h"
#include "tiny.h"
#include "want.h"
#include "watch.h"

#include <errno.h>
#include <string.h>

/* What of a class lives in chunks before it gets slabs; if room is dear, as many as have half a slab of headers. */
static size_t bytes_to_graduate(const arena_t *arena, unsigned class)
{
    size_t bytes = sizeclass_bytes[class];
    if (class > SMALL_CLASSES) {
        return GRADUATE_MEDIUM;
    }
    return is_tight(arena) ? GRANULE / 2 * bytes / (sizeclass_chunk[class] - bytes)
                           : alloc_chunk_share(arena, bytes);
}

bool alloc_wants_slab_locked(arena_t *arena, unsigned class)
{
    if (class == 0 || !may_have_slabs(arena, class)) {
        return false;
    }
    if (class > GRANULE_CLASSES) {
        return true; /* it never was in chunks */
    }
    if (arena->granules->chunk_bytes[class] >= (ptrdiff_t)bytes_to_graduate(arena, class)) {
        alloc_graduate_locked(arena, class);
    }
    return (arena->granules->graduated >> class & 1) != 0;
}

/* Slabs serve an alignment that divides the class's size; those of classes for aligned requests only caches. */
static void *take_slab_locked(arena_t *arena, const want_t *want, bool *zero)
{
    unsigned class = want->class;
    if (arena->in_buffer) {
        return NULL;
    }
    if (want->alignment > arena->quantum) {
        class = sizeclass_of_aligned(want->request, want->alignment);
        if (!may_have_slabs(arena, class) || class > SMALL_CLASSES) {
            return NULL;
        }
        if (is_tight(arena) && arena->totals.slab_bytes + GRANULE > arena->limit_bytes / 8 &&
            !alloc_wants_slab_locked(arena, class)) {
            return slab_take_left_locked(arena, class);
        }
    } else if (!alloc_wants_slab_locked(arena, class)) {
        return NULL;
    }
    return class == 0 ? NULL : slab_take_one_locked(arena, class, zero);
}

/* The chunk layer says "zero but for the first 16 and the last 8 bytes". */
static void clear_edges(void *block, size_t chunk)
{
    memset(block, 0, 16);
    memset(at(block, chunk - CHUNK_HEADER - 8), 0, 8);
}

static chunk_t *carve_wanted_locked(arena_t *arena, const want_t *want, bool *zero)
{
    return UNLIKELY(want->alignment > arena->quantum)
               ? carve_take_aligned_locked(arena, want->alignment, want->chunk, want->mark, zero)
               : carve_take_locked(arena, want->chunk, want->mark, zero);
}

/* A chunk from the bins, or from granules that are free already. *zero: all of its block reads as zero. */
static void *take_chunk_locked(arena_t *arena, const want_t *want, bool *zero)
{
    *zero = false;
    chunk_t *chunk = carve_wanted_locked(arena, want, zero);
    if (UNLIKELY(chunk == NULL)) {
        bool aligned = want->alignment > arena->quantum;
        size_t most = want->chunk + (aligned ? want->alignment + CHUNK_MIN : 0);
        chunk = carve_grow_locked(arena, most) ? carve_wanted_locked(arena, want, zero) : NULL;
        if (chunk == NULL) {
            return NULL;
        }
    }
    if (UNLIKELY(*zero)) {
        clear_edges(chunk_block(chunk), chunk_size(chunk));
    }
    alloc_count_chunk_locked(arena, want->mark, 1);
    return chunk_block(chunk);
}

static void *take_locked(arena_t *arena, const want_t *want, bool *zero)
{
    *zero = false;
    void *block = arena->tiny != NULL ? tiny_take_locked(arena, want->class, want->alignment)
                                      : take_slab_locked(arena, want, zero);
    block = block != NULL ? block : take_chunk_locked(arena, want, zero);
    arena->totals.allocations += want->counts && block != NULL;
    return block;
}

void alloc_adopt_raw_locked(arena_t *arena)
{
    if (!has_bounds(arena)) {
        return;
    }
    for (region_t *region = arena->regions; region != NULL; region = region->next) {
        size_t kept = region->bytes - region->raw_bytes;
        if (region->raw_bytes != 0) {
            carve_add_span_locked(arena, region->start + kept, region->raw_bytes, kept != 0, region->zero);
            region->raw_bytes = 0;
        }
    }
}

/* Lets `grow` go. The first memory that came unaligned ends the arena's caches. */
static void end_growth(arena_t *arena)
{
    lock_release(&arena->grow);
    if (arena->cacheable && /* hence it has granules */
        UNLIKELY(atomic_load_explicit(&arena->granules->unaligned, memory_order_relaxed)) &&
        (watch_of(arena) & WATCH_UNALIGNED) == 0) {
        watch_switch(arena, WATCH_UNALIGNED, true);
    }
}

/* The arena gets room for `need` bytes, and the mutex is held then; false: it does not. Caller holds grow. */
static bool grow_and_lock(arena_t *arena, size_t need)
{
    if (!arena->in_buffer && large_unpark(arena, need)) {
        lock_acquire(&arena->lock);
        return true;
    }
    if (!region_grow_and_lock(arena, need)) {
        return false;
    }
    alloc_adopt_raw_locked(arena);
    return true;
}

/* Looks again with `grow` held, because another thread may have grown meanwhile; then grows. */
static void *grow_and_take(arena_t *arena, const want_t *want, bool *zero)
{
    size_t need = want->chunk + CHUNK_HEADER + RUN_FRONT +
                  (want->alignment > arena->quantum ? want->alignment + CHUNK_MIN : 0);
    if (need < want->chunk) {
        return NULL;
    }
    flow_back(arena);
    lock_acquire(&arena->grow);
    lock_acquire(&arena->lock);
    void *block = take_locked(arena, want, zero);
    if (block == NULL && !arena->in_buffer && arena->totals.wide_chunk_bytes != 0) {
        carve_release_locked(arena);
        block = take_locked(arena, want, zero);
    }
    lock_release(&arena->lock);
    if (block == NULL && grow_and_lock(arena, need)) {
        block = take_locked(arena, want, zero);
        lock_release(&arena->lock);
    }
    end_growth(arena);
    return block;
}

static bool make_room(arena_t *arena, size_t need)
{
    flow_back(arena);
    lock_acquire(&arena->grow);
    bool room = false;
    if (atomic_load_explicit(&arena->grown, memory_order_relaxed)) {
        lock_acquire(&arena->lock);
        carve_release_locked(arena);
        room = run_find_locked(arena, (uint32_t)((need + GRANULE - 1) >> GRANULE_LOG2)) != 0;
        lock_release(&arena->lock);
    }
    if (!room && grow_and_lock(arena, need)) {
        lock_release(&arena->lock);
        room = true;
    }
    end_growth(arena);
    return room;
}

bool alloc_make_room(arena_t *arena, size_t usable)
{
    size_t need = want_chunk_size(arena, usable) + CHUNK_HEADER + RUN_FRONT;
    return flow_one(arena, usable) || make_room(arena, need);
}

bool alloc_make_room_for(arena_t *arena, unsigned class)
{
    bool wide_slab = class > GRANULE_CLASSES && may_have_slabs(arena, class);
    return wide_slab ? make_room(arena, slab_granules(class) * GRANULE)
                     : alloc_make_room(arena, sizeclass_bytes[class]);
}

static bool is_large(const arena_t *arena, const want_t *want)
{
    if (arena->in_buffer) {
        return false;
    }
    bool may_be = want->class == 0 || want->alignment >= GRANULE;
    return may_be && large_room(want->request, want->alignment) >= arena->large_threshold;
}

/*
 * Whether what waits for a large block is to serve a request that should be a chunk, with no large block beside it: buffers
 * of many sizes that come and go one by one would else fault twice, as what is below the threshold and as what is above.
 */
static bool fits_parked_locked(const arena_t *arena, const want_t *want)
{
    return want->class == 0 && want->request >= LARGE_MIN_BYTES && want->alignment <= arena->quantum &&
           arena->totals.large_blocks == 0 && want->request <= parked_bytes(arena) &&
           is_aligned(arena->granules->park.start, GRANULE);
}

/* After an allocation. A break by pages comes down by frees alone. */
static void unlock_taken(arena_t *arena)
{
    if (UNLIKELY(arena->paged)) {
        lock_release(&arena->lock);
    } else {
        alloc_unlock(arena);
    }
}

/* What an arena before this one left serves a large request as a chunk: no system call, and its pages are there. */
static void *take_warm(arena_t *arena, const want_t *want, bool *zero)
{
    size_t need = want->chunk + CHUNK_HEADER + RUN_FRONT;
    if (want->request > LARGE_MAX_BYTES || want->alignment > arena->quantum || arena->limit_bytes != 0 ||
        stock_bytes() < need) {
        return NULL; /* a chunk costs a limit more than a mapping does */
    }
    void *block = NULL;
    lock_acquire(&arena->grow);
    if (region_grow_warm_and_lock(arena, need)) {
        block = take_locked(arena, want, zero);
        lock_release(&arena->lock);
    }
    end_growth(arena);
    return block;
}

static void *take_large(arena_t *arena, const want_t *want, bool *zero)
{
    void *block = take_warm(arena, want, zero);
    if (block != NULL) {
        return block;
    }
    block = large_alloc(arena, want->request, want->alignment, zero);
    alloc_settle_large(arena); /* before the block is touched */
    return block;
}

/* The mutex is held, and released. There was nothing free, or only a mapping can be what it wants. Of a request that no
 * class serves, the other kind is tried when its own has no room: a mapping if it saves what an alignment costs a chunk. */
static NOINLINE void *take_more(arena_t *arena, const want_t *want, bool large, bool *zero)
{
    void *block = NULL;
    large |= fits_parked_locked(arena, want);
    unlock_taken(arena);
    if (large) {
        block = take_large(arena, want, zero);
    }
    block = block != NULL ? block : grow_and_take(arena, want, zero);
    if (block == NULL && !large && want->alignment >= GRANULE) {
        block = take_large(arena, want, zero);
    }
    return block;
}

/* What is free serves first, a large request too, unless only a mapping can be what it wants. */
static void *take_any(arena_t *arena, const want_t *want, bool *zero)
{
    lock_acquire(&arena->lock);
    bool large = is_large(arena, want);
    bool maps = large && large_room(want->request, want->alignment) > LARGE_MAX_BYTES;
    void *block = maps ? NULL : take_locked(arena, want, zero);
    if (UNLIKELY(block == NULL)) {
        return take_more(arena, want, large, zero);
    }
    unlock_taken(arena);
    return block;
}

/* Takes what has an owner elsewhere back: depots, caches, empty slabs, free ends. */
static void reclaim(arena_t *arena)
{
    lock_acquire(&arena->lock);
    uint64_t now = os_now_ms();
    bool again = now - arena->failed_at_ms <= RETRY_PAUSE_MS;
    arena->failed_at_ms = again ? arena->failed_at_ms : now;
    lock_release(&arena->lock);
    flow_drain_caches(arena, again ? REACH_OWN : REACH_ALL);
    if (arena->in_buffer) {
        return;
    }
    lock_acquire(&arena->lock);
    slab_release_empty_locked(arena);
    carve_release_locked(arena);
    lock_release(&arena->lock);
    park_drop_old(arena, UINT64_MAX);
    alloc_lower_break(arena, 0);
    region_trim(arena, 0);
    stock_trim(0);
}

/* What the request's class has left in slabs, when there is no room for a chunk of just its size. */
static void *take_left(arena_t *arena, size_t request, size_t alignment)
{
    if (arena->in_buffer || request > SLAB_MAX) {
        return NULL;
    }
    unsigned class = sizeclass_of_aligned(max_size(request, 1), alignment); /* or 0, which has no slabs */
    lock_acquire(&arena->lock);
    void *block = slab_take_left_locked(arena, class);
    arena->totals.allocations += block != NULL;
    lock_release(&arena->lock);
    return block;
}

/* With what others have of it, and what a slab has left. */
static NOINLINE void *take_harder(arena_t *arena, const want_t *want, bool *zero)
{
    if (arena->limit_bytes != 0 && want->request > arena->limit_bytes) {
        return NULL;
    }
    reclaim(arena);
    void *block = take_any(arena, want, zero);
    if (block == NULL) {
        *zero = false;
        block = take_left(arena, want->request, want->alignment);
    }
    return block;
}

void *alloc_block(arena_t *arena, size_t request, size_t alignment, bool *zero)
{
    void *block = NULL;
    alloc_check_alive(arena, NULL);
    if (LIKELY(request <= PTRDIFF_MAX - GRANULE && alignment <= PTRDIFF_MAX)) {
        want_t want = want_of(arena, request, alignment);
        want.counts = true;
        block = take_any(arena, &want, zero);
        if (UNLIKELY(block == NULL)) {
            block = take_harder(arena, &want, zero);
        }
    }
    if (UNLIKELY(block == NULL)) {
        errno = ENOMEM;
    }
    return block;
}

void *alloc_unwatched(arena_t *arena, size_t size)
{
    bool zero = false;
    void *block = alloc_block(arena, size, 8, &zero);
    bool clear = (arena->flags & ARENA_ZERO) != 0 && !zero && block != NULL;
    return clear ? memset(block, 0, size) : block;
}

void *alloc_public(arena_t *arena, size_t size)
{
    if (UNLIKELY(arena == NULL)) {
        errno = EINVAL;
        return NULL;
    }
    void *block = alloc_unwatched(arena, size);
    if (UNLIKELY(watch_each_call(arena))) {
        watch_new(arena, block, size, LOG_ALLOC);
    }
    check_paranoid(arena_check(arena) == 0);
    return block;
}

void alloc_public_free(arena_t *arena, void *block)
{
    if (UNLIKELY(arena == NULL)) {
        errno = block == NULL ? errno : EINVAL;
        return;
    }
    if (block != NULL) {
        alloc_check_alive(arena, block);
        if (UNLIKELY(watch_each_call(arena))) {
            watch_free(arena, block);
        }
        alloc_free(arena, block);
        check_paranoid(arena_check(arena) == 0);
    }
}

/*
 * Blocks of one class; those of a class without slabs one after the other from the bins. Of the large ones no more are
 * taken once a header fell on a new page: who asked for one block waits for one fault, and not for a magazine's.
 */
static size_t fill_locked(arena_t *arena, unsigned class, void **out, size_t count, bool *zero)
{
    *zero = false;
    if (alloc_wants_slab_locked(arena, class)) { /* none: the arena grows rather than use chunks again */
        return count == 1 ? (*out = slab_take_one_locked(arena, class, zero)) != NULL
                          : slab_take_locked(arena, class, out, count);
    }
    want_t want = want_block_of(arena, class);
    size_t got = 0;
    size_t before = arena->granules->pages_warmed;
    bool warm = true;
    while (got < count && warm && (out[got] = take_chunk_locked(arena, &want, zero)) != NULL) {
        warm = class <= SMALL_CLASSES || arena->granules->pages_warmed == before;
        got++;
    }
    *zero &= got == 1;
    return got;
}

size_t alloc_fill(arena_t *arena, unsigned class, void **out, size_t count, bool *settle, bool *zero)
{
    lock_acquire(&arena->lock);
    size_t got = fill_locked(arena, class, out, count, zero);
    *settle |= arena->granules->clean_taken_bytes >= CLEAN_TAKEN_BYTES;
    lock_release(&arena->lock);
    return got;
}

void *alloc_exact(arena_t *arena, size_t request, bool *settle, bool *zero)
{
    want_t want = want_of(arena, request, arena->quantum);
    lock_acquire(&arena->lock);
    void *block = take_chunk_locked(arena, &want, zero);
    *settle |= arena->granules->clean_taken_bytes >= CLEAN_TAKEN_BYTES;
    lock_release(&arena->lock);
    return block;
}

void alloc_count(arena_t *arena, int allocations)
{
    lock_acquire(&arena->lock);
    arena->totals.allocations += (uint64_t)allocations;
    lock_release(&arena->lock);
}
