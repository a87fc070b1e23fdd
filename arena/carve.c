/* carve.c: see carve.h. */
#include "carve.h"

#include "bin.h"
#include "os.h"
#include "run.h"
#include "warm.h"

static bool is_in_map(const arena_t *arena, const chunk_t *chunk)
{
    return !arena->in_buffer && pagemap_entry(chunk) == (arena->tag | KIND_CHUNKS);
}

static void set_free(chunk_t *chunk, size_t size, uint64_t flags)
{
    chunk_set_free(chunk, size, flags);
    if (size >= CHUNK_MARKED && (flags & CHUNK_ZERO) == 0) {
        *chunk_purged(chunk) = 0;
    }
}

static void insert_free(arena_t *arena, chunk_t *chunk, size_t size, uint64_t flags)
{
    set_free(chunk, size, flags);
    bin_insert_locked(arena, chunk);
}

/*
 * Marks the first `size` of `whole` bytes as in use. `free` is the free chunk among them, in its bin, which the rest takes
 * the place of; NULL: there is none.
 */
static void split(arena_t *arena, chunk_t *chunk, size_t whole, size_t size, unsigned class, chunk_t *free)
{
    uint64_t keep = chunk_header(chunk) & CHUNK_PREV_INUSE;
    uint64_t zero = free == chunk ? chunk_header(chunk) & CHUNK_ZERO : 0;
    if (whole - size >= CHUNK_MIN) { /* [chunk ......] -> [in use][rest] */
        chunk_t *rest = chunk_at(chunk, size);
        if (is_in_map(arena, chunk)) {
            warm_note(arena->granules, rest);
        }
        if (free != NULL) {
            bin_replace_locked(arena, free, rest, whole - size);
            set_free(rest, whole - size, CHUNK_PREV_INUSE | zero);
        } else {
            insert_free(arena, rest, whole - size, CHUNK_PREV_INUSE);
        }
        whole = size;
    } else {
        if (free != NULL) {
            bin_remove_locked(arena, free);
        }
        chunk_set_prev_inuse(chunk_at(chunk, whole), true);
    }
    unsigned pad = chunk_is_plain(class) ? (unsigned)(whole - size) / 8 : 0;
    chunk_set(chunk, class + pad, whole, keep | CHUNK_INUSE);
}

/* The last `size` bytes of a free chunk, in its bin, with the class of a magazine; returns them. */
static chunk_t *split_last(arena_t *arena, chunk_t *chunk, size_t whole, size_t size, unsigned class)
{
    chunk_t *last = chunk_at(chunk, whole - size); /* [chunk ......] -> [rest][in use] */
    bin_replace_locked(arena, chunk, chunk, whole - size);
    set_free(chunk, whole - size, chunk_header(chunk) & CHUNK_PREV_INUSE);
    chunk_set_prev_inuse(chunk_at(chunk, whole), true);
    chunk_set(last, class, size, CHUNK_INUSE);
    return last;
}

/*
 * Whether the end of a free chunk is the better part to take: a header fits there without a new page, at the front not.
 * Only for magazines, whose blocks do not grow in place, and where the fit leaves the choice.
 */
static bool prefers_last(const arena_t *arena, const chunk_t *chunk, size_t whole, size_t size,
                         unsigned class)
{
    return class > SMALL_CLASSES && class <= CLASSES && arena->fit == ARENA_FIT_GOOD &&
           whole >= size + CHUNK_MIN && !chunk_has_flag(chunk, CHUNK_ZERO) && is_in_map(arena, chunk) &&
           !warm_is_known(chunk_at(chunk, size)) && warm_is_known(chunk_at(chunk, whole - size));
}

static void count_given(arena_t *arena, const chunk_t *chunk, int sign)
{
    const void *block = chunk_block(chunk);
    uint64_t header = chunk_header(chunk);
    unsigned class = chunk_class_of(block, header);
    if (class == CHUNK_PIECE) {
        return; /* its blocks are counted by the cache that carves them */
    }
    size_t usable = carve_usable(block, header);
    arena->totals.chunk_usable += sign > 0 ? usable : 0 - usable;
    arena->totals.chunk_blocks += sign > 0 ? 1 : SIZE_MAX;
}

chunk_t *carve_take_locked(arena_t *arena, size_t size, unsigned class, bool *zero)
{
    chunk_t *chunk = bin_find_locked(arena, size);
    if (chunk == NULL) {
        return NULL;
    }
    *zero = chunk_has_flag(chunk, CHUNK_ZERO);
    if (prefers_last(arena, chunk, chunk_size(chunk), size, class)) {
        chunk = split_last(arena, chunk, chunk_size(chunk), size, class);
    } else {
        split(arena, chunk, chunk_size(chunk), size, class, chunk);
    }
    count_given(arena, chunk, 1);
    return chunk;
}

chunk_t *carve_take_roomy_locked(arena_t *arena, size_t size, size_t room, unsigned class)
{
    chunk_t *chunk = bin_find_wide_locked(arena, room);
    if (chunk == NULL && carve_grow_locked(arena, room)) {
        chunk = bin_find_wide_locked(arena, room);
    }
    if (chunk == NULL) {
        return NULL;
    }
    split(arena, chunk, chunk_size(chunk), size, class, chunk);
    count_given(arena, chunk, 1);
    return chunk;
}

chunk_t *carve_take_aligned_locked(arena_t *arena, size_t alignment, size_t size, unsigned class)
{
    size_t most = size + alignment + CHUNK_MIN;
    chunk_t *chunk = most < size ? NULL : bin_find_locked(arena, most);
    if (chunk == NULL) {
        return NULL;
    }
    size_t whole = chunk_size(chunk);
    chunk_t *free = chunk;
    uintptr_t block = align_up((uintptr_t)chunk_block(chunk), alignment);
    size_t gap = block - (uintptr_t)chunk_block(chunk);
    if (gap != 0 && gap < CHUNK_MIN) {
        gap += alignment; /* alignment is at least 16: at most two steps to a chunk's length */
        gap += gap < CHUNK_MIN ? alignment : 0;
    }
    if (gap != 0) { /* [chunk ......] -> [gap][chunk ....] */
        uint64_t keep = chunk_header(chunk) & CHUNK_PREV_INUSE;
        chunk_t *aligned = chunk_at(chunk, gap);
        chunk_set(aligned, CHUNK_FREE, whole - gap, CHUNK_PREV_INUSE);
        bin_replace_locked(arena, chunk, chunk, gap);
        set_free(chunk, gap, keep);
        chunk = aligned;
        free = NULL;
    }
    split(arena, chunk, whole - gap, size, class, free);
    count_given(arena, chunk, 1);
    return chunk;
}

static bool is_run_head(const chunk_t *chunk)
{
    const void *start = before(chunk, RUN_FRONT);
    return is_aligned(start, GRANULE) && pagemap_tag(granule_of(start))->length == 1;
}

/* Gives back the whole granules that a free chunk, in its bin, covers, if they are enough; keeps a sentinel on
 * each side. */
static bool release_granules(arena_t *arena, chunk_t *chunk, size_t enough)
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
        insert_free(arena, rest, distance(rest, end), CHUNK_PREV_INUSE);
        *pagemap_tag(granule_of((void *)to)) = (run_tag_t){.length = 1, .region = region};
        arena->totals.chunk_runs++;
    }
    if (!head) { /* [chunk|granules|....] -> the chunk ends a run */
        chunk_t *sentinel = (chunk_t *)(from - CHUNK_HEADER);
        chunk_set(sentinel, CHUNK_END, 0, CHUNK_INUSE);
        insert_free(arena, chunk, distance(chunk, sentinel), keep);
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
    int bin = bin_next(bins, bin_index(bins, GRANULE / 2));
    while (bin >= 0) {
        chunk_t *chunk = bins->heads[bin];
        while (chunk != NULL && !(is_in_map(arena, chunk) && release_granules(arena, chunk, GRANULE))) {
            chunk = chunk->next;
        }
        bin = bin_next(bins, (unsigned)bin + (chunk == NULL)); /* a release changes the list: look again */
    }
}

/* What is read over one that is not sound may lie anywhere. */
static bool is_sound(const arena_t *arena, const chunk_t *chunk)
{
    unsigned class = chunk_class(chunk);
    if (chunk_is_classed(class)) {
        return chunk_size_fits_class(chunk_header(chunk), class);
    }
    return (chunk_is_plain(class) || (class >= CHUNK_FREE && class <= CHUNK_LAST)) &&
           chunk_size(chunk) <= arena->totals.chunk_run_bytes;
}

/* Of a chunk behind a free one. */
static bool previous_is_sound(const arena_t *arena, const chunk_t *chunk)
{
    size_t behind = chunk_prev_size(chunk);
    const chunk_t *previous = chunk_prev(chunk);
    return behind <= arena->totals.chunk_run_bytes && chunk_class(previous) == CHUNK_FREE &&
           chunk_size(previous) == behind;
}

/* Whether the neighbours' tags are those of chunks: an overflow is found here before it does harm. */
static bool neighbours_are_sound(const arena_t *arena, const chunk_t *chunk)
{
    const chunk_t *next = chunk_next(chunk);
    if (!is_sound(arena, next) || !chunk_prev_is_inuse(next)) {
        return false;
    }
    return chunk_prev_is_inuse(chunk) || previous_is_sound(arena, chunk);
}

misuse_t carve_put_locked(arena_t *arena, chunk_t *chunk)
{
    if (!is_sound(arena, chunk)) {
        return MISUSE_BROKEN_HEADER;
    }
    if (!neighbours_are_sound(arena, chunk)) {
        return MISUSE_BROKEN_NEIGHBOUR;
    }
    count_given(arena, chunk, -1);
    size_t size = chunk_size(chunk);
    chunk_t *next = chunk_at(chunk, size);
    if (chunk_is_inuse(next) && chunk_has_flag(next, CHUNK_OPEN)) {
        chunk_set(chunk, CHUNK_DEFERRED, size, CHUNK_INUSE | (chunk_header(chunk) & CHUNK_PREV_INUSE));
        chunk->next = arena->deferred;
        arena->deferred = chunk;
        return MISUSE_NONE;
    }
    if (!chunk_is_inuse(next)) { /* [chunk][next] -> [chunk] */
        bin_remove_locked(arena, next);
        size += chunk_size(next);
    }
    if (!chunk_prev_is_inuse(chunk)) { /* [previous][chunk] -> [previous] */
        chunk_t *previous = chunk_prev(chunk);
        bin_remove_locked(arena, previous);
        size += chunk_size(previous);
        chunk_set(chunk, CHUNK_FREE, size, 0); /* what stays in the middle is no block any more */
        chunk = previous;
    }
    insert_free(arena, chunk, size, chunk_header(chunk) & CHUNK_PREV_INUSE);
    if (arena->totals.wide_chunk_bytes > RETAIN_BYTES && size >= GRANULE / 2 && is_in_map(arena, chunk)) {
        release_granules(arena, chunk, CARVE_RELEASE * GRANULE);
    }
    return MISUSE_NONE;
}

void carve_put_deferred_locked(arena_t *arena)
{
    chunk_t *chunk = arena->deferred;
    arena->deferred = NULL;
    while (chunk != NULL) {
        chunk_t *next = chunk->next;
        size_t size = chunk_size(chunk);
        chunk_set(chunk, CHUNK_PIECE, size, CHUNK_INUSE | (chunk_header(chunk) & CHUNK_PREV_INUSE));
        carve_put_locked(arena, chunk);
        chunk = next;
    }
}

bool carve_resize_locked(arena_t *arena, chunk_t *chunk, size_t size, unsigned class)
{
    size_t whole = chunk_size(chunk);
    chunk_t *next = chunk_at(chunk, whole);
    if (!is_sound(arena, next)) {
        return false; /* the free that follows reports it */
    }
    bool absorb = !chunk_is_inuse(next);
    if (size > whole + (absorb ? chunk_size(next) : 0) || (!absorb && chunk_has_flag(next, CHUNK_OPEN))) {
        return false;
    }
    size_t usable = carve_usable(chunk_block(chunk), chunk_header(chunk));
    whole += absorb ? chunk_size(next) : 0; /* [chunk][next] -> [chunk ......], then split anew */
    split(arena, chunk, whole, size, class, absorb ? next : NULL);
    arena->totals.chunk_usable += carve_usable(chunk_block(chunk), chunk_header(chunk)) - usable;
    return true;
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
    insert_free(arena, chunk, size, prev | (zero ? CHUNK_ZERO : 0));
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
    if (!is_sound(arena, end)) {
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
    size_t lacks = is_in_map(arena, chunk) ? carve_wants_behind_locked(arena, chunk, size, &stop) : 0;
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
    bool free = !chunk_prev_is_inuse(sentinel) && previous_is_sound(arena, sentinel);
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
            insert_free(arena, chunk, distance(chunk, sentinel), flags);
        }
    }
    arena->totals.chunk_run_bytes -= bytes - stays;
    arena->totals.chunk_runs -= stays == 0;
    return bytes - stays;
}
