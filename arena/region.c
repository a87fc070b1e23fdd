/* region.c: see region.h. How memory is given back is in regionback.c. */
#include "region.h"

#include "meta.h"
#include "os.h"
#include "run.h"
#include "source.h"
#include "stock.h"
#include "watch.h"

bool region_reserve(arena_t *arena, size_t bytes)
{
    if (arena->limit_bytes == 0) {
        return true;
    }
    lock_acquire(&arena->lock);
    size_t held = arena->totals.mapped_bytes + arena->granules->reserved_bytes;
    bool fits = bytes <= arena->limit_bytes - held;
    arena->granules->reserved_bytes += fits ? bytes : 0;
    lock_release(&arena->lock);
    return fits;
}

void region_unreserve(arena_t *arena, size_t bytes)
{
    if (arena->limit_bytes == 0) {
        return;
    }
    lock_acquire(&arena->lock);
    arena->granules->reserved_bytes -= bytes;
    lock_release(&arena->lock);
}

void region_count_locked(arena_t *arena, size_t bytes)
{
    totals_t *totals = &arena->totals;
    arena->granules->reserved_bytes -= arena->limit_bytes == 0 ? 0 : bytes;
    totals->mapped_bytes += bytes;
    totals->peak_mapped_bytes = max_size(totals->peak_mapped_bytes, totals->mapped_bytes);
}

region_t *region_highest_locked(const arena_t *arena)
{
    region_t *highest = NULL;
    for (region_t *region = arena->regions; region != NULL; region = region->next) {
        highest = region->in_map || region->raw_bytes != 0 ? highest : region;
    }
    return highest;
}

region_t *region_by_bounds_locked(const arena_t *arena, const void *address)
{
    for (region_t *region = arena->regions; region != NULL; region = region->next) {
        if (!region->in_map && contains(region->start, region->bytes, address)) {
            return region;
        }
    }
    return NULL;
}

void region_link(arena_t *arena, region_t *region)
{
    region_t **link = &arena->regions;
    region_t *previous = NULL;
    while (*link != NULL && (*link)->start < region->start) {
        previous = *link;
        link = &previous->next;
    }
    region->previous = previous;
    region->next = *link;
    if (region->next != NULL) {
        region->next->previous = region;
    }
    *link = region;
}

/* A region that the span continues, or NULL. */
static region_t *touching(arena_t *arena, const span_t *span)
{
    if (arena->source == ARENA_SOURCE_HOOKS) {
        return NULL;
    }
    for (region_t *region = arena->regions; region != NULL; region = region->next) {
        bool before = span->source == ARENA_SOURCE_MMAP && span->start + span->bytes == region->start;
        bool behind = region->start + region->bytes == span->start && span->pad == 0;
        if (region->source == span->source && region->in_map == span->in_map && (before || behind)) {
            return region;
        }
    }
    return NULL;
}

static region_t *new_region(arena_t *arena)
{
    return arena->first_region.start == NULL ? &arena->first_region : meta_calloc(sizeof(region_t));
}

void region_free(arena_t *arena, region_t *region)
{
    if (region == &arena->first_region) {
        region->start = NULL;
    } else {
        meta_free(region);
    }
}

/* Growth that gives back what was cut off is nothing new. */
static void count_fresh(granules_t *granules, size_t bytes)
{
    size_t back = min_size(granules->cut_bytes, bytes);
    granules->cut_bytes -= back;
    granules->fresh_bytes += bytes - back;
}

/* Makes a span part of the arena, and keeps the mutex. False, without it: no memory for its description, the span is
 * the caller's. */
static bool adopt_span_and_lock(arena_t *arena, const span_t *span)
{
    region_t *fresh = new_region(arena);
    if (fresh == NULL || (span->in_map && !pagemap_ensure(span->start, span->bytes))) {
        region_free(arena, fresh);
        return false;
    }
    if (span->in_map) {
        pagemap_claim(granule_of(span->start), span->bytes >> GRANULE_LOG2);
    }
    watch_span(arena, LOG_GROW, span->start, span->bytes);
    lock_acquire(&arena->lock);
    region_t *region = touching(arena, span);
    if (region != NULL) {
        region->start = region->start < span->start ? region->start : span->start;
        region_free(arena, fresh);
    } else {
        region = fresh;
        *region = (region_t){
            .start = span->start, .pad = span->pad, .source = span->source, .in_map = span->in_map};
        region->id = ++arena->last_region_id;
        region_link(arena, region);
        atomic_store_explicit(&arena->grown, true, memory_order_relaxed);
    }
    if (!span->in_map && span->source == ARENA_SOURCE_HOOKS) {
        atomic_store_explicit(&arena->granules->unaligned, true, memory_order_relaxed);
    }
    region->bytes += span->bytes;
    if (span->in_map) {
        count_fresh(arena->granules, span->kind != KIND_FREE_DIRTY ? span->bytes : 0);
        run_put_locked(arena, granule_of(span->start), (uint32_t)(span->bytes >> GRANULE_LOG2), region->id,
                       span->kind);
    } else {
        region->raw_bytes += span->bytes; /* chunks are a higher layer's */
        region->zero = span->kind == KIND_FREE_ZERO;
    }
    arena->totals.kernel_calls++;
    return true;
}

void region_keep(arena_t *arena, arena_source_t source, void *start, size_t bytes)
{
    bool in_map = is_aligned(start, GRANULE) && pagemap_entry(start) == 0 && /* as in span_from_hooks */
                  !(arena->paged && source == ARENA_SOURCE_SBRK);
    span_t span = {start, in_map ? align_down(bytes, GRANULE) : bytes, 0, source, KIND_FREE_DIRTY, in_map};
    bool kept = span.bytes != 0 && adopt_span_and_lock(arena, &span);
    if (!kept) {
        lock_acquire(&arena->lock);
    }
    arena->totals.stuck_bytes += bytes - (kept ? span.bytes : 0);
    lock_release(&arena->lock);
}

static bool grow_by_and_lock(arena_t *arena, size_t bytes)
{
    if (!region_reserve(arena, bytes)) {
        return false;
    }
    span_t span;
    if (!source_get(arena, bytes, &span)) {
        region_unreserve(arena, bytes);
        return false;
    }
    if (takes_warm(arena)) {
        stock_note_mapped(bytes);
    }
    if (adopt_span_and_lock(arena, &span)) {
        region_count_locked(arena, bytes);
        return true;
    }
    if (source_return(arena, span.source, span.start - span.pad, span.bytes + span.pad)) {
        region_unreserve(arena, bytes);
    } else {
        lock_acquire(&arena->lock);
        region_count_locked(arena, bytes);
        arena->totals.stuck_bytes += bytes;
        lock_release(&arena->lock);
    }
    return false;
}

/* By `want` bytes of a longer mapping, or one of `need` to `want` as it is. */
static bool grow_from_stock_and_lock(arena_t *arena, size_t need, size_t want)
{
    if (!takes_warm(arena)) {
        return false;
    }
    span_t span = {.source = ARENA_SOURCE_MMAP, .kind = KIND_FREE_DIRTY, .in_map = true};
    span.bytes = want;
    span.start = stock_cut(want);
    if (span.start == NULL) {
        span.start = stock_take(need, want, &span.bytes);
    }
    if (span.start == NULL) {
        return false;
    }
    bool reserved = region_reserve(arena, span.bytes);
    if (reserved && adopt_span_and_lock(arena, &span)) {
        region_count_locked(arena, span.bytes);
        return true;
    }
    if (reserved) {
        region_unreserve(arena, span.bytes);
    }
    size_t rest = span.bytes - stock_put(span.start, span.bytes);
    if (rest != 0) {
        os_unmap(span.start, rest);
    }
    return false;
}

/* A quarter of what it has: few calls, and little address space that a limit would miss. By pages: what it was told. */
static size_t next_region_bytes(arena_t *arena)
{
    if (arena->regions == NULL) {
        return arena->first_region_bytes;
    }
    if (arena->paged) {
        return align_up(arena->growth_bytes, source_grain(arena));
    }
    size_t least = arena->growth_bytes != 0 ? arena->growth_bytes : FIRST_REGION_BYTES;
    lock_acquire(&arena->lock);
    size_t quarter = arena->totals.mapped_bytes / 4;
    lock_release(&arena->lock);
    return align_up(max_size(least, min_size(quarter, REGION_MAX_BYTES)), GRANULE);
}

bool region_grow_and_lock(arena_t *arena, size_t need)
{
    if (arena->in_buffer || need > PTRDIFF_MAX - 2 * GRANULE) {
        return false;
    }
    need = align_up(need + (arena->source == ARENA_SOURCE_HOOKS ? 16 : 0), /* may come unaligned */
                    source_grain(arena));
    size_t want = max_size(need, next_region_bytes(arena));
    return grow_from_stock_and_lock(arena, need, want) || grow_by_and_lock(arena, want) ||
           (want > need && grow_by_and_lock(arena, need));
}

bool region_grow_warm_and_lock(arena_t *arena, size_t need)
{
    need = align_up(need, GRANULE);
    return grow_from_stock_and_lock(arena, need, need);
}

void region_add_buffer(arena_t *arena, char *start, size_t bytes)
{
    arena->first_region = (region_t){.start = start, .bytes = bytes, .id = 1};
    arena->regions = &arena->first_region;
    arena->totals.mapped_bytes = arena->totals.peak_mapped_bytes = bytes;
}
