/* alloc.c: see alloc.h. */
#include "alloc.h"

#include "cachehook.h"
#include "carve.h"
#include "large.h"
#include "name.h"
#include "os.h"
#include "region.h"
#include "run.h"
#include "slab.h"
#include "stock.h"
#include "survey.h"
#include "tiny.h"
#include "watch.h"

#include <errno.h>
#include <string.h>

/* What one allocation is after. */
typedef struct {
    size_t request, alignment;
    size_t chunk;         /* bytes of the chunk that serves it */
    unsigned class, mark; /* mark: the class byte of that chunk */
    bool counts;          /* as an allocation of the application */
} want_t;

static bool is_cached(const arena_t *arena)
{
    return atomic_load_explicit(&arena->cached, memory_order_relaxed);
}

unsigned alloc_class(const arena_t *arena, size_t request)
{
    if (arena->in_buffer && (arena->tiny == NULL || request > TINY_CLASS_MAX)) {
        return 0; /* nothing rounds there but what must */
    }
    if (request <= SLAB_MAX && (is_cached(arena) || (arena->flags & ARENA_NO_SLABS) == 0)) {
        return sizeclass_of(request);
    }
    return is_cached(arena) && request <= CLASS_MAX ? sizeclass_of(request) : 0;
}

/* What a request without a class is usable for. From LARGE_MIN_BYTES on that is what a large block would have,
 * whatever serves it, because the threshold moves. */
static size_t plain_usable(const arena_t *arena, size_t request)
{
    if (request >= LARGE_MIN_BYTES && !arena->in_buffer) {
        return large_good_size(arena, request);
    }
    return chunk_size_for(request, arena->quantum) - CHUNK_HEADER;
}

static want_t make_want(const arena_t *arena, size_t request, size_t alignment)
{
    want_t want = {.request = request, .alignment = alignment, .class = alloc_class(arena, request)};
    size_t usable = want.class != 0 ? sizeclass_bytes[want.class] : plain_usable(arena, request);
    want.chunk = chunk_size_for(usable, arena->quantum);
    unsigned pad = (unsigned)(want.chunk - CHUNK_HEADER - usable) / 8;
    /* An aligned chunk goes home when freed: nothing aligned would ever be served from a magazine. */
    want.mark = want.class != 0 && !(alignment > arena->quantum && arena->cached)
                    ? want.class
                    : (unsigned)CHUNK_PLAIN + pad;
    return want;
}

bool alloc_wants_slab_locked(arena_t *arena, unsigned class)
{
    if (!arena->sliced || class == 0 || class > SLAB_CLASSES || (arena->flags & ARENA_NO_SLABS) != 0) {
        return false;
    }
    slab_class_t *state = &arena->granules->slab_class[class];
    state->graduated |= state->chunk_bytes >= (ptrdiff_t)GRADUATE_BYTES;
    return state->graduated;
}

/* Slabs serve an alignment that divides the class's size. */
static void *take_slab_locked(arena_t *arena, const want_t *want)
{
    unsigned class = want->class;
    bool aligned = want->alignment <= arena->quantum;
    if (!aligned) {
        size_t usable = align_up(max_size(want->request, 1), want->alignment);
        class = want->alignment <= SLAB_MAX && usable <= SLAB_MAX ? sizeclass_of(usable) : 0;
        if (!arena->sliced || (arena->flags & ARENA_NO_SLABS) != 0 ||
            sizeclass_bytes[class] % want->alignment != 0) {
            return NULL;
        }
    } else if (!alloc_wants_slab_locked(arena, class)) {
        return NULL;
    }
    void *block = NULL;
    return class != 0 && slab_take_locked(arena, class, &block, 1) == 1 ? block : NULL;
}

/* A chunk from the bins, or from granules that are free already. */
static void *take_chunk_locked(arena_t *arena, const want_t *want, bool *zero)
{
    bool aligned = want->alignment > arena->quantum;
    size_t most = want->chunk + (aligned ? want->alignment + CHUNK_MIN : 0);
    chunk_t *chunk = NULL;
    for (int attempt = 0; attempt < 2 && chunk == NULL; attempt++) {
        if (attempt == 0 || carve_grow_locked(arena, most)) {
            chunk = aligned ? carve_take_aligned_locked(arena, want->alignment, want->chunk, want->mark)
                            : carve_take_locked(arena, want->chunk, want->mark, zero);
        }
    }
    if (chunk == NULL) {
        return NULL;
    }
    if (arena->sliced && want->mark != 0 && want->mark <= SLAB_CLASSES) {
        arena->granules->slab_class[want->mark].chunk_bytes += sizeclass_bytes[want->mark];
    }
    return chunk_block(chunk);
}

static void *take_locked(arena_t *arena, const want_t *want, bool *zero)
{
    *zero = false;
    void *block = arena->tiny != NULL ? tiny_take_locked(arena, want->class, want->alignment)
                                      : take_slab_locked(arena, want);
    block = block != NULL ? block : take_chunk_locked(arena, want, zero);
    arena->totals.allocations += want->counts && block != NULL;
    return block;
}

void alloc_adopt_raw(arena_t *arena)
{
    if (arena->source != ARENA_SOURCE_HOOKS) {
        return;
    }
    lock_acquire(&arena->lock);
    for (region_t *region = arena->regions; region != NULL; region = region->next) {
        if (region->raw) {
            region->raw = false;
            carve_add_span_locked(arena, region->start, region->bytes, region->zero);
        }
    }
    lock_release(&arena->lock);
}

static void flow_back(arena_t *arena)
{
    void *culprit = NULL;
    if (!atomic_load_explicit(&arena->grown, memory_order_relaxed)) {
        return; /* its first region: nothing can be cached yet */
    }
    lock_acquire(&arena->lock);
    size_t keep_bytes = arena->totals.mapped_bytes / 32;
    lock_release(&arena->lock);
    misuse_t wrong = cachehook_flow_back(arena, keep_bytes, &culprit);
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        misuse(wrong, arena, culprit);
    }
}

/* Looks again with `grow` held, because another thread may have grown meanwhile; then grows. */
static void *grow_and_take(arena_t *arena, const want_t *want, bool *zero)
{
    size_t need =
        want->chunk + 2 * CHUNK_HEADER + (want->alignment > arena->quantum ? want->alignment + CHUNK_MIN : 0);
    if (need < want->chunk) {
        return NULL;
    }
    flow_back(arena);
    lock_acquire(&arena->grow);
    lock_acquire(&arena->lock);
    void *block = take_locked(arena, want, zero);
    if (block == NULL && arena->sliced && arena->totals.wide_chunk_bytes != 0) {
        carve_release_locked(arena);
        block = take_locked(arena, want, zero);
    }
    lock_release(&arena->lock);
    if (block == NULL && region_grow_unlocked(arena, need)) {
        alloc_adopt_raw(arena);
        lock_acquire(&arena->lock);
        block = take_locked(arena, want, zero);
        lock_release(&arena->lock);
    }
    lock_release(&arena->grow);
    return block;
}

bool alloc_make_room(arena_t *arena, size_t usable)
{
    size_t need = chunk_size_for(usable, arena->quantum) + 2 * CHUNK_HEADER;
    flow_back(arena);
    lock_acquire(&arena->grow);
    lock_acquire(&arena->lock);
    carve_release_locked(arena);
    bool room = run_find_locked(arena, (uint32_t)((need + GRANULE - 1) >> GRANULE_LOG2)) != 0;
    lock_release(&arena->lock);
    if (!room && region_grow_unlocked(arena, need)) {
        alloc_adopt_raw(arena);
        room = true;
    }
    lock_release(&arena->grow);
    return room;
}

static bool is_large(const arena_t *arena, const want_t *want)
{
    if (arena->source == ARENA_SOURCE_BUFFER) {
        return false;
    }
    return want->alignment >= GRANULE || (want->class == 0 && want->request >= arena->large_threshold);
}

/* Of a request that no class serves, the other kind is tried when its own has no room. */
static void *take_any(arena_t *arena, const want_t *want, bool *zero)
{
    lock_acquire(&arena->lock);
    bool large = is_large(arena, want);
    void *block = large ? NULL : take_locked(arena, want, zero);
    alloc_unlock(arena);
    if (large) {
        block = large_alloc(arena, want->request, want->alignment, zero);
    }
    return block != NULL ? block : grow_and_take(arena, want, zero);
}

/* The chunk layer says "zero but for the first 16 and the last 8 bytes". */
static void clear_edges(void *block, size_t chunk)
{
    memset(block, 0, 16);
    memset(at(block, chunk - CHUNK_HEADER - 8), 0, 8);
}

static void check_alive(const arena_t *arena, const void *block)
{
    if (UNLIKELY(!atomic_load_explicit(&arena->alive, memory_order_relaxed))) {
        misuse(MISUSE_DEAD_ARENA, arena, block);
    }
}

void *alloc_block(arena_t *arena, size_t request, size_t alignment, bool *zero)
{
    bool clean = false;
    void *block = NULL;
    check_alive(arena, NULL);
    if (request <= PTRDIFF_MAX - GRANULE && alignment <= PTRDIFF_MAX) {
        want_t want = make_want(arena, request, alignment);
        want.counts = true;
        block = take_any(arena, &want, &clean);
        if (block == NULL && !(arena->limit_bytes != 0 && request > arena->limit_bytes)) {
            alloc_reclaim(arena);
            block = take_any(arena, &want, &clean);
        }
    }
    if (block == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    if (clean && zero != NULL && pagemap_entry(block) != (arena->tag | KIND_LARGE)) {
        clear_edges(block, (size_t)(chunk_header(chunk_of(block)) & CHUNK_SIZE_MASK));
    }
    if (zero != NULL) {
        *zero = clean;
    }
    return block;
}

void alloc_reclaim(arena_t *arena)
{
    lock_acquire(&arena->lock);
    uint64_t now = os_now_ms();
    bool again = now - arena->failed_at_ms <= RETRY_PAUSE_MS;
    arena->failed_at_ms = now;
    lock_release(&arena->lock);
    void *culprit = NULL;
    misuse_t wrong = cachehook_reclaim(arena, !again, &culprit);
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        misuse(wrong, arena, culprit);
    }
    if (arena->in_buffer) {
        return;
    }
    lock_acquire(&arena->lock);
    slab_release_empty_locked(arena);
    carve_release_locked(arena);
    lock_release(&arena->lock);
    region_trim(arena, 0);
    stock_trim(0);
}

/* Why `block`, whose page-map entry is no block of this arena's, cannot be one. */
static misuse_t why_not(const arena_t *arena, uint32_t entry)
{
    uint32_t kind = entry & 0xff;
    if (entry == 0 || kind == KIND_FREE_ZERO || kind == KIND_BUSY) {
        return MISUSE_FOREIGN;
    }
    if ((entry ^ kind) != arena->tag) {
        return MISUSE_WRONG_ARENA;
    }
    return MISUSE_DOUBLE_FREE;
}

bool alloc_header_is_readable(const void *block)
{
    return (uintptr_t)block % GRANULE >= CHUNK_HEADER ||
           pagemap_entry(before(block, CHUNK_HEADER)) == pagemap_entry(block);
}

/* A chunk's block in a region of the map, or in a buffer. */
static misuse_t validate_chunk_locked(const arena_t *arena, const void *block, uint32_t entry)
{
    if (entry == 0) {
        const region_t *region = region_by_bounds_locked(arena, block);
        if (region == NULL) {
            return MISUSE_FOREIGN;
        }
        if (distance(region->start, block) < 2 * CHUNK_HEADER) {
            return MISUSE_INTERIOR;
        }
    } else if (!alloc_header_is_readable(block)) {
        return MISUSE_INTERIOR;
    }
    return carve_validate(block);
}

static void forget_class_locked(arena_t *arena, unsigned class)
{
    if (arena->sliced && class <= SLAB_CLASSES) {
        arena->granules->slab_class[class].chunk_bytes -= sizeclass_bytes[class];
    }
}

/* The block's page-map entry; 0 if it lies in a buffer or in unaligned hook memory, even if that is part of
 * another arena's block. */
static uint32_t entry_locked(const arena_t *arena, const void *block)
{
    uint32_t entry = arena->in_buffer ? 0 : pagemap_entry(block);
    bool foreign = (entry ^ arena->tag) > 0xff && arena->source == ARENA_SOURCE_HOOKS;
    return foreign && region_by_bounds_locked(arena, block) != NULL ? 0 : entry;
}

static misuse_t put_locked(arena_t *arena, void *block)
{
    uint32_t entry = entry_locked(arena, block);
    uint32_t kind = entry ^ arena->tag;
    names_forget_locked(arena, block);
    if (kind <= SLAB_CLASSES) {
        return slab_put_locked(arena, block);
    }
    if (kind != KIND_CHUNKS && entry != 0) {
        return why_not(arena, entry);
    }
    if (arena->tiny != NULL && tiny_holds(arena, block)) {
        return tiny_put_locked(arena, block);
    }
    misuse_t wrong = validate_chunk_locked(arena, block, entry);
    if (wrong != MISUSE_NONE) {
        return wrong;
    }
    unsigned class = chunk_class(chunk_of(block));
    wrong = carve_put_locked(arena, chunk_of(block));
    if (wrong == MISUSE_NONE) {
        forget_class_locked(arena, class);
    }
    return wrong;
}

/*
 * The dirty bytes that free runs should be cut down to; SIZE_MAX: they may stay. Beyond a bound that adapts, half of
 * them go; and when clean granules were taken because no dirty run was long enough, as many dirty ones, so
 * that what is resident does not grow by what lies idle.
 */
static size_t dirty_target(arena_t *arena)
{
    totals_t *totals = &arena->totals;
    size_t allowed = arena->trim_threshold_bytes;
    if (arena->purge_failed) {
        return SIZE_MAX;
    }
    if (allowed == 0) {
        allowed = max_size(DIRTY_MIN_BYTES, totals->peak_mapped_bytes / 16);
        allowed =
            max_size(allowed, arena->large_threshold > LARGE_MIN_BYTES ? 2 * arena->large_threshold : 0);
        if (arena->sliced && arena->granules->clean_taken_bytes >= CLEAN_TAKEN_BYTES) {
            size_t taken = min_size(arena->granules->clean_taken_bytes, totals->dirty_bytes);
            arena->granules->clean_taken_bytes = 0;
            return min_size(totals->dirty_bytes - taken, allowed);
        }
    }
    return totals->dirty_bytes > allowed ? totals->dirty_bytes / 2 : SIZE_MAX;
}

void alloc_unlock(arena_t *arena)
{
    size_t target = dirty_target(arena);
    lock_release(&arena->lock);
    if (UNLIKELY(target != SIZE_MAX)) {
        region_purge(arena, target);
    }
}

/* By going over the heap: this is the end anyway. */
void alloc_report(arena_t *arena, const void *block, misuse_t wrong)
{
    if (wrong == MISUSE_INTERIOR || wrong == MISUSE_BROKEN_HEADER) {
        lock_acquire(&arena->lock);
        wrong = survey_diagnose_locked(arena, block, wrong);
        lock_release(&arena->lock);
    }
    if (wrong == MISUSE_FOREIGN) {
        const arena_t *owner = arena_of(block);
        wrong = owner != NULL && owner != arena ? MISUSE_WRONG_ARENA : wrong;
    }
    misuse(wrong, arena, block);
}

void alloc_free(arena_t *arena, void *block)
{
    misuse_t wrong;
    if (pagemap_entry(block) == (arena->tag | KIND_LARGE)) {
        wrong = large_free(arena, block);
    } else {
        lock_acquire(&arena->lock);
        wrong = put_locked(arena, block);
        alloc_unlock(arena);
    }
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        alloc_report(arena, block, wrong);
    }
}

misuse_t alloc_drain(arena_t *arena, void **blocks, size_t count, void **culprit)
{
    misuse_t wrong = MISUSE_NONE;
    lock_acquire(&arena->lock);
    for (size_t i = 0; i < count; i++) {
        misuse_t one = put_locked(arena, blocks[i]);
        if (UNLIKELY(one != MISUSE_NONE && wrong == MISUSE_NONE)) {
            wrong = one;
            *culprit = blocks[i];
        }
    }
    lock_release(&arena->lock);
    return wrong;
}

void alloc_settle(arena_t *arena)
{
    lock_acquire(&arena->lock);
    alloc_unlock(arena);
}

size_t alloc_usable_locked(arena_t *arena, const void *block, misuse_t *wrong)
{
    uint32_t entry = entry_locked(arena, block);
    uint32_t kind = entry ^ arena->tag;
    if (kind <= SLAB_CLASSES) {
        *wrong = slab_validate_locked(arena, block);
        return sizeclass_bytes[kind];
    }
    if (kind != KIND_CHUNKS && entry != 0) {
        *wrong = why_not(arena, entry);
        return 0;
    }
    if (arena->tiny != NULL && tiny_holds(arena, block)) {
        return tiny_usable_locked(arena, block, wrong);
    }
    *wrong = validate_chunk_locked(arena, block, entry);
    return *wrong == MISUSE_NONE ? carve_usable(block, chunk_header(chunk_of(block))) : 0;
}

size_t alloc_usable(arena_t *arena, const void *block)
{
    misuse_t wrong = MISUSE_NONE;
    uint32_t kind = pagemap_entry(block) ^ arena->tag;
    size_t usable;
    if (kind == KIND_CHUNKS &&
        is_cached(arena)) { /* the header of a block in use may be read without the lock */
        wrong = alloc_header_is_readable(block) ? carve_validate(block) : MISUSE_INTERIOR;
        usable = wrong == MISUSE_NONE ? carve_usable(block, chunk_header(chunk_of(block))) : 0;
    } else if (kind <= SLAB_CLASSES && is_cached(arena)) {
        usable = sizeclass_bytes[kind];
        wrong =
            (uintptr_t)block % GRANULE == slab_index(kind, block) * usable ? MISUSE_NONE : MISUSE_INTERIOR;
    } else if (kind == KIND_LARGE) {
        usable = large_usable(arena, block);
        wrong = usable == 0 ? MISUSE_INTERIOR : MISUSE_NONE;
    } else {
        lock_acquire(&arena->lock);
        usable = alloc_usable_locked(arena, block, &wrong);
        lock_release(&arena->lock);
    }
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        alloc_report(arena, block, wrong);
    }
    return usable;
}

/* What serves a block that grew: no class, but a class's size, so that not every few bytes more are a step. */
static want_t want_grown(const arena_t *arena, size_t request)
{
    want_t want = make_want(arena, request, arena->quantum);
    if (want.class > SLAB_CLASSES) {
        want.mark = (unsigned)(CHUNK_PLAIN + (want.chunk - CHUNK_HEADER - sizeclass_bytes[want.class]) / 8);
        want.class = 0;
    }
    return want;
}

/* The block's usable size is known to the caller and differs from what `request` would get. */
static void *resize_chunk(arena_t *arena, void *block, size_t request)
{
    if (alloc_class(arena, request) != 0 && !is_cached(arena)) {
        return NULL; /* a slab block is what the request gets */
    }
    bool grows = request > carve_usable(block, chunk_header(chunk_of(block)));
    want_t want = grows ? want_grown(arena, request) : make_want(arena, request, arena->quantum);
    lock_acquire(&arena->lock);
    forget_class_locked(arena, chunk_class(chunk_of(block)));
    bool done = carve_resize_locked(arena, chunk_of(block), want.chunk, want.mark);
    if (arena->sliced) {
        unsigned class = chunk_class(chunk_of(block));
        if (class <= SLAB_CLASSES) {
            arena->granules->slab_class[class].chunk_bytes += sizeclass_bytes[class];
        }
    }
    alloc_unlock(arena);
    return done ? block : NULL;
}

void *alloc_roomy(arena_t *arena, size_t request)
{
    if (!is_cached(arena) || request <= SLAB_MAX || request > CLASS_MAX) {
        return NULL;
    }
    want_t want = want_grown(arena, request);
    size_t room = max_size(2 * want.chunk, GRANULE / 2);
    chunk_t *chunk = NULL;
    for (int attempt = 0; attempt < 2 && chunk == NULL; attempt++) {
        if (attempt != 0 && !alloc_make_room(arena, room)) {
            break;
        }
        lock_acquire(&arena->lock);
        chunk = carve_take_roomy_locked(arena, want.chunk, room, want.mark);
        arena->totals.allocations += chunk != NULL;
        lock_release(&arena->lock);
    }
    return chunk == NULL ? NULL : chunk_block(chunk);
}

void *alloc_resize(arena_t *arena, void *block, size_t request, uint64_t *when)
{
    uint32_t kind = pagemap_entry(block) ^ arena->tag;
    if (kind == KIND_LARGE) {
        return request >= LARGE_MIN_BYTES / 2 ? large_realloc(arena, block, request, when) : NULL;
    }
    bool in_slab = kind <= SLAB_CLASSES || (arena->tiny != NULL && tiny_holds(arena, block));
    return !in_slab && request <= PTRDIFF_MAX - GRANULE ? resize_chunk(arena, block, request) : NULL;
}

size_t alloc_good_size(const arena_t *arena, size_t request)
{
    return plain_usable(arena, request);
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
        watch_new(arena, block, size, LOG_ALLOC, (arena->flags & ARENA_ZERO) != 0);
    }
    return block;
}

void alloc_public_free(arena_t *arena, void *block)
{
    if (UNLIKELY(arena == NULL)) {
        errno = block == NULL ? errno : EINVAL;
        return;
    }
    if (block != NULL) {
        check_alive(arena, block);
        if (UNLIKELY(watch_each_call(arena))) {
            watch_free(arena, block);
        }
        alloc_free(arena, block);
    }
}

/* Blocks of one class; those of a class without slabs one after the other from the bins. */
static size_t fill_locked(arena_t *arena, unsigned class, void **out, size_t count)
{
    if (alloc_wants_slab_locked(arena, class)) {
        return slab_take_locked(arena, class, out,
                                count); /* none: the arena grows rather than use chunks again */
    }
    want_t want = make_want(arena, sizeclass_bytes[class], arena->quantum);
    size_t got = 0;
    bool zero;
    while (got < count && (out[got] = take_chunk_locked(arena, &want, &zero)) != NULL) {
        got++;
    }
    return got;
}

size_t alloc_fill(arena_t *arena, unsigned class, void **out, size_t count, bool *settle)
{
    lock_acquire(&arena->lock);
    size_t got = fill_locked(arena, class, out, count);
    *settle |= arena->granules->clean_taken_bytes >= CLEAN_TAKEN_BYTES;
    lock_release(&arena->lock);
    return got;
}

void alloc_uncount(arena_t *arena)
{
    lock_acquire(&arena->lock);
    arena->totals.allocations--;
    lock_release(&arena->lock);
}

void alloc_tick(arena_t *arena)
{
    uint64_t now = os_now_ms();
    stock_decay(now);
    if (arena->purge_delay_ms == UINT32_MAX) {
        return;
    }
    lock_acquire(&arena->lock);
    bool due = now - arena->dirty_since_ms >= arena->purge_delay_ms;
    size_t dirty = arena->totals.dirty_bytes;
    arena->dirty_since_ms = due ? now : arena->dirty_since_ms;
    if (due && arena->totals.wide_chunk_bytes != 0) {
        carve_release_locked(arena);
        dirty = arena->totals.dirty_bytes;
    }
    bool purge = due && dirty != 0 && !arena->purge_failed;
    lock_release(&arena->lock);
    if (purge) {
        region_purge(arena, dirty / 4 < 4 * GRANULE ? 0 : dirty / 4); /* gone in a second or so */
    }
}
