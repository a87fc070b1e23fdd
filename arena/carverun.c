/* carverun.c: carve.h's part of the chunk runs themselves: granules that they get, and give back. */
#include "bin.h"
#include "carve.h"
#include "os.h"
#include "run.h"
#include "warm.h"

static bool is_run_head(const chunk_t *chunk)
{
    const void *start = before(chunk, RUN_FRONT);
    return is_aligned(start, GRANULE) && pagemap_tag(granule_of(start))->length == 1;
}

bool carve_release_from_locked(arena_t *arena, chunk_t *chunk, size_t enough)
{
    size_t size = chunk_size(chunk);
    chunk_t *end = chunk_at(chunk, size);
    bool head = is_run_head(chunk);
    bool tail = chunk_class(end) == CHUNK_END;
    uintptr_t from =
        head ? (uintptr_t)chunk - RUN_FRONT : align_up((uintptr_t)chunk + CHUNK_MIN + CHUNK_HEADER, GRANULE);
    uintptr_t to =
        tail ? (uintptr_t)end + CHUNK_HEADER : align_down((uintptr_t)end - CHUNK_MIN - RUN_FRONT, GRANULE);
    bool only = head && tail && arena->totals.chunk_runs == 1;
    size_t least = head && tail && !only ? GRANULE : enough;
    if (to <= from || to - from < least) {
        return false;
    }
    granule_t first = granule_of((void *)from);
    uint32_t region = pagemap_tag(first)->region;
    uint64_t keep = chunk_header(chunk) & CHUNK_PREV_INUSE;
    bin_remove_locked(arena, chunk);
    if (!tail) { /* [....|granules|rest] -> rest begins a run */
        chunk_t *rest = (chunk_t *)(to + RUN_FRONT);
        carve_insert_free_locked(arena, rest, distance(rest, end), CHUNK_PREV_INUSE);
        *pagemap_tag(granule_of((void *)to)) = (run_tag_t){.length = 1, .region = region};
        arena->totals.chunk_runs++;
    }
    if (!head) { /* [chunk|granules|....] -> the chunk ends a run */
        chunk_t *sentinel = (chunk_t *)(from - CHUNK_HEADER);
        chunk_set(sentinel, CHUNK_END, 0, CHUNK_INUSE);
        carve_insert_free_locked(arena, chunk, distance(chunk, sentinel), keep);
    } else {
        arena->totals.chunk_runs--;
    }
    arena->totals.chunk_run_bytes -= to - from;
    run_put_locked(arena, first, (uint32_t)((to - from) >> GRANULE_LOG2), region, KIND_FREE_DIRTY);
    return true;
}

void carve_release_locked(arena_t *arena)
{
    const chunk_bins_t *bins = &arena->bins;
    unsigned bin = bin_next(bins, bin_index(bins, GRANULE / 2));
    while (bin != BINMAP_NONE) {
        chunk_t *chunk = bins->heads[bin];
        while (chunk != NULL &&
               !(carve_is_in_map(arena, chunk) && carve_release_from_locked(arena, chunk, GRANULE))) {
            chunk = chunk->next;
        }
        bin = bin_next(bins, bin + (chunk == NULL)); /* a release changes the list: look again */
    }
}

/* Whether the granule is in a chunk run of the same region. */
static bool is_chunks_of_region(const arena_t *arena, granule_t granule, uint32_t region)
{
    return run_kind(arena, granule) == KIND_CHUNKS && pagemap_tag(granule)->region == region;
}

/*
 * Whether a chunk run may be put together with granules just in front of it. Not if it begins with an OPEN piece, whose
 * header only its owner writes: what was put in front would be a free chunk, and that has to be said there.
 */
static bool is_joinable_behind(const arena_t *arena, granule_t granule, uint32_t region)
{
    const chunk_t *first = at(granule_start(granule), RUN_FRONT);
    return is_chunks_of_region(arena, granule, region) &&
           !(chunk_is_inuse(first) && chunk_has_flag(first, CHUNK_OPEN));
}

/* Makes [chunk, end) free, together with free chunks at either side; `prev`: the flag that the one at `chunk` has. */
static void add_free(arena_t *arena, chunk_t *chunk, chunk_t *end, uint64_t prev, bool zero)
{
    size_t size = distance(chunk, end);
    if (!chunk_is_inuse(end)) { /* [new][free chunk] */
        bin_remove_locked(arena, end);
        size_t more = chunk_size(end);
        zero = zero && chunk_joins_as_zero(end, end, size / CARVE_CLEARED);
        size += more;
    }
    if (prev == 0) { /* [free chunk][new] */
        chunk_t *previous = chunk_prev(chunk);
        bin_remove_locked(arena, previous);
        size_t more = chunk_size(previous);
        prev = chunk_header(previous) & CHUNK_PREV_INUSE;
        zero = zero && chunk_joins_as_zero(previous, chunk, size / CARVE_CLEARED);
        size += more;
        chunk = previous;
    }
    carve_insert_free_locked(arena, chunk, size, prev | (zero ? CHUNK_ZERO : 0));
}

/* Turns granules just taken into free chunk space: a run of their own, or part of those beside them. */
static void adopt(arena_t *arena, granule_t first, uint32_t length, uint32_t region, bool zero)
{
    bool joins_before = is_chunks_of_region(arena, first - 1, region);
    bool joins_behind = is_joinable_behind(arena, first + length, region);
    for (uint32_t i = 0; i < length; i++) {
        *pagemap_tag(first + i) =
            (run_tag_t){.length = i == 0 && !joins_before, .region = region, .warm = warm_at_first(zero)};
    }
    char *start = granule_start(first);
    char *stop = granule_start(first + length);
    chunk_t *chunk = (chunk_t *)(start + (joins_before ? -CHUNK_HEADER : RUN_FRONT));
    chunk_t *end = (chunk_t *)(stop + (joins_behind ? RUN_FRONT : -CHUNK_HEADER));
    uint64_t prev = joins_before ? chunk_header(chunk) & CHUNK_PREV_INUSE : CHUNK_PREV_INUSE;
    if (joins_behind) {
        pagemap_tag(first + length)->length = 0;
        memset(stop, 0, RUN_FRONT);
    } else {
        chunk_set(end, CHUNK_END, 0, CHUNK_INUSE | CHUNK_PREV_INUSE);
    }
    add_free(arena, chunk, end, prev, zero);
    arena->totals.chunk_run_bytes += (size_t)length << GRANULE_LOG2;
    arena->totals.chunk_runs += 1;
    arena->totals.chunk_runs -= (size_t)joins_before + (size_t)joins_behind;
    arena->chunk_edge = first + length;
}

size_t carve_wants_behind_locked(const arena_t *arena, chunk_t *chunk, size_t size, char **behind)
{
    chunk_t *end = chunk_next(chunk);
    if (!carve_is_sound(arena, end)) {
        return 0;
    }
    end = chunk_is_inuse(end) ? end : chunk_next(end);
    size_t whole = distance(chunk, end);
    if (chunk_class(end) != CHUNK_END || size <= whole) {
        return 0;
    }
    *behind = at(end, CHUNK_HEADER);
    return size - whole;
}

bool carve_extend_locked(arena_t *arena, chunk_t *chunk, size_t size)
{
    char *stop = NULL;
    size_t lacks = carve_is_in_map(arena, chunk) ? carve_wants_behind_locked(arena, chunk, size, &stop) : 0;
    granule_t behind = granule_of(stop);
    uint32_t length = (uint32_t)(align_up(lacks, GRANULE) >> GRANULE_LOG2);
    bool zero;
    if (length == 0 || !run_is_free_of_region(arena, behind, pagemap_tag(behind - 1)->region) ||
        !run_take_at_locked(arena, behind, length, KIND_CHUNKS, &zero)) {
        return false;
    }
    adopt(arena, behind, length, pagemap_tag(behind)->region, zero);
    return true;
}

/* What a free run would be as a chunk, together with free chunks at its ends. */
static size_t size_with_neighbours(const arena_t *arena, granule_t first, uint32_t length)
{
    uint32_t region = pagemap_tag(first)->region & ~RUN_DIRTY;
    size_t size = ((size_t)length << GRANULE_LOG2) - CHUNK_HEADER - RUN_FRONT;
    const chunk_t *end = before(granule_start(first), CHUNK_HEADER);
    if (is_chunks_of_region(arena, first - 1, region)) {
        size += CHUNK_HEADER + RUN_FRONT + (chunk_prev_is_inuse(end) ? 0 : chunk_prev_size(end));
    }
    const chunk_t *head = at(granule_start(first + length), RUN_FRONT);
    if (is_joinable_behind(arena, first + length, region)) {
        size += CHUNK_HEADER + RUN_FRONT + (chunk_is_inuse(head) ? 0 : chunk_size(head));
    }
    return size;
}

/* A run that is too short by itself, but not with the free chunks beside it: what a release cut up. */
static granule_t take_between(arena_t *arena, size_t size, uint32_t least, uint32_t *length, bool *zero)
{
    for (uint32_t less = 1; less <= 2 && less < least; less++) {
        granule_t first = run_find_locked(arena, least - less);
        uint32_t whole = first == 0 ? 0 : pagemap_tag(first)->length;
        if (first != 0 && size_with_neighbours(arena, first, whole) >= size &&
            run_take_at_locked(arena, first, whole, KIND_CHUNKS, zero)) {
            *length = whole;
            return first;
        }
    }
    return 0;
}

bool carve_grow_locked(arena_t *arena, size_t size)
{
    size_t bytes = size + CHUNK_HEADER + RUN_FRONT;
    if (arena->in_buffer || bytes < size || (bytes - 1) >> GRANULE_LOG2 >= UINT32_MAX) {
        return false;
    }
    uint32_t least = (uint32_t)((bytes + GRANULE - 1) >> GRANULE_LOG2);
    uint32_t more = (uint32_t)min_size(arena->totals.chunk_run_bytes >> (GRANULE_LOG2 + 3), CARVE_MORE);
    bool zero = false;
    granule_t first = arena->chunk_edge;
    uint32_t length = least + (least < CARVE_MORE ? more : 0);
    if (first == 0 || !run_take_at_locked(arena, first, length, KIND_CHUNKS, &zero)) {
        first = run_take_locked(arena, length, KIND_CHUNKS, &zero);
    }
    if (first == 0) {
        length = least;
        first = run_take_locked(arena, length, KIND_CHUNKS, &zero);
    }
    first = first != 0 ? first : take_between(arena, size, least, &length, &zero);
    if (first == 0) {
        return false;
    }
    adopt(arena, first, length, pagemap_tag(first)->region, zero);
    return true;
}

void carve_add_span_locked(arena_t *arena, char *start, size_t bytes, bool joins, bool zero)
{
    char *from = (char *)align_up((uintptr_t)start, 16);
    char *to = (char *)align_down((uintptr_t)start + bytes, 16);
    chunk_t *chunk = (chunk_t *)(from + (joins ? -CHUNK_HEADER : CHUNK_HEADER));
    chunk_t *end = (chunk_t *)(to - CHUNK_HEADER);
    uint64_t prev = joins ? chunk_header(chunk) & CHUNK_PREV_INUSE : CHUNK_PREV_INUSE;
    chunk_set(end, CHUNK_END, 0, CHUNK_INUSE);
    add_free(arena, chunk, end, prev, zero);
    arena->totals.chunk_run_bytes += bytes;
    arena->totals.chunk_runs += !joins;
}

size_t carve_free_end_locked(const arena_t *arena, const char *start, size_t bytes)
{
    const chunk_t *sentinel = at(start, bytes - CHUNK_HEADER);
    bool free = !chunk_prev_is_inuse(sentinel) && carve_previous_is_sound(arena, sentinel);
    return free ? chunk_prev_size(sentinel) : 0;
}

size_t carve_shorten_locked(arena_t *arena, char *start, size_t bytes, size_t least)
{
    size_t size = carve_free_end_locked(arena, start, bytes);
    if (size == 0) {
        return 0;
    }
    size_t page = os_page_bytes();
    chunk_t *chunk = (chunk_t *)(start + bytes - CHUNK_HEADER - size);
    size_t kept = distance(start, chunk); /* in front of the free chunk */
    size_t lowest = kept == CHUNK_HEADER ? 0 : align_up(kept + CHUNK_HEADER, page);
    lowest += lowest - kept - CHUNK_HEADER - 1 < CHUNK_MIN - 1 ? page : 0; /* too short for a free chunk */
    size_t stays = max_size(lowest, align_down(bytes - min_size(least, bytes), page));
    if (stays >= bytes) {
        return 0;
    }
    uint64_t flags = chunk_header(chunk) & (CHUNK_PREV_INUSE | CHUNK_ZERO);
    bin_remove_locked(arena, chunk);
    if (stays != 0) { /* [chunk .....][sentinel] -> [chunk][sentinel] */
        chunk_t *sentinel = (chunk_t *)(start + stays - CHUNK_HEADER);
        chunk_set(sentinel, CHUNK_END, 0, CHUNK_INUSE | CHUNK_PREV_INUSE);
        if (sentinel != chunk) {
            carve_insert_free_locked(arena, chunk, distance(chunk, sentinel), flags);
        }
    }
    arena->totals.chunk_run_bytes -= bytes - stays;
    arena->totals.chunk_runs -= stays == 0;
    return bytes - stays;
}
