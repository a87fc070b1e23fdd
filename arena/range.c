/* range.c: see range.h. */
#include "range.h"

#include "list.h"
#include "rangemap.h"
#include "rangemeta.h"
#include "rangesource.h"

static arena_range_t *live; /* guarded by the registry lock */

/* A neighbour that is merged: its descriptor, or `kept` if there is one already. */
static range_run_t *absorb(arena_range_t *range, uint64_t index, range_run_t *kept)
{
    range_run_t *run = rangemap_run(range, index);
    if (run == NULL) {
        range->totals.strays--;
        return kept;
    }
    rangebin_remove_locked(range, run);
    if (kept == NULL) {
        return run;
    }
    rangemeta_put_locked(range, RANGE_OBJECT_RUN, run);
    return kept;
}

/* Whether a free run that does not wait begins at `index`. */
static bool is_settled(const arena_range_t *range, uint64_t index)
{
    range_run_t *run = rangemap_get(range, index) == RANGE_FREE ? rangemap_run(range, index) : NULL;
    return rangemap_get(range, index) == RANGE_FREE && (run == NULL || run->wait_next == NULL);
}

/*
 * Files the free run [start, start + count), whose start is marked, merged with those neighbours that do not wait;
 * `run`: a descriptor to use, or NULL. False: none was to be had, and it is a stray.
 *
 *   | free | this | free |   ->   | free               |
 *
 * As far as it goes: behind a stray there may be another.
 */
static bool release(arena_range_t *range, uint64_t start, uint64_t count, range_run_t *run)
{
    uint64_t end = start + count;
    while (range_may_merge(range, end) && is_settled(range, end)) {
        uint64_t next_end = rangemap_next(range, end);
        run = absorb(range, end, run);
        rangemap_set(range, end, RANGE_INSIDE);
        end = next_end;
    }
    while (start != 0 && range_may_merge(range, start)) {
        uint64_t last = rangemap_last(range, start - 1);
        if (last == RANGE_NOWHERE || !is_settled(range, last)) {
            break;
        }
        run = absorb(range, last, run);
        rangemap_set(range, start, RANGE_INSIDE);
        start = last;
    }
    run = run != NULL ? run : rangemeta_take_run_locked(range);
    if (run == NULL) {
        range->totals.strays++;
        return false;
    }
    run->start = start;
    run->count = end - start;
    rangebin_insert_locked(range, run, false);
    return true;
}

void range_file_locked(arena_range_t *range, uint64_t start, uint64_t end)
{
    while (start < end) {
        uint64_t from = range_in_pages(range) ? range_down_to_page(range, end - 1) : start;
        from = from > start ? from : start;
        rangemap_set(range, from, RANGE_FREE);
        release(range, from, end - from, NULL);
        end = from;
    }
}

static void settle_oldest(arena_range_t *range)
{
    range_run_t *run = range->waiting.wait_previous;
    rangebin_remove_locked(range, run);
    release(range, run->start, run->count, run);
}

void range_merge_waiting_locked(arena_range_t *range)
{
    while (range->waiting_runs != 0) {
        settle_oldest(range);
    }
}

/* Describes strays as far as memory goes. */
static void sweep(arena_range_t *range)
{
    uint64_t index = rangemap_get(range, 0) != RANGE_INSIDE ? 0 : rangemap_next(range, 0);
    while (index != RANGE_NOWHERE && range->totals.strays != 0) {
        uint64_t next = rangemap_next(range, index);
        if (rangemap_get(range, index) == RANGE_FREE && rangemap_run(range, index) == NULL) {
            range->totals.strays--;
            if (!release(range, index, next - index, NULL)) {
                return;
            }
        }
        index = next;
    }
}

/* Cuts [offset, offset + count) of a free run out as a block. False, and nothing has changed: no memory. */
static bool carve(arena_range_t *range, range_run_t *run, uint64_t offset, uint64_t count)
{
    uint64_t start = run->start + offset, end = start + count;
    uint64_t rest = run->count - offset - count;
    bool waits = run->wait_next != NULL;
    if (!rangemap_ensure(range, start)) {
        return false;
    }
    bool ready = rest == 0 || rangemap_ensure(range, end);
    range_run_t *right = offset == 0 ? run : NULL;
    if (ready && rest != 0 && right == NULL) {
        right = rangemeta_take_run_locked(range);
        ready = right != NULL;
    }
    if (!ready) {
        rangemap_prune(range, start);
        rangemap_prune(range, end);
        return false;
    }
    rangebin_remove_locked(range, run);
    rangemap_set(range, start, RANGE_BLOCK);
    if (offset != 0) {
        run->count = offset;
        rangebin_insert_locked(range, run, waits);
    }
    if (rest != 0) {
        rangemap_set(range, end, RANGE_FREE);
        right->start = end;
        right->count = rest;
        rangebin_insert_locked(range, right, waits);
    } else if (offset == 0) {
        rangemeta_put_locked(range, RANGE_OBJECT_RUN, run);
    }
    return true;
}

/* Freed blocks are handed out again as they were before anything merges. */
static range_run_t *find(arena_range_t *range, range_want_t want, uint64_t *offset)
{
    if (range->waits) {
        range_run_t *run = rangebin_find_own_locked(range, want, offset);
        if (run != NULL) {
            return run;
        }
    }
    range_merge_waiting_locked(range);
    range_run_t *run = rangebin_find_locked(range, want, offset);
    if (run == NULL && range->totals.strays != 0) {
        sweep(range);
        run = rangebin_find_locked(range, want, offset);
    }
    return run;
}

/* A descriptor for the next split or free, with a growth if the range is full of its own blocks. */
static bool reserve(arena_range_t *range)
{
    if (rangemeta_reserve_locked(range)) {
        return true;
    }
    range_want_t piece = {.count = rangemeta_piece_quanta(range)};
    return range->inside && rangesource_grow_locked(range, piece) && rangemeta_reserve_locked(range);
}

/* Files what a block gives up, and what is then free at a page's or the heap's end goes back. */
static void give_up(arena_range_t *range, uint64_t index, uint64_t count)
{
    if (!range->waits) {
        release(range, index, count, NULL);
    } else {
        range_run_t *run = rangemeta_take_run_locked(range);
        range->totals.strays += run == NULL;
        if (run != NULL) {
            run->start = index;
            run->count = count;
            rangebin_insert_locked(range, run, true);
        }
        if (range->waiting_runs > RANGE_MOST_WAITING) {
            settle_oldest(range);
        }
    }
    if (range->source == ARENA_RANGE_SBRK && index + count == range->tail) {
        rangesource_lower_break_locked(range, range->keep);
    } else if (range->source == ARENA_RANGE_MMAP) {
        rangesource_unmap_pages_locked(range, index, range->keep);
    }
}

/* A block ends at `end` now. */
static void note_end(arena_range_t *range, uint64_t end)
{
    range->tail = end > range->tail ? end : range->tail;
}

/* Where the block is, in a run that find() found; RANGE_NOWHERE: it found none, or there is no metadata for it. */
static uint64_t carve_at(arena_range_t *range, range_run_t *run, uint64_t offset, uint64_t count)
{
    uint64_t start = run == NULL ? RANGE_NOWHERE : run->start + offset;
    return run != NULL && carve(range, run, offset, count) ? start : RANGE_NOWHERE;
}

uint64_t range_take_locked(arena_range_t *range, range_want_t want)
{
    check_debug(lock_is_held(&range->lock));
    uint64_t offset = 0;
    if (want.alignment > 1 && !reserve(range)) {
        return RANGE_NOWHERE; /* a block in the middle of a run leaves one run more */
    }
    range_run_t *run = find(range, want, &offset);
    bool grown = run == NULL && rangesource_grow_locked(range, want);
    run = grown ? find(range, want, &offset) : run;
    uint64_t start = carve_at(range, run, offset, want.count);
    /* Inside, the descriptors that a growth needs are made of what it brought: each turn describes a stray more. */
    uint64_t turns = range->inside && (grown || run != NULL) ? range->totals.strays + 2 : 0;
    for (; start == RANGE_NOWHERE && turns > 0 && reserve(range); turns--) {
        run = find(range, want, &offset);
        start = carve_at(range, run, offset, want.count);
    }
    if (start == RANGE_NOWHERE) {
        if (grown && range->source == ARENA_RANGE_SBRK) { /* no metadata for a block there */
            rangesource_lower_break_locked(range, range->keep);
        }
        return RANGE_NOWHERE;
    }
    note_end(range, start + want.count);
    range->totals.live += want.count;
    range->totals.live_blocks++;
    range->totals.allocations++;
    return start;
}

misuse_t range_locate_locked(const arena_range_t *range, uint64_t address, uint64_t *index)
{
    uint64_t offset = address - range->origin;
    if (address < range->origin) {
        return MISUSE_FOREIGN;
    }
    *index = offset >> range->quantum_log2;
    bool aligned = *index << range->quantum_log2 == offset;
    uint64_t start = rangemap_last(range, *index);
    range_mark_t mark = start == RANGE_NOWHERE ? RANGE_HOLE : rangemap_get(range, start);
    if (mark == RANGE_HOLE || (mark == RANGE_BLOCK && rangemeta_owns(range, start))) {
        return MISUSE_FOREIGN;
    }
    if (mark == RANGE_FREE) {
        return aligned ? MISUSE_DOUBLE_FREE : MISUSE_FOREIGN;
    }
    return aligned && start == *index ? MISUSE_NONE : MISUSE_INTERIOR;
}

void range_put_locked(arena_range_t *range, uint64_t index)
{
    check_debug(lock_is_held(&range->lock));
    reserve(range); /* if it fails, the run may be a stray for a while */
    uint64_t count = rangemap_next(range, index) - index;
    rangemap_set(range, index, RANGE_FREE);
    range->totals.live -= count;
    range->totals.live_blocks--;
    range->totals.frees++;
    give_up(range, index, count);
}

static bool shrink(arena_range_t *range, uint64_t index, uint64_t count, uint64_t surplus)
{
    if (!rangemap_ensure(range, index + count)) {
        return true; /* stays as it is */
    }
    reserve(range);
    rangemap_set(range, index + count, RANGE_FREE);
    range->totals.live -= surplus;
    give_up(range, index + count, surplus);
    return true;
}

/* Free quanta from `end` on, as far as a block may grow. */
static uint64_t room_behind(const arena_range_t *range, uint64_t end, uint64_t wanted)
{
    uint64_t at = end;
    while (at - end < wanted && range_may_merge(range, at) && rangemap_get(range, at) == RANGE_FREE) {
        at = rangemap_next(range, at);
    }
    return at - end;
}

/* Takes `wanted` quanta of the free runs behind `end`; there are as many, and a leaf for the new end. */
static void take_behind(arena_range_t *range, uint64_t end, uint64_t wanted)
{
    uint64_t target = end + wanted;
    while (end < target) {
        uint64_t next = rangemap_next(range, end);
        range_run_t *run = rangemap_run(range, end);
        bool waits = run != NULL && run->wait_next != NULL;
        if (run != NULL) {
            rangebin_remove_locked(range, run);
        } else {
            range->totals.strays--;
        }
        if (next > target) {
            rangemap_set(range, target, RANGE_FREE);
        }
        rangemap_set(range, end, RANGE_INSIDE);
        if (next <= target && run != NULL) {
            rangemeta_put_locked(range, RANGE_OBJECT_RUN, run);
        } else if (run != NULL) {
            run->start = target;
            run->count = next - target;
            rangebin_insert_locked(range, run, waits);
        } else {
            range->totals.strays += next > target;
        }
        end = next;
    }
}

bool range_resize_locked(arena_range_t *range, uint64_t index, uint64_t count)
{
    check_debug(lock_is_held(&range->lock));
    uint64_t end = rangemap_next(range, index), now = end - index;
    if (count <= now) {
        return count == now || shrink(range, index, count, now - count);
    }
    uint64_t wanted = count - now, room = room_behind(range, end, wanted);
    if (room < wanted && end + room == range->end && range->source == ARENA_RANGE_SBRK &&
        !range_in_pages(range) &&
        rangesource_grow_locked(range, (range_want_t){.count = wanted, .ahead = count})) {
        room = room_behind(range, end, wanted);
    }
    if (room < wanted || !rangemap_ensure(range, index + count)) {
        return false;
    }
    take_behind(range, end, wanted);
    note_end(range, index + count);
    range->totals.live += wanted;
    return true;
}

bool range_each_lock(bool (*act)(lock_t *lock))
{
    bool done = true;
    for (arena_range_t *range = live; range != NULL && done; range = range->next_live) {
        done = range->lock.off || act(&range->lock);
    }
    return done;
}

void range_add_live_locked(arena_range_t *range)
{
    LIST_PUSH(live, range, next_live, previous_live);
}

void range_remove_live_locked(arena_range_t *range)
{
    LIST_UNLINK(live, range, next_live, previous_live);
}
