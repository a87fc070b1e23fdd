/* rangesource.c: see rangesource.h. */
#include "rangesource.h"

#include "os.h"
#include "range.h"
#include "rangemap.h"
#include "rangemeta.h"

/* The page behind that of `at`, or `end`. */
static uint64_t next_page(const arena_range_t *range, uint64_t at, uint64_t end)
{
    uint64_t next = range_down_to_page(range, at) + range->page;
    return range_in_pages(range) && next < end ? next : end;
}

/* Leaves for every mark that [start, end) begins with: both ends, and where no run may cross a page, pages. */
static bool ensure_leaves(arena_range_t *range, uint64_t start, uint64_t end)
{
    uint64_t at = start;
    while (rangemap_ensure(range, at)) {
        if (at == end) {
            return true;
        }
        at = next_page(range, at, end);
    }
    for (uint64_t made = start; made < at; made = next_page(range, made, end)) {
        rangemap_prune(range, made);
    }
    return false;
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

/* The first index from `from` on where a block of `want` may begin as far as pages and alignment go; RANGE_NOWHERE. */
static uint64_t place_from(const arena_range_t *range, uint64_t from, range_want_t want)
{
    for (unsigned tries = 0; tries < 2;
         tries++) { /* each page is as the next, but the first may have begun */
        uint64_t at = range_align(range, from, want.alignment);
        uint64_t next = range_down_to_page(range, at) + range->page;
        if (at < from || next < at) {
            break;
        }
        if (want.count <= next - at) {
            return at;
        }
        from = next;
    }
    return RANGE_NOWHERE;
}

/* The page of a given range that is not open yet and has room for `want`, the lowest; RANGE_NOWHERE. */
static uint64_t closed_page(arena_range_t *range, range_want_t want)
{
    bool known = range->sought != 0 && want.alignment >= range->sought && range->sought_from > range->end;
    uint64_t at = place_from(range, known ? range->sought_from : range->end, want);
    if (at == RANGE_NOWHERE || want.count > range->limit) {
        return RANGE_NOWHERE;
    }
    uint64_t last = range->limit - want.count;
    while (at <= last && !rangemap_in_hole(range, at)) {
        at += want.alignment; /* larger than a page: the page at `end` is not open */
    }
    if (want.alignment > range->page) {
        range->sought = want.alignment;
        range->sought_from = at;
    }
    return at <= last ? range_down_to_page(range, at) : RANGE_NOWHERE;
}

/* Opens a page, or the step, from `start` on, as far as nothing is open there. */
static bool open_pages(arena_range_t *range, uint64_t start)
{
    uint64_t next = rangemap_next(range, start);
    uint64_t closed = (next < range->limit ? next : range->limit) - start;
    uint64_t count = range->step < closed ? range->step : closed;
    bool splits = start != 0 && rangemap_get(range, start) != RANGE_HOLE;
    if (!add_area(range, start, count)) {
        return false;
    }
    range->gaps += (uint64_t)splits - (count == closed);
    while (range->end < range->limit && !rangemap_in_hole(range, range->end)) {
        range->end = rangemap_next(range, range->end);
    }
    return true;
}

static bool grow_given(arena_range_t *range, range_want_t want)
{
    uint64_t start = range_in_pages(range) ? closed_page(range, want) : range->end;
    if (start == RANGE_NOWHERE || start == range->limit) {
        return false;
    }
    if (range_in_pages(range)) {
        return open_pages(range, start);
    }
    range->end = add_area(range, start, range->limit - start) ? range->limit : start;
    return range->end == range->limit;
}

static bool grow_by_mapping(arena_range_t *range, range_want_t want)
{
    uint64_t count = growth_of(range, range_up_to_page(range, want.count));
    uint64_t alignment = want.alignment > range->page ? want.alignment : range->page;
    uint64_t most = SIZE_MAX >> range->quantum_log2;
    if (count == 0 || count > most || alignment > most) {
        return false;
    }
    range->totals.kernel_calls++;
    void *start =
        os_map(range_bytes_of(range, count), range_bytes_of(range, alignment), (os_map_options_t){0});
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

/* Quanta from `from` on that hold `want`, if `tail` quanta in front are free; 0: more than there can be. */
static uint64_t need_from(const arena_range_t *range, uint64_t from, range_want_t want, uint64_t tail)
{
    if (range_in_pages(range)) {
        uint64_t at = place_from(range, from, want);
        return at == RANGE_NOWHERE ? 0 : at - from + want.count;
    }
    uint64_t need = padded(want);
    return need > tail ? need - tail : need != 0;
}

/* What a growth from `start` on must have, metadata included; 0: impossible. */
static uint64_t growth_at(const arena_range_t *range, uint64_t start, range_want_t want, uint64_t tail)
{
    bool described =
        !range->inside || range->meta.spare != NULL || range->meta.free[RANGE_OBJECT_RUN] != NULL;
    uint64_t piece = described ? 0 : rangemeta_piece_quanta(range), taken = piece;
    for (;;) { /* how much metadata takes depends on how much there is */
        uint64_t need = need_from(range, start + taken, want, taken == 0 ? tail : 0);
        uint64_t count = need == 0 ? 0 : growth_of(range, range_up_to_page(range, taken + need));
        uint64_t windows = range->inside ? windows_for(range, start + count, want.ahead) : 0;
        uint64_t now = piece + (windows == 0 ? 0 : rangemeta_table_quanta(range, windows));
        if (count == 0 || now <= taken) {
            return count;
        }
        taken = now;
    }
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
        return grow_given(range, want);
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
    size_t bytes = (size_t)(range_bytes_of(range, range->end - start) + range->pad);
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
