/*
 * regionback.c: regions give memory back: a step of a purge or a trim takes free granules out of the bins, marks
 * them BUSY, and then lets go of the mutex while the kernel cuts them off or drops their contents. And the end of
 * all of an arena's regions, at once. The other half of region.h.
 */
#include "list.h"
#include "meta.h"
#include "os.h"
#include "region.h"
#include "run.h"
#include "source.h"
#include "stock.h"
#include "watch.h"

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
        LIST_UNLINK(arena->regions, region, next, previous);
    }
}

bool region_cut(arena_t *arena, region_t *region, char *start, size_t bytes)
{
    granule_t first = granule_of(start);
    uint32_t length = region->in_map ? (uint32_t)(bytes >> GRANULE_LOG2) : 0;
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
        size_t fresh = region->in_map ? min_size(arena->granules->fresh_bytes, bytes) : bytes;
        arena->totals.mapped_bytes -= bytes;
        arena->totals.purged_bytes += bytes;
        arena->granules->fresh_bytes -= region->in_map ? fresh : 0;
        arena->granules->cut_bytes += bytes - fresh;
    } else {
        if (whole) {
            region->start = start;
            region_link(arena, region);
        } else if (start < region->start) {
            region->start = start;
        }
        region->bytes += bytes;
        pagemap_set(first, length, arena->tag | KIND_BUSY);
        region->raw_bytes = region->in_map ? 0 : bytes;
        region->zero = false;
        arena->purge_failed |= !region->in_map;
    }
    lock_release(&arena->lock);
    if (gone) {
        watch_span(arena, LOG_TRIM, start, bytes);
    }
    if (gone && whole) {
        region_free(arena, region);
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
    size_t gone = 0;
    for (uint32_t i = 0; i < taken; i++) {
        dirty[i] = run_kind(arena, first + i) == KIND_FREE_DIRTY;
        gone += dirty[i] ? GRANULE : 0;
    }
    run_count_dirty_locked(arena, gone);
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
    if (cuttable && region_cut(arena, region, start, bytes)) {
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
    while (!arena->in_buffer && !failed && arena->totals.dirty_bytes > dirty_target) {
        granule_t run = run_find_long_locked(&arena->granules->dirty_runs);
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
    for (region_t *region = arena->regions; region != NULL; region = next) {
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
        if (kind <= SLAB_CLASSES && pagemap_tag(next)->place == 0) {
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
        region_free(arena, last);
        watch_span(arena, LOG_TRIM, region.start, region.bytes);
        if (region.source == ARENA_SOURCE_MMAP && (arena->flags & ARENA_HUGE_PAGES) == 0) {
            region.bytes -= stock_put(region.start, region.bytes);
        }
        if (region.bytes != 0 &&
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
