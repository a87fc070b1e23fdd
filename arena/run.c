/* run.c: free runs: their bins, splitting and merging. */
#include "run.h"

#include "check.h"

enum { PROBES = 16 };

static unsigned bin_of(uint32_t length)
{
    return binmap_index(length, RUN_STEPS_LOG2, RUN_LEVELS);
}

static run_bins_t *bins_for(arena_t *arena, bool dirty)
{
    return dirty ? &arena->granules->dirty_runs : &arena->granules->clean_runs;
}

static void insert(run_bins_t *bins, granule_t first, uint32_t length)
{
    unsigned bin = bin_of(length);
    run_tag_t *tag = pagemap_tag(first);
    tag->previous = 0;
    tag->next = bins->heads[bin];
    if (tag->next != 0) {
        pagemap_tag(tag->next)->previous = first;
    }
    bins->heads[bin] = first;
    binmap_set(&bins->used, bin, RUN_STEPS_LOG2);
}

static void remove_from(run_bins_t *bins, granule_t first, uint32_t length)
{
    unsigned bin = bin_of(length);
    const run_tag_t *tag = pagemap_tag(first);
    if (tag->next != 0) {
        pagemap_tag(tag->next)->previous = tag->previous;
    }
    if (tag->previous != 0) {
        pagemap_tag(tag->previous)->next = tag->next;
        return;
    }
    bins->heads[bin] = tag->next;
    if (tag->next == 0) {
        binmap_clear(&bins->used, bin, RUN_STEPS_LOG2);
    }
}

void run_set_tags(granule_t first, uint32_t length, uint32_t region)
{
    run_tag_t *head = pagemap_tag(first);
    run_tag_t *tail = pagemap_tag(first + length - 1);
    head->length = tail->length = length;
    head->region = tail->region = region;
}

static void insert_free(arena_t *arena, granule_t first, uint32_t length, uint32_t region, bool dirty)
{
    run_set_tags(first, length, region | (dirty ? RUN_DIRTY : 0));
    insert(bins_for(arena, dirty), first, length);
}

uint32_t run_remove_locked(arena_t *arena, granule_t first)
{
    const run_tag_t *tag = pagemap_tag(first);
    remove_from(bins_for(arena, (tag->region & RUN_DIRTY) != 0), first, tag->length);
    arena->totals.free_run_bytes -= (size_t)tag->length << GRANULE_LOG2;
    return tag->length;
}

granule_t run_put_locked(arena_t *arena, granule_t first, uint32_t length, uint32_t region, uint32_t kind)
{
    check_debug(lock_is_held(&arena->lock));
    bool dirty = kind == KIND_FREE_DIRTY;
    pagemap_set(first, length, arena->tag | kind);
    arena->totals.dirty_bytes += dirty ? (size_t)length << GRANULE_LOG2 : 0;
    if (run_is_free_of_region(arena, first - 1, region)) { /* [before][put] -> [merged] */
        granule_t head = first - pagemap_tag(first - 1)->length;
        dirty |= (pagemap_tag(head)->region & RUN_DIRTY) != 0;
        length += run_remove_locked(arena, head);
        first = head;
    }
    if (run_is_free_of_region(arena, first + length, region)) { /* [merged][behind] -> [merged] */
        dirty |= (pagemap_tag(first + length)->region & RUN_DIRTY) != 0;
        length += run_remove_locked(arena, first + length);
    }
    insert_free(arena, first, length, region, dirty);
    arena->totals.free_run_bytes += (size_t)length << GRANULE_LOG2;
    return first;
}

void run_count_dirty_locked(arena_t *arena, size_t gone)
{
    arena->totals.dirty_bytes -= gone;
    arena->granules->idle_bytes = min_size(arena->granules->idle_bytes, arena->totals.dirty_bytes);
}

static void count_clean(granules_t *granules, size_t bytes)
{
    size_t fresh = min_size(granules->fresh_bytes, bytes);
    granules->fresh_bytes -= fresh;
    granules->retaken_bytes += bytes - fresh;
    granules->clean_taken_bytes += bytes;
}

/* Marks granules that leave the free runs. True: all read as zero. */
static bool mark_taken(arena_t *arena, granule_t first, uint32_t length, uint32_t kind)
{
    bool zero = true;
    size_t dirty = 0;
    for (uint32_t i = 0; i < length; i++) {
        uint32_t was = run_kind(arena, first + i);
        zero &= was == KIND_FREE_ZERO;
        dirty += was == KIND_FREE_DIRTY ? GRANULE : 0;
    }
    run_count_dirty_locked(arena, dirty);
    count_clean(arena->granules, ((size_t)length << GRANULE_LOG2) - dirty);
    if (arena->totals.dirty_bytes < CLEAN_TAKEN_BYTES) {
        arena->granules->clean_taken_bytes = 0;
    }
    granules_t *granules = arena->granules;
    granules->most_in_use = max_size(granules->most_in_use, run_in_use_locked(arena));
    pagemap_set(first, length, arena->tag | kind);
    return zero;
}

void run_restore_locked(arena_t *arena, granule_t first, uint32_t length, uint32_t region)
{
    insert_free(arena, first, length, region & ~RUN_DIRTY, (region & RUN_DIRTY) != 0);
    arena->totals.free_run_bytes += (size_t)length << GRANULE_LOG2;
}

static void take_front(arena_t *arena, granule_t first, uint32_t length, uint32_t kind, bool *zero)
{
    uint32_t region = pagemap_tag(first)->region;
    uint32_t whole = run_remove_locked(arena, first);
    if (whole > length) { /* [taken][rest] */
        run_restore_locked(arena, first + length, whole - length, region);
    }
    *zero = mark_taken(arena, first, length, kind);
    run_set_tags(first, length, region & ~RUN_DIRTY);
}

/* The shortest of a list, among its first PROBES, that has at least `length`; or the first behind these. */
static granule_t shortest(granule_t run, uint32_t length)
{
    granule_t best = 0;
    for (unsigned probes = PROBES; run != 0 && (probes != 0 || best == 0); run = pagemap_tag(run)->next) {
        uint32_t has = pagemap_tag(run)->length;
        best = has >= length && (best == 0 || has < pagemap_tag(best)->length) ? run : best;
        probes -= probes != 0;
    }
    return best;
}

/* A run of at least `length`: of its own bin, or the next. */
static granule_t find(const run_bins_t *bins, uint32_t length)
{
    unsigned bin = bin_of(length);
    granule_t own = shortest(bins->heads[bin], length);
    unsigned higher = own != 0 ? BINMAP_NONE : binmap_next(&bins->used, bin + 1, RUN_STEPS_LOG2);
    return higher != BINMAP_NONE ? shortest(bins->heads[higher], length) : own;
}

granule_t run_find_locked(arena_t *arena, uint32_t length)
{
    granule_t first = find(bins_for(arena, true), length);
    return first != 0 ? first : find(bins_for(arena, false), length);
}

granule_t run_take_locked(arena_t *arena, uint32_t length, uint32_t kind, bool *zero)
{
    check_debug(lock_is_held(&arena->lock));
    granule_t first = run_find_locked(arena, length);
    if (first != 0) {
        take_front(arena, first, length, kind, zero);
    }
    return first;
}

bool run_take_at_locked(arena_t *arena, granule_t first, uint32_t length, uint32_t kind, bool *zero)
{
    if (!run_kind_is_free(run_kind(arena, first)) || pagemap_tag(first)->length < length ||
        run_kind_is_free(run_kind(arena, first - 1))) {
        return false;
    }
    take_front(arena, first, length, kind, zero);
    return true;
}

granule_t run_find_long_locked(const run_bins_t *bins)
{
    unsigned last = binmap_last(&bins->used, RUN_STEPS_LOG2);
    return last == BINMAP_NONE ? 0 : bins->heads[last];
}
