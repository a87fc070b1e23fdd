/* rangebin.c: see rangebin.h. */
#include "rangebin.h"

#include "check.h"
#include "rangemap.h"

enum { LAST_BIN = RANGE_BINS - 1, PROBES = 8 };

unsigned rangebin_index(uint64_t count)
{
    return binmap_index(count, RANGE_STEPS_LOG2, RANGE_BIN_LEVELS);
}

static void bin_add(range_bins_t *bins, range_run_t *run, bool last)
{
    unsigned bin = rangebin_index(run->count);
    range_run_t *head = bins->heads[bin];
    if (head == NULL) {
        run->next = run->previous = bins->heads[bin] = run;
        binmap_set(&bins->used, bin, RANGE_STEPS_LOG2);
        return;
    }
    run->next = head;
    run->previous = head->previous;
    head->previous->next = run;
    head->previous = run;
    if (!last) {
        bins->heads[bin] = run;
    }
}

static void bin_remove(range_bins_t *bins, range_run_t *run)
{
    unsigned bin = rangebin_index(run->count);
    if (run->next != run) {
        run->next->previous = run->previous;
        run->previous->next = run->next;
        bins->heads[bin] = bins->heads[bin] == run ? run->next : bins->heads[bin];
        return;
    }
    bins->heads[bin] = NULL;
    binmap_clear(&bins->used, bin, RANGE_STEPS_LOG2);
}

void rangebin_insert_locked(arena_range_t *range, range_run_t *run, bool waits)
{
    bin_add(&range->bins, run, (range->flags & ARENA_RANGE_FIFO) != 0);
    rangemap_add_run(range, run);
    run->wait_next = NULL;
    if (waits) {
        range_run_t *ring = &range->waiting;
        run->wait_next = ring->wait_next;
        run->wait_previous = ring;
        ring->wait_next->wait_previous = run;
        ring->wait_next = run;
        range->waiting_runs++;
    }
    range->totals.free_runs++;
}

void rangebin_remove_locked(arena_range_t *range, range_run_t *run)
{
    bin_remove(&range->bins, run);
    rangemap_remove_run(range, run);
    if (run->wait_next != NULL) {
        run->wait_next->wait_previous = run->wait_previous;
        run->wait_previous->wait_next = run->wait_next;
        run->wait_next = NULL;
        range->waiting_runs--;
    }
    range->totals.free_runs--;
}

void rangebin_move_locked(arena_range_t *range, range_run_t *from, range_run_t *to)
{
    range_run_t **head = &range->bins.heads[rangebin_index(from->count)];
    *head = *head == from ? to : *head;
    if (from->next == from) {
        to->next = to->previous = to;
    } else {
        to->next->previous = to->previous->next = to;
    }
    if (to->wait_next != NULL) {
        to->wait_next->wait_previous = to->wait_previous->wait_next = to;
    }
    rangemap_move_run(range, from, to);
}

/* Whether a run has room; *offset: where. */
static bool fits(const arena_range_t *range, const range_run_t *run, range_want_t want, uint64_t *offset)
{
    *offset = range_align(range, run->start, want.alignment) - run->start;
    return run->count >= want.count && run->count - want.count >= *offset;
}

/* The first of a bin that has room, of at most `probes`. */
static range_run_t *probe(const arena_range_t *range, unsigned bin, range_want_t want, unsigned probes,
                          uint64_t *offset)
{
    range_run_t *head = range->bins.heads[bin], *run = head;
    for (; run != NULL && probes > 0; probes--) {
        if (fits(range, run, want, offset)) {
            return run;
        }
        run = run->next == head ? NULL : run->next;
    }
    return NULL;
}

range_run_t *rangebin_find_own_locked(arena_range_t *range, range_want_t want, uint64_t *offset)
{
    return probe(range, rangebin_index(want.count), want, PROBES, offset);
}

static bool is_lower(const arena_range_t *range, const range_run_t *run, const range_run_t *best)
{
    (void)range;
    return run->start < best->start;
}

static bool is_smaller(const arena_range_t *range, const range_run_t *run, const range_run_t *best)
{
    return run->count < best->count || (run->count == best->count && is_lower(range, run, best));
}

static bool is_larger(const arena_range_t *range, const range_run_t *run, const range_run_t *best)
{
    return run->count > best->count || (run->count == best->count && is_lower(range, run, best));
}

/* Lowest of those that reach beyond the rover, else lowest. */
static bool is_next(const arena_range_t *range, const range_run_t *run, const range_run_t *best)
{
    bool behind = run->start + run->count > range->rover;
    bool best_behind = best->start + best->count > range->rover;
    return behind == best_behind ? run->start < best->start : behind;
}

typedef bool better_t(const arena_range_t *range, const range_run_t *run, const range_run_t *best);

/* The best of all that have room. */
static range_run_t *search(const arena_range_t *range, range_want_t want, uint64_t *offset, better_t *better)
{
    range_run_t *best = NULL;
    const range_bins_t *bins = &range->bins;
    for (unsigned bin = binmap_next(&bins->used, rangebin_index(want.count), RANGE_STEPS_LOG2);
         bin != BINMAP_NONE; bin = binmap_next(&bins->used, bin + 1, RANGE_STEPS_LOG2)) {
        if (best != NULL && better == is_smaller) {
            break; /* higher bins have none smaller */
        }
        range_run_t *run = bins->heads[bin];
        do {
            uint64_t at;
            if (fits(range, run, want, &at) && (best == NULL || better(range, run, best))) {
                best = run;
                *offset = at;
            }
            run = run->next;
        } while (run != bins->heads[bin]);
    }
    return best;
}

/* The head of its own bin, else any run of a higher bin, else some more of its own, else whatever there is. */
static range_run_t *find_good(arena_range_t *range, range_want_t want, uint64_t *offset)
{
    unsigned own = rangebin_index(want.count);
    range_run_t *run = probe(range, own, want, 1, offset);
    uint64_t padded = want.count + (want.alignment > 1 ? want.alignment - 1 : 0);
    if (run == NULL && padded >= want.count) {
        unsigned above = binmap_index_above(padded, RANGE_STEPS_LOG2, RANGE_BIN_LEVELS);
        unsigned higher = binmap_next(&range->bins.used, above, RANGE_STEPS_LOG2);
        run = higher < LAST_BIN ? probe(range, higher, want, 1, offset) : NULL;
    }
    if (run == NULL) {
        run = probe(range, own, want, PROBES, offset);
    }
    if (run == NULL) {
        run = probe(range, LAST_BIN, want, UINT32_MAX, offset);
    }
    return run;
}

range_run_t *rangebin_find_locked(arena_range_t *range, range_want_t want, uint64_t *offset)
{
    check_debug(lock_is_held(&range->lock));
    range_run_t *run = NULL;
    switch (range->fit) {
    case ARENA_FIT_GOOD:
        run = find_good(range, want, offset);
        /* No fitting request fails: what the probes miss the search finds. */
        return run != NULL ? run : search(range, want, offset, is_smaller);
    case ARENA_FIT_FIRST:
        return search(range, want, offset, is_lower);
    case ARENA_FIT_BEST:
        return search(range, want, offset, is_smaller);
    case ARENA_FIT_WORST:
        return search(range, want, offset, is_larger);
    case ARENA_FIT_NEXT:
        run = search(range, want, offset, is_next);
        range->rover = run != NULL ? run->start + *offset + want.count : range->rover;
    }
    return run;
}

range_run_t *rangebin_find_below_locked(const arena_range_t *range, uint64_t count, uint64_t below)
{
    uint64_t offset;
    range_run_t *run = search(range, (range_want_t){.count = count}, &offset, is_lower);
    return run != NULL && run->start < below ? run : NULL;
}

uint64_t rangebin_largest(const arena_range_t *range)
{
    const range_bins_t *bins = &range->bins;
    unsigned last = binmap_last(&bins->used, RANGE_STEPS_LOG2);
    if (last == BINMAP_NONE) {
        return 0;
    }
    range_run_t *head = bins->heads[last];
    uint64_t largest = head->count;
    for (range_run_t *run = head->next; run != head; run = run->next) {
        largest = run->count > largest ? run->count : largest;
    }
    return largest;
}
