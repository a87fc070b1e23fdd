/*
 * rangeback.c: what a range arena gives back, see rangesource.h. The break comes down when the last block of all
 * goes; metadata that lies above it moves or goes with it. Mapped pages go when nothing in them is in use.
 */
#include "os.h"
#include "range.h"
#include "rangemap.h"
#include "rangemeta.h"
#include "rangesource.h"

/* Whether nothing of the application's begins at `index`: free, or metadata that can go. */
static bool is_vacant(const arena_range_t *range, uint64_t index)
{
    range_mark_t mark = rangemap_get(range, index);
    return mark == RANGE_FREE || (mark == RANGE_BLOCK && rangemeta_owns(range, index) &&
                                  index != 0); /* where the range itself lies */
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

/* Takes the mark of a free run away, and what describes it. */
static void clear(arena_range_t *range, uint64_t index, range_mark_t instead)
{
    range_run_t *run = rangemap_run(range, index);
    if (run != NULL) {
        rangebin_remove_locked(range, run);
        rangemeta_put_locked(range, RANGE_OBJECT_RUN, run);
    } else {
        range->totals.strays--;
    }
    rangemap_set(range, index, instead);
}

/* Joins neighbours that wait, from `from` up; what lies there is to go, and they would take descriptors. */
static void join_from(arena_range_t *range, uint64_t from)
{
    uint64_t at = rangemap_get(range, from) == RANGE_INSIDE ? rangemap_next(range, from) : from, next;
    for (; at < range->end; at = next) {
        next = rangemap_next(range, at);
        range_run_t *run = rangemap_get(range, at) == RANGE_FREE ? rangemap_run(range, at) : NULL;
        if (run == NULL || rangemap_get(range, next) != RANGE_FREE || !range_may_merge(range, next)) {
            continue;
        }
        rangebin_remove_locked(range, run);
        while (rangemap_get(range, next) == RANGE_FREE && range_may_merge(range, next)) {
            uint64_t joined = next;
            next = rangemap_next(range, joined);
            clear(range, joined, RANGE_INSIDE);
        }
        run->count = next - at;
        rangebin_insert_locked(range, run, true); /* one that waits may lie in front of it */
    }
}

/* Where the free runs in front of `end` begin. */
static uint64_t free_start(const arena_range_t *range, uint64_t end)
{
    for (;;) {
        uint64_t last = end == 0 ? RANGE_NOWHERE : rangemap_last(range, end - 1);
        if (last == RANGE_NOWHERE || rangemap_get(range, last) != RANGE_FREE) {
            return end;
        }
        end = last;
    }
}

/* Moves the table down: to a free run below it, or to where what is free in front of it begins, if that gains enough
 * for what it costs. */
static void lower_table(arena_range_t *range)
{
    range_run_t old = range->meta.table->self;
    uint64_t windows = range->meta.table->windows, old_end = old.start + old.count;
    range_run_t *run = rangebin_find_below_locked(range, old.count, old.start);
    if (run != NULL) {
        rangemeta_move_table_locked(range, run, windows);
        return;
    }
    uint64_t low = free_start(range, old.start);
    if (old.start - low <= old.count / 16) {
        return;
    }
    for (uint64_t at = low; at < old.start; at = rangemap_next(range, at)) {
        clear(range, at, RANGE_INSIDE);
    }
    rangemap_set(range, old.start, RANGE_INSIDE);
    rangemeta_put_table_locked(range, low, windows);
    range_file_locked(range, low + old.count, old_end);
}

/* Moves metadata above `low` down. Answers from where on nothing is in use any more. */
static uint64_t evacuate(arena_range_t *range, uint64_t low)
{
    uint64_t at = range->end;
    while (at > low) {
        uint64_t last = rangemap_last(range, at - 1);
        range_piece_t *piece =
            rangemap_get(range, last) == RANGE_BLOCK ? rangemeta_piece_at(range, last) : NULL;
        if (piece != NULL) {
            if (!rangemeta_evacuate_locked(range, piece)) {
                break;
            }
            range_file_locked(range, last, at);
        }
        at = last;
    }
    if (range->meta.table->self.start >= low) {
        lower_table(range);
    }
    return free_start(range, range->end);
}

/* The table has room for what the range was; gives up what it does not need. */
static void shrink_table(arena_range_t *range)
{
    range_run_t old = range->meta.table->self;
    uint64_t windows = rangemeta_windows(range->end);
    if (range->meta.table->windows > 2 * windows + 2) {
        rangemeta_put_table_locked(range, old.start, windows + windows / 4);
        range_file_locked(range, old.start + range->meta.table->self.count, old.start + old.count);
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

/* Ends what is ours at `cut`, whose leaf is there. */
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
    return keep >= range->end - low ? range->end : range_up_to_page(range, low + keep);
}

static uint64_t lower_break(arena_range_t *range, uint64_t keep)
{
    uint64_t end = range->end, low = range->tail = vacant_start(range, range->tail, UINT32_MAX);
    uint64_t cut = cut_above(range, low, keep);
    if (cut >= end || (uintptr_t)os_break() != range_address(range, end)) {
        return 0;
    }
    if (range->inside) {
        join_from(range, cut);
        cut = cut_above(range, evacuate(range, low), keep);
    }
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

uint64_t rangesource_lower_break_locked(arena_range_t *range, uint64_t keep)
{
    uint64_t given = lower_break(range, keep), more = given;
    while (more != 0 &&
           range->inside) { /* less is held, so less metadata may do, and may find room further down */
        shrink_table(range);
        more = lower_break(range, keep);
        given += more;
    }
    return given;
}

/* Cuts [low, high), whole pages of the free run at `start`, out of what is ours. */
static void remove_pages(arena_range_t *range, range_run_t *run, uint64_t low, uint64_t high)
{
    uint64_t start = run->start, end = start + run->count;
    uint64_t before = start == 0 ? RANGE_NOWHERE : rangemap_last(range, start - 1);
    bool goes_on_below =
        before != RANGE_NOWHERE && rangemap_get(range, before) != RANGE_HOLE; /* areas begin on pages */
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
