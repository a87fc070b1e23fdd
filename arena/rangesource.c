/* rangesource.c: see rangesource.h. */
#include "rangesource.h"

#include "os.h"
#include "range.h"
#include "rangemap.h"
#include "rangemeta.h"

/* Leaves for every mark that [start, end) begins with: both ends, and where no run may cross a page, pages. */
static bool ensure_leaves(arena_range_t *range, uint64_t start, uint64_t end)
{
    for (uint64_t at = start; range_in_pages(range) && at < end;
         at = range_down_to_page(range, at) + range->page) {
        if (!rangemap_ensure(range, at)) {
            return false;
        }
    }
    return rangemap_ensure(range, start) && rangemap_ensure(range, end);
}

/* Makes [start, end) ours, all of it free. */
static void file_area(arena_range_t *range, uint64_t start, uint64_t end)
{
    if (rangemap_get(range, end) == RANGE_INSIDE) {
        rangemap_set(range, end, RANGE_HOLE); /* else something of ours goes on there */
    }
    range_file_locked(range, start, end);
}

static void count_mapped(arena_range_t *range, uint64_t count)
{
    range_totals_t *totals = &range->totals;
    totals->mapped += count;
    totals->peak = totals->peak > totals->mapped ? totals->peak : totals->mapped;
}

/* False: no memory to say that it is ours; the caller gives it back. */
static bool add_area(arena_range_t *range, uint64_t start, uint64_t count)
{
    if (!ensure_leaves(range, start, start + count)) {
        return false;
    }
    count_mapped(range, count);
    file_area(range, start, start + count);
    return true;
}

static uint64_t room_in_limit(const arena_range_t *range)
{
    return range->limit - range->totals.mapped;
}

/* How much to grow by: `least`, which is in pages, or the step where the limit allows it; 0: neither. */
static uint64_t growth_of(const arena_range_t *range, uint64_t least)
{
    uint64_t wished = least > range->step ? least : range->step;
    if (wished <= room_in_limit(range)) {
        return wished;
    }
    return least <= room_in_limit(range) ? least : 0;
}

/* Quanta that certainly hold `want`; 0: more than there can be. */
static uint64_t padded(range_want_t want)
{
    uint64_t count = want.count + (want.alignment > 1 ? want.alignment - 1 : 0);
    return count < want.count || count > RANGE_NOWHERE >> 5 ? 0 : count;
}

static bool grow_given(arena_range_t *range)
{
    uint64_t left = range->limit - range->end;
    uint64_t count = range_in_pages(range) && left > range->step ? range->step : left;
    if (left == 0 || !add_area(range, range->end, count)) {
        return false;
    }
    range->end += count;
    return true;
}

static bool grow_by_mapping(arena_range_t *range, range_want_t want)
{
    uint64_t least = range_up_to_page(range, range_in_pages(range) ? want.count : padded(want));
    uint64_t count = least == 0 ? 0 : growth_of(range, least);
    size_t page_bytes = range_bytes_of(range, range->page);
    if (count == 0 || count > SIZE_MAX >> range->quantum_log2) {
        return false;
    }
    range->totals.kernel_calls++;
    void *start = os_map(range_bytes_of(range, count), page_bytes, (os_map_options_t){0});
    if (start == NULL) {
        return false;
    }
    if (!add_area(range, range_index_of(range, start), count)) {
        os_unmap(start, range_bytes_of(range, count));
        return false;
    }
    return true;
}

/* Free quanta at the very end, which a growth would add to. */
static uint64_t free_tail(const arena_range_t *range)
{
    uint64_t last = range->end == 0 ? RANGE_NOWHERE : rangemap_last(range, range->end - 1);
    bool free = last != RANGE_NOWHERE && rangemap_get(range, last) == RANGE_FREE;
    return free && !range_in_pages(range) ? range->end - last : 0;
}

/* Leaves that a table must have for marks up to `end`, and then has for some more; 0: the one there is will do. */
static uint64_t windows_for(const arena_range_t *range, uint64_t end, uint64_t ahead)
{
    uint64_t now = range->meta.table->windows, wished = rangemeta_windows(end + ahead);
    uint64_t least = now + now / 4 + 1;
    return rangemeta_windows(end) <= now ? 0 : wished > least ? wished : least;
}

/* What a growth from `start` on must have, metadata included; 0: impossible. */
static uint64_t growth_at(const arena_range_t *range, uint64_t start, range_want_t want, uint64_t tail)
{
    uint64_t need = range_in_pages(range) ? range->page : padded(want);
    if (need == 0 || !range->inside) {
        return need == 0 ? 0 : growth_of(range, range_up_to_page(range, need > tail ? need - tail : 1));
    }
    bool described = range->meta.spare != NULL || range->meta.free[RANGE_OBJECT_RUN] != NULL;
    uint64_t piece = described ? 0 : rangemeta_piece_quanta(range);
    uint64_t count = growth_of(range, range_up_to_page(range, (need > tail ? need - tail : 1) + piece));
    while (count != 0) {
        uint64_t windows = windows_for(range, start + count, want.ahead);
        uint64_t table = windows == 0 ? 0 : rangemeta_table_quanta(range, windows);
        uint64_t least = table == 0 && piece == 0 && need > tail ? need - tail : need;
        least = range_up_to_page(range, least + table + piece);
        if (count >= least) {
            break;
        }
        count = growth_of(range, least);
    }
    return count;
}

/* Metadata first, then what is free. */
static void add_area_inside(arena_range_t *range, uint64_t start, uint64_t end, uint64_t ahead)
{
    uint64_t windows = windows_for(range, end, ahead);
    uint64_t quanta = windows == 0 ? 0 : rangemeta_table_quanta(range, windows);
    range_run_t *hole = windows == 0 ? NULL : rangebin_find_below_locked(range, quanta, RANGE_NOWHERE);
    range_run_t old = range->meta.table->self;
    count_mapped(range, end - start);
    if (hole != NULL) {
        rangemeta_move_table_locked(range, hole, windows);
    } else if (windows != 0) {
        rangemeta_put_table_locked(range, start, windows);
        start += quanta;
    }
    if (range->meta.spare == NULL && range->meta.free[RANGE_OBJECT_RUN] == NULL) {
        start = rangemeta_add_piece_locked(range, start);
    }
    file_area(range, start, end);
    if (hole == NULL && windows != 0) {
        range_file_locked(range, old.start, old.start + old.count);
    }
}

/* By `bytes`, if it is at `now`. */
static bool move_break(uintptr_t now, size_t bytes)
{
    char *old = bytes > PTRDIFF_MAX / 2 ? NULL : os_break_move((intptr_t)bytes);
    if ((uintptr_t)old == now) {
        return true;
    }
    if (old != NULL && os_break() == old + bytes) {
        os_break_move(-(intptr_t)bytes); /* another thread moved it in between */
    }
    return false;
}

static bool grow_break(arena_range_t *range, range_want_t want)
{
    uintptr_t now = (uintptr_t)os_break();
    bool contiguous = range->end != 0 && range_address(range, range->end) == now;
    uint64_t page_bytes = range->page << range->quantum_log2;
    uint64_t first = (now + page_bytes - 1) & ~(page_bytes - 1);
    if (now == 0 || first < range->origin) {
        return false;
    }
    uint64_t start = (first - range->origin) >> range->quantum_log2;
    uint64_t count = growth_at(range, start, want, contiguous ? free_tail(range) : 0);
    if (count == 0 || count > (uint64_t)PTRDIFF_MAX >> (range->quantum_log2 + 1)) {
        return false;
    }
    size_t bytes = (size_t)(first - now) + range_bytes_of(range, count);
    range->totals.kernel_calls++;
    if (!move_break(now, bytes)) {
        return false;
    }
    if (range->inside) {
        add_area_inside(range, start, start + count, want.ahead);
    } else if (!add_area(range, start, count)) {
        os_break_move(-(intptr_t)bytes);
        return false;
    }
    if (range_address(range, range->end) != now) { /* no area goes on */
        range->pad = first - now;
    }
    range->tail = contiguous ? range->tail : start;
    range->end = start + count;
    return true;
}

bool rangesource_grow_locked(arena_range_t *range, range_want_t want)
{
    switch (range->source) {
    case ARENA_RANGE_GIVEN:
        return grow_given(range);
    case ARENA_RANGE_MMAP:
        return grow_by_mapping(range, want);
    case ARENA_RANGE_SBRK:
        return grow_break(range, want);
    }
    return false;
}

/* [struct arena_range][table][piece][free] */
arena_range_t *rangesource_found(const arena_range_t *model)
{
    uintptr_t now = (uintptr_t)os_break();
    size_t page_bytes = range_bytes_of(model, model->page);
    size_t pad = align_up(now, page_bytes) - now;
    uint64_t own = (sizeof *model + ((size_t)1 << model->quantum_log2) - 1) >> model->quantum_log2;
    uint64_t count = model->step, windows, least;
    do { /* what it needs depends on how much there is */
        windows = rangemeta_windows(count);
        least = own + rangemeta_table_quanta(model, windows) + rangemeta_piece_quanta(model) + 1;
        count = count >= least ? count : range_up_to_page(model, least);
    } while (windows != rangemeta_windows(count));
    if (now == 0 || count > model->limit || !move_break(now, pad + range_bytes_of(model, count))) {
        return NULL;
    }
    arena_range_t *range = (arena_range_t *)(now + pad);
    *range = *model;
    range->origin = now + pad;
    range->pad = pad;
    range->waiting.wait_next = range->waiting.wait_previous = &range->waiting;
    range->totals.kernel_calls = 1;
    rangemeta_put_table_locked(range, own, windows);
    range->self.count = own;
    rangemap_set(range, 0, RANGE_BLOCK);
    rangemap_add_run(range, &range->self);
    range->totals.inside += own;
    range->tail = own;
    range->end = count;
    count_mapped(range, count);
    file_area(range, rangemeta_add_piece_locked(range, own + range->meta.table->self.count), count);
    return range;
}

/* The area that begins at `start`; answers its end. */
static uint64_t area_end(const arena_range_t *range, uint64_t start)
{
    uint64_t end = rangemap_next(range, start);
    while (rangemap_get(range, end) != RANGE_HOLE) {
        end = rangemap_next(range, end);
    }
    return end;
}

/* Of the areas in the break only the highest: those below it lie below a break that is not ours. What lies in front
 * of its first page goes too. The range may lie there. */
static void give_break_back(const arena_range_t *range)
{
    uint64_t last = range->end == 0 ? RANGE_NOWHERE : rangemap_last(range, range->end - 1),
             start = range->end;
    while (last != RANGE_NOWHERE && rangemap_get(range, last) != RANGE_HOLE) {
        start = last;
        last = last == 0 ? RANGE_NOWHERE : rangemap_last(range, last - 1);
    }
    size_t bytes = range_bytes_of(range, range->end - start) + range->pad;
    if (bytes != 0 && (uintptr_t)os_break() == range_address(range, range->end)) {
        os_break_move(-(intptr_t)bytes);
    }
}

static void unmap_all(const arena_range_t *range)
{
    uint64_t start = rangemap_get(range, 0) != RANGE_INSIDE ? 0 : rangemap_next(range, 0), end;
    for (; start != RANGE_NOWHERE; start = rangemap_next(range, end)) {
        end = area_end(range, start);
        os_unmap((void *)(uintptr_t)range_address(range, start), range_bytes_of(range, end - start));
    }
}

void rangesource_close(arena_range_t *range)
{
    if (range->source == ARENA_RANGE_MMAP) {
        unmap_all(range);
    } else if (range->source == ARENA_RANGE_SBRK) {
        give_break_back(range);
    }
}
