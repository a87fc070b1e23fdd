/* region.c: see region.h. */
#include "region.h"

#include "meta.h"
#include "os.h"
#include "run.h"
#include "source.h"
#include "stock.h"
#include "watch.h"

bool region_reserve(arena_t *arena, size_t bytes)
{
    lock_acquire(&arena->lock);
    totals_t *totals = &arena->totals;
    size_t room = (arena->limit_bytes == 0 ? SIZE_MAX : arena->limit_bytes) - totals->mapped_bytes;
    bool fits = bytes <= room;
    totals->mapped_bytes += fits ? bytes : 0;
    totals->peak_mapped_bytes = max_size(totals->peak_mapped_bytes, totals->mapped_bytes);
    lock_release(&arena->lock);
    return fits;
}

void region_unreserve(arena_t *arena, size_t bytes)
{
    lock_acquire(&arena->lock);
    arena->totals.mapped_bytes -= bytes;
    lock_release(&arena->lock);
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

static void link_region(arena_t *arena, region_t *region)
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

static void unlink_region(arena_t *arena, region_t *region)
{
    if (region->next != NULL) {
        region->next->previous = region->previous;
    }
    if (region->previous != NULL) {
        region->previous->next = region->next;
    } else {
        arena->regions = region->next;
    }
}

/* A region that the span continues, or NULL. */
static region_t *touching(arena_t *arena, const span_t *span)
{
    if (arena->source == ARENA_SOURCE_HOOKS || !span->in_map) {
        return NULL;
    }
    for (region_t *region = arena->regions; region != NULL; region = region->next) {
        bool before = span->source == ARENA_SOURCE_MMAP && span->start + span->bytes == region->start;
        bool behind = region->start + region->bytes == span->start && span->pad == 0;
        if (region->source == span->source && (before || behind)) {
            return region;
        }
    }
    return NULL;
}

/* Caller holds grow, under which descriptors come and go. */
static region_t *new_region(arena_t *arena)
{
    return arena->first_region.start == NULL ? &arena->first_region : meta_calloc(sizeof(region_t));
}

static void free_region(arena_t *arena, region_t *region)
{
    if (region == &arena->first_region) {
        region->start = NULL;
    } else {
        meta_free(region);
    }
}

/* Makes a span part of the arena. False: no memory for its description, the span is the caller's. */
static bool adopt_span(arena_t *arena, const span_t *span)
{
    region_t *fresh = new_region(arena);
    if (fresh == NULL || (span->in_map && !pagemap_ensure(span->start, span->bytes))) {
        free_region(arena, fresh);
        return false;
    }
    if (span->in_map) {
        pagemap_claim(granule_of(span->start), span->bytes >> GRANULE_LOG2);
    }
    lock_acquire(&arena->lock);
    region_t *region = touching(arena, span);
    if (region != NULL) {
        region->start = region->start < span->start ? region->start : span->start;
        region->bytes += span->bytes;
    } else {
        region = fresh;
        fresh = NULL;
        *region = (region_t){.start = span->start,
                             .bytes = span->bytes,
                             .pad = span->pad,
                             .source = span->source,
                             .in_map = span->in_map};
        region->id = ++arena->last_region_id;
        link_region(arena, region);
        atomic_store_explicit(&arena->grown, true, memory_order_relaxed);
    }
    if (span->in_map) {
        run_put_locked(arena, granule_of(span->start), (uint32_t)(span->bytes >> GRANULE_LOG2), region->id,
                       span->kind);
    } else {
        region->raw = true; /* chunks are a higher layer's */
        region->zero = span->kind == KIND_FREE_ZERO;
    }
    arena->totals.kernel_calls++;
    lock_release(&arena->lock);
    watch_span(arena, LOG_GROW, span->start, span->bytes);
    free_region(arena, fresh);
    return true;
}

void region_keep(arena_t *arena, arena_source_t source, void *start, size_t bytes)
{
    bool in_map = is_aligned(start, GRANULE);
    span_t span = {start, in_map ? align_down(bytes, GRANULE) : bytes, 0, source, KIND_FREE_DIRTY, in_map};
    bool kept = span.bytes != 0 && adopt_span(arena, &span);
    lock_acquire(&arena->lock);
    arena->totals.stuck_bytes += bytes - (kept ? span.bytes : 0);
    lock_release(&arena->lock);
}

static bool grow_by(arena_t *arena, size_t bytes)
{
    if (!region_reserve(arena, bytes)) {
        return false;
    }
    span_t span;
    if (!source_get(arena, bytes, &span)) {
        region_unreserve(arena, bytes);
        return false;
    }
    if (!adopt_span(arena, &span)) {
        source_return(arena, span.source, span.start - span.pad, span.bytes + span.pad);
        region_unreserve(arena, bytes);
        return false;
    }
    return true;
}

static bool grow_from_stock(arena_t *arena, size_t need, size_t want)
{
    if (arena->source != ARENA_SOURCE_MMAP || (arena->flags & (ARENA_PREFAULT | ARENA_HUGE_PAGES)) != 0) {
        return false;
    }
    span_t span = {.source = ARENA_SOURCE_MMAP, .kind = KIND_FREE_DIRTY, .in_map = true};
    span.start = stock_take(need, max_size(4 * want, need), &span.bytes);
    if (span.start == NULL) {
        return false;
    }
    bool done = region_reserve(arena, span.bytes);
    if (done && !adopt_span(arena, &span)) {
        region_unreserve(arena, span.bytes);
        done = false;
    }
    if (!done && !stock_put(span.start, span.bytes)) {
        os_unmap(span.start, span.bytes);
    }
    return done;
}

/* A quarter of what it has: few calls, and little address space that a limit would miss. */
static size_t next_region_bytes(arena_t *arena)
{
    if (arena->regions == NULL) {
        return arena->first_region_bytes;
    }
    size_t least = max_size(arena->growth_bytes, arena->growth_bytes == 0 ? FIRST_REGION_BYTES : 0);
    lock_acquire(&arena->lock);
    size_t quarter = arena->totals.mapped_bytes / 4;
    lock_release(&arena->lock);
    return align_up(max_size(least, min_size(quarter, REGION_MAX_BYTES)), GRANULE);
}

bool region_grow_unlocked(arena_t *arena, size_t need)
{
    if (arena->source == ARENA_SOURCE_BUFFER || need > PTRDIFF_MAX - 2 * GRANULE) {
        return false;
    }
    need = align_up(need + (arena->source == ARENA_SOURCE_HOOKS ? 16 : 0), GRANULE); /* may come unaligned */
    size_t want = max_size(need, next_region_bytes(arena));
    return grow_from_stock(arena, need, want) || grow_by(arena, want) ||
           (want > need && grow_by(arena, need));
}

void region_add_buffer(arena_t *arena, char *start, size_t bytes)
{
    arena->first_region = (region_t){.start = start, .bytes = bytes, .id = 1};
    arena->regions = &arena->first_region;
    arena->totals.mapped_bytes = arena->totals.peak_mapped_bytes = bytes;
}

static region_t *region_of_granule(const arena_t *arena, granule_t granule)
{
    const char *address = granule_start(granule);
    region_t *region = arena->regions;
    while (region != NULL && !contains(region->start, region->bytes, address)) {
        region = region->next;
    }
    return region;
}

/* Whether a free run may be given back as address space, and not only its contents. */
static bool is_cuttable(const region_t *region, const char *start, size_t bytes)
{
    bool tail = start + bytes == region->start + region->bytes;
    if (region->source == ARENA_SOURCE_SBRK) {
        return tail && os_break() == start + bytes;
    }
    return tail || (start == region->start && region->source == ARENA_SOURCE_MMAP);
}

/* Takes [start, start + bytes), at an end, off its region; unlinks an empty one. Caller holds both locks. */
static void shorten(arena_t *arena, region_t *region, const char *start, size_t bytes)
{
    region->start += start == region->start && bytes < region->bytes ? bytes : 0;
    region->bytes -= bytes;
    if (region->bytes == 0) {
        unlink_region(arena, region);
    }
}

/* The run [start, start + bytes) is out of the bins; its entries say BUSY. Caller holds grow alone. */
static bool cut(arena_t *arena, region_t *region, char *start, size_t bytes)
{
    granule_t first = granule_of(start);
    uint32_t length = (uint32_t)(bytes >> GRANULE_LOG2);
    bool whole = bytes == region->bytes;
    size_t pad = whole ? region->pad : 0;
    lock_acquire(&arena->lock);
    pagemap_set(first, length, 0); /* before the addresses may become another arena's */
    shorten(arena, region, start, bytes);
    lock_release(&arena->lock);
    bool gone = source_return(arena, region->source, start - pad, bytes + pad);
    lock_acquire(&arena->lock);
    arena->totals.kernel_calls++;
    if (gone) {
        arena->totals.mapped_bytes -= bytes;
        arena->totals.purged_bytes += bytes;
    } else {
        if (whole) {
            region->start = start;
            link_region(arena, region);
        } else if (start < region->start) {
            region->start = start;
        }
        region->bytes += bytes;
        pagemap_set(first, length, arena->tag | KIND_BUSY);
    }
    lock_release(&arena->lock);
    if (gone) {
        watch_span(arena, LOG_TRIM, start, bytes);
    }
    if (gone && whole) {
        free_region(arena, region);
    }
    return gone;
}

/* Drops the contents of the dirty granules of a run that is out of the bins; returns the bytes. */
static size_t drop_dirty(arena_t *arena, granule_t first, uint32_t length, const bool *dirty, bool *failed)
{
    size_t dropped = 0;
    for (uint32_t i = 0; i < length;) {
        uint32_t from = i;
        while (i < length && dirty[i]) {
            i++;
        }
        if (i > from) {
            size_t bytes = (size_t)(i - from) << GRANULE_LOG2;
            bool done = source_drop(arena, granule_start(first + from), bytes);
            dropped += done ? bytes : 0;
            *failed |= !done;
        }
        i += i == from;
    }
    return dropped;
}

enum { BATCH = 1024 }; /* granules that one step works on: 64 MiB */

/* Which granules one step takes: up to `most` of the free run at `run`, behind the first `skip`. */
typedef struct {
    granule_t run;
    uint32_t skip, most;
} batch_t;

/*
 * Takes them out of the bins, marked BUSY, and notes which were dirty. *count: how many; returns the first.
 */
static granule_t take_batch(arena_t *arena, batch_t batch, uint32_t *count, bool *dirty)
{
    uint32_t whole = run_remove_locked(arena, batch.run);
    uint32_t region = pagemap_tag(batch.run)->region;
    uint32_t taken = whole - batch.skip < batch.most ? whole - batch.skip : batch.most;
    uint32_t rest = whole - batch.skip - taken;
    granule_t first = batch.run + batch.skip;
    if (batch.skip != 0) { /* [skipped][taken][rest] */
        run_restore_locked(arena, batch.run, batch.skip, region);
    }
    if (rest != 0) {
        run_restore_locked(arena, first + taken, rest, region);
    }
    for (uint32_t i = 0; i < taken; i++) {
        dirty[i] = run_kind(arena, first + i) == KIND_FREE_DIRTY;
        arena->totals.dirty_bytes -= dirty[i] ? GRANULE : 0;
    }
    pagemap_set(first, taken, arena->tag | KIND_BUSY);
    run_set_tags(first, taken, region & ~RUN_DIRTY);
    *count = taken;
    return first;
}

/* One step; caller holds both locks and gets only grow back; returns the bytes. */
static size_t give_back(arena_t *arena, batch_t batch, bool *failed)
{
    bool dirty[BATCH];
    uint32_t length;
    granule_t first = take_batch(arena, batch, &length, dirty);
    uint32_t id = pagemap_tag(first)->region;
    size_t bytes = (size_t)length << GRANULE_LOG2;
    char *start = granule_start(first);
    region_t *region = region_of_granule(arena, first);
    bool cuttable = is_cuttable(region, start, bytes);
    lock_release(&arena->lock);
    if (cuttable && cut(arena, region, start, bytes)) {
        return bytes;
    }
    bool drop_failed = false;
    size_t dropped = drop_dirty(arena, first, length, dirty, &drop_failed);
    *failed |= drop_failed || (dropped == 0 && cuttable);
    uint32_t purged = arena->source == ARENA_SOURCE_HOOKS ? KIND_FREE_PURGED : KIND_FREE_ZERO;
    lock_acquire(&arena->lock);
    run_put_locked(arena, first, length, id, drop_failed ? KIND_FREE_DIRTY : purged);
    arena->totals.purged_bytes += dropped;
    arena->totals.kernel_calls += dropped != 0;
    lock_release(&arena->lock);
    return dropped;
}

/*
 * What a purge does next with a free run of the dirty bins: cut its end off if that is its region's, else
 * drop from its first dirty granule on. .most 0: it has none; it went to the clean bins.
 */
static batch_t next_batch(arena_t *arena, granule_t run)
{
    uint32_t length = pagemap_tag(run)->length;
    const region_t *region = region_of_granule(arena, run);
    if (is_cuttable(region, granule_start(run + length - 1), GRANULE)) {
        return (batch_t){run, length > BATCH ? length - BATCH : 0, BATCH};
    }
    for (uint32_t i = 0; i < length; i++) {
        if (run_kind(arena, run + i) == KIND_FREE_DIRTY) {
            return (batch_t){run, i, BATCH};
        }
    }
    uint32_t tag_region = pagemap_tag(run)->region;
    run_remove_locked(arena, run);
    run_restore_locked(arena, run, length, tag_region & ~RUN_DIRTY);
    return (batch_t){.most = 0};
}

size_t region_purge(arena_t *arena, size_t dirty_target)
{
    size_t given = 0;
    bool failed = false;
    lock_acquire(&arena->grow);
    lock_acquire(&arena->lock);
    while (arena->sliced && !failed && arena->totals.dirty_bytes > dirty_target) {
        granule_t run = run_find_long_locked(arena, false);
        if (run == 0) {
            break;
        }
        batch_t batch = next_batch(arena, run);
        if (batch.most != 0) {
            given += give_back(arena, batch, &failed);
            lock_acquire(&arena->lock);
        }
    }
    arena->purge_failed = failed;
    lock_release(&arena->lock);
    lock_release(&arena->grow);
    return given;
}

/* The free granules at an end of the region that can be cut off; .most 0: none. */
static batch_t free_end(const arena_t *arena, const region_t *region, size_t surplus)
{
    uint32_t most = (uint32_t)min_size((surplus + GRANULE - 1) >> GRANULE_LOG2, BATCH);
    granule_t first = granule_of(region->start);
    granule_t last = granule_of(region->start + region->bytes - 1);
    if (run_kind_is_free(run_kind(arena, last)) && is_cuttable(region, granule_start(last), GRANULE)) {
        uint32_t length = pagemap_tag(last)->length;
        return (batch_t){last + 1 - length, length > most ? length - most : 0, most};
    }
    if (run_kind_is_free(run_kind(arena, first)) && is_cuttable(region, region->start, GRANULE)) {
        return (batch_t){first, 0, most};
    }
    return (batch_t){.most = 0};
}

static size_t trim_region(arena_t *arena, region_t *region, size_t keep_bytes)
{
    size_t given = 0;
    bool failed = false;
    while (!failed && region->in_map && arena->totals.mapped_bytes > keep_bytes) {
        batch_t batch = free_end(arena, region, arena->totals.mapped_bytes - keep_bytes);
        size_t before_bytes = region->bytes;
        if (batch.most == 0) {
            break;
        }
        size_t step = give_back(arena, batch, &failed);
        given += step;
        lock_acquire(&arena->lock);
        if (step >= before_bytes) {
            break; /* the region is gone */
        }
    }
    return given;
}

size_t region_trim(arena_t *arena, size_t keep_bytes)
{
    size_t given = 0;
    lock_acquire(&arena->grow); /* regions come and go under it only, so `next` stays valid */
    lock_acquire(&arena->lock);
    region_t *next = NULL;
    for (region_t *region = arena->regions; arena->sliced && region != NULL; region = next) {
        next = region->next;
        given += trim_region(arena, region, keep_bytes);
    }
    lock_release(&arena->lock);
    lock_release(&arena->grow);
    return given;
}

/* Forgets what is in a region of the map: descriptors go, entries say "not ours". */
static void clear_region(region_t *region)
{
    granule_t granule = granule_of(region->start);
    granule_t end = granule + (granule_t)(region->bytes >> GRANULE_LOG2);
    for (granule_t next = granule; next < end;) {
        uint32_t kind = pagemap_entry_of(next) & 0xff;
        if (kind <= SLAB_CLASSES) {
            meta_free(pagemap_tag(next)->descriptor);
        }
        next += run_kind_is_free(kind) ? pagemap_tag(next)->length : 1;
    }
    pagemap_set(granule, end - granule, 0);
}

/* What the source refuses: the arena's again if it lives on, purged at least if not. */
static void take_refused(arena_t *arena, const region_t *region, bool lives_on)
{
    source_drop(arena, region->start, region->bytes);
    if (lives_on) {
        lock_acquire(&arena->lock);
        arena->totals.mapped_bytes += region->bytes;
        lock_release(&arena->lock);
        region_keep(arena, region->source, region->start, region->bytes);
    }
}

/* From the last address down, so that the break can come back. */
void region_release(arena_t *arena, region_t *last, bool lives_on)
{
    for (region_t *previous; last != NULL; last = previous) {
        previous = last->previous;
        region_t region = *last;
        free_region(arena, last);
        watch_span(arena, LOG_TRIM, region.start, region.bytes);
        bool stocked = region.source == ARENA_SOURCE_MMAP && (arena->flags & ARENA_HUGE_PAGES) == 0 &&
                       stock_put(region.start, region.bytes);
        if (!stocked &&
            !source_return(arena, region.source, region.start - region.pad, region.bytes + region.pad)) {
            take_refused(arena, &region, lives_on);
        }
    }
}

region_t *region_detach_all_locked(arena_t *arena, bool keep_first)
{
    region_t *last = NULL;
    region_t *first = arena->regions;
    keep_first &= first != NULL && first->in_map && first->bytes <= 2 * arena->first_region_bytes;
    for (region_t *region = first; region != NULL; region = region->next) {
        if (region->in_map) {
            clear_region(region);
        }
        if (!keep_first || region != first) {
            arena->totals.mapped_bytes -= region->bytes;
            last = region;
        }
    }
    if (keep_first) {
        if (first->next != NULL) {
            first->next->previous = NULL;
        }
        first->next = NULL;
    }
    arena->regions = keep_first ? first : NULL;
    atomic_store_explicit(&arena->grown, keep_first, memory_order_relaxed);
    return last;
}

void region_reuse_kept_locked(arena_t *arena)
{
    region_t *region = arena->regions;
    if (region != NULL) {
        uint32_t length = (uint32_t)(region->bytes >> GRANULE_LOG2);
        run_put_locked(arena, granule_of(region->start), length, region->id, KIND_FREE_DIRTY);
    }
}
