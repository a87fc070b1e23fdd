/*
 * rangeback.c: what a range arena gives back, see rangesource.h. The break comes down when the last block of all
 * goes; metadata that lies above it moves or goes with it. Mapped pages go when nothing in them is in use.
 */
#include "check.h"
#include "os.h"
#include "range.h"
#include "rangemap.h"
#include "rangemeta.h"
#include "rangesource.h"

/* Whether nothing of the application's begins at `index`: free, or metadata that can go. */
static bool is_vacant(const arena_range_t *range, uint64_t index)
{
    range_mark_t mark = rangemap_get(range, index);
    return mark == RANGE_FREE ||
           (mark == RANGE_BLOCK && rangemeta_owns(range, index) && index != 0); /* the founding front stays */
}

/* Where what is vacant around `start` begins and ends. Of many runs that wait, `limit` are walked over, and then
 * all merged. */
static uint64_t vacant_start(arena_range_t *range, uint64_t start, unsigned limit)
{
    for (unsigned steps = 0; start != 0; steps++) {
        uint64_t last = rangemap_last(range, start - 1);
        if (last == RANGE_NOWHERE || !is_vacant(range, last)) {
            break;
        }
        if (steps == limit) {
            range_merge_waiting_locked(range);
            last = rangemap_last(range, start - 1);
        }
        start = last;
    }
    return start;
}

static uint64_t vacant_end(arena_range_t *range, uint64_t start, unsigned limit)
{
    uint64_t end = rangemap_last(range, start);
    for (unsigned steps = 0; is_vacant(range, end); steps++) {
        if (steps == limit) {
            range_merge_waiting_locked(range);
            end = rangemap_last(range, start);
        }
        end = rangemap_next(range, end);
    }
    return end;
}

/* Moves what pieces above `low` hold below them. Answers from where on nothing is in use but fronts. */
static uint64_t evacuate(arena_range_t *range, uint64_t low)
{
    uint64_t at = range->end;
    while (at > low) {
        uint64_t last = rangemap_last(range, at - 1);
        range_piece_t *piece =
            rangemap_get(range, last) == RANGE_BLOCK ? rangemeta_piece_at(range, last) : NULL;
        if (piece != NULL) {
            uint64_t count = at - last;
            if (!rangemeta_evacuate_locked(range, piece)) {
                return at;
            }
            rangemap_set(range, last, RANGE_FREE);
            range_release_locked(range, last, count, NULL);
        } else if (!is_vacant(range, last)) {
            return at; /* what was evacuated went there */
        }
        at = last;
    }
    return at;
}

/* Takes the mark of something vacant away, and what describes it. */
static void clear(arena_range_t *range, uint64_t index, range_mark_t instead)
{
    bool front = rangemap_get(range, index) == RANGE_BLOCK;
    range_run_t *run = rangemap_run(range, index);
    if (front) {
        rangemap_remove_run(range, run);
    } else if (run != NULL) {
        rangebin_remove_locked(range, run);
        rangemeta_put_locked(range, RANGE_OBJECT_RUN, run);
    } else {
        range->totals.strays--;
    }
    rangemap_set(range, index, instead);
    if (front) {
        rangemeta_drop_front_locked(range);
    }
}

/* The run that `cut`, no mark yet, lies in ends there. */
static void shorten(arena_range_t *range, uint64_t cut)
{
    range_run_t *run = rangemap_run(range, rangemap_last(range, cut));
    rangemap_set(range, cut, RANGE_HOLE);
    if (run != NULL) { /* else it is a stray */
        bool waits = run->wait_next != NULL;
        rangebin_remove_locked(range, run);
        run->count = cut - run->start;
        rangebin_insert_locked(range, run, waits);
    }
}

/* Ends what is ours at `cut`, whose leaf is there: from the end down, so that fronts go in their order. */
static void end_at(arena_range_t *range, uint64_t cut)
{
    uint64_t at = range->end, before = cut == 0 ? RANGE_NOWHERE : rangemap_last(range, cut - 1);
    bool whole_area = before == RANGE_NOWHERE || rangemap_get(range, before) == RANGE_HOLE;
    if (rangemap_get(range, cut) == RANGE_INSIDE) {
        shorten(range, cut);
    }
    rangemap_set(range, at, RANGE_INSIDE);
    while ((at = rangemap_last(range, at - 1)) > cut) {
        clear(range, at, RANGE_INSIDE);
    }
    if (rangemap_get(range, cut) != RANGE_HOLE) {
        clear(range, cut, whole_area ? RANGE_INSIDE : RANGE_HOLE);
    }
}

/* The first index from which on the break may come down, with `keep` quanta left above `low`. */
static uint64_t cut_above(const arena_range_t *range, uint64_t low, uint64_t keep)
{
    uint64_t room = range->end - low;
    uint64_t cut = keep >= room ? range->end : range_up_to_page(range, low + keep);
    uint64_t last = cut == 0 || cut >= range->end ? RANGE_NOWHERE : rangemap_last(range, cut - 1);
    if (last != RANGE_NOWHERE && rangemap_get(range, last) == RANGE_BLOCK &&
        rangemap_next(range, last) > cut) {
        cut = range_up_to_page(range, rangemap_next(range, last)); /* a front is not cut in two */
    }
    return cut;
}

uint64_t rangesource_lower_break_locked(arena_range_t *range, uint64_t keep)
{
    uint64_t end = range->end, low = range->tail = vacant_start(range, range->tail, UINT32_MAX);
    if (cut_above(range, low, keep) >= end || (uintptr_t)os_break() != range_address(range, end)) {
        return 0;
    }
    low = range->inside ? evacuate(range, low) : low;
    uint64_t cut = cut_above(range, low, keep);
    if (cut >= end || !rangemap_ensure(range, cut)) {
        return 0;
    }
    end_at(range, cut);
    range->end = cut;
    range->tail = range->tail < cut ? range->tail : cut;
    range->totals.mapped -= end - cut;
    range->totals.kernel_calls++;
    os_break_move(-(intptr_t)range_bytes_of(range, end - cut)); /* else they are lost, and nobody's */
    return end - cut;
}

/* Cuts [low, high), whole pages of the free run at `start`, out of what is ours. */
static void remove_pages(arena_range_t *range, range_run_t *run, uint64_t low, uint64_t high)
{
    uint64_t start = run->start, end = start + run->count;
    uint64_t before = start == 0 ? RANGE_NOWHERE : rangemap_last(range, start - 1);
    bool goes_on_below =
        low > start || (before != RANGE_NOWHERE && rangemap_get(range, before) != RANGE_HOLE);
    range_run_t *rest = low > start && high < end ? rangemeta_take_run_locked(range) : run;
    rangebin_remove_locked(range, run);
    if (high < end) { /* new marks first: a leaf without marks goes */
        rangemap_set(range, high, RANGE_FREE);
    }
    if (goes_on_below) {
        rangemap_set(range, low, RANGE_HOLE);
    }
    if (high == end && rangemap_get(range, end) == RANGE_HOLE) {
        rangemap_set(range, end, RANGE_INSIDE);
    }
    if (!goes_on_below) {
        rangemap_set(range, low, RANGE_INSIDE);
    }
    if (low > start) {
        run->count = low - start;
        rangebin_insert_locked(range, run, false);
    }
    if (high < end) {
        rest->start = high;
        rest->count = end - high;
        rangebin_insert_locked(range, rest, false);
    }
    if (low == start && high == end) {
        rangemeta_put_locked(range, RANGE_OBJECT_RUN, run);
    }
}

uint64_t rangesource_unmap_pages_locked(arena_range_t *range, uint64_t start, uint64_t keep)
{
    range_totals_t *totals = &range->totals;
    uint64_t free = totals->mapped - totals->live;
    if (free <= keep || range_up_to_page(range, vacant_start(range, start, RANGE_WALK_STEPS)) >=
                            vacant_end(range, start, RANGE_WALK_STEPS)) {
        return 0;
    }
    if (range->waits) {
        range_merge_waiting_locked(range);
    }
    range_run_t *run = rangemap_run(range, rangemap_last(range, start));
    if (run == NULL || !rangemeta_reserve_locked(range)) {
        return 0;
    }
    uint64_t low = range_up_to_page(range, run->start),
             high = range_down_to_page(range, run->start + run->count);
    uint64_t most = range_down_to_page(range, free - keep);
    if (low >= high || most == 0) {
        return 0;
    }
    high = high - low > most ? low + most : high;
    if (!rangemap_ensure(range, low) || !rangemap_ensure(range, high) ||
        !os_unmap((void *)(uintptr_t)range_address(range, low), range_bytes_of(range, high - low))) {
        return 0;
    }
    remove_pages(range, run, low, high);
    totals->mapped -= high - low;
    totals->kernel_calls++;
    return high - low;
}
