/* carve.c: see carve.h. */
#include "carve.h"

#include "bin.h"
#include "warm.h"

INLINE void set_free(chunk_t *chunk, size_t size, uint64_t flags)
{
    chunk_set_free(chunk, size, flags);
    if (size >= CHUNK_MARKED && (flags & CHUNK_ZERO) == 0) {
        *chunk_purged(chunk) = 0;
    }
}

void carve_insert_free_locked(arena_t *arena, chunk_t *chunk, size_t size, uint64_t flags)
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
    uint64_t zero =
        chunk_header(chunk) & CHUNK_ZERO; /* of one in use it is OPEN, and such a chunk is not split */
    if (whole - size >= CHUNK_MIN) {      /* [chunk ......] -> [in use][rest] */
        chunk_t *rest = chunk_at(chunk, size);
        if (carve_is_in_map(arena, chunk)) {
            warm_note(arena->granules, rest);
        }
        if (free != NULL) {
            bin_replace_locked(arena, free, rest, whole - size);
            set_free(rest, whole - size, CHUNK_PREV_INUSE | zero);
        } else {
            carve_insert_free_locked(arena, rest, whole - size, CHUNK_PREV_INUSE | zero);
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
           whole >= size + CHUNK_MIN && !chunk_has_flag(chunk, CHUNK_ZERO) && carve_is_in_map(arena, chunk) &&
           !warm_is_known(chunk_at(chunk, size)) && warm_is_known(chunk_at(chunk, whole - size));
}

/* A block of so many bytes is given out, or with a sign of -1 comes back. */
static void count_given(arena_t *arena, size_t usable, int sign)
{
    arena->totals.chunk_usable += sign > 0 ? usable : 0 - usable;
    arena->totals.chunk_blocks += sign > 0 ? 1 : SIZE_MAX;
}

/* A chunk of `size` bytes and of `class` was asked for, and is taken: what it has beyond is not usable. The blocks of a
 * piece are counted by the cache that carves them. */
static void count_taken(arena_t *arena, size_t size, unsigned class)
{
    if (class != CHUNK_PIECE) {
        count_given(arena, carve_usable_of(size, class), 1);
    }
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
    count_taken(arena, size, class);
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
    count_taken(arena, size, class);
    return chunk;
}

chunk_t *carve_take_aligned_locked(arena_t *arena, size_t alignment, size_t size, unsigned class, bool *zero)
{
    size_t most = size + alignment + CHUNK_MIN;
    chunk_t *chunk = most < size ? NULL : bin_find_locked(arena, most);
    if (chunk == NULL) {
        return NULL;
    }
    uint64_t flag = chunk_header(chunk) & CHUNK_ZERO;
    *zero = flag != 0;
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
        chunk_set(aligned, CHUNK_FREE, whole - gap, CHUNK_PREV_INUSE | flag);
        bin_replace_locked(arena, chunk, chunk, gap);
        set_free(chunk, gap, keep | flag);
        chunk = aligned;
        free = NULL;
    }
    split(arena, chunk, whole - gap, size, class, free);
    count_taken(arena, size, class);
    return chunk;
}

/* Whether the neighbours' tags are those of chunks: an overflow is found here before it does harm. */
static bool neighbours_are_sound(const arena_t *arena, const chunk_t *chunk, uint64_t header,
                                 const chunk_t *next)
{
    uint64_t behind = chunk_header(next);
    return carve_header_is_sound(arena, behind, chunk_class_of(chunk_block(next), behind)) &&
           (behind & CHUNK_PREV_INUSE) != 0 &&
           ((header & CHUNK_PREV_INUSE) != 0 || carve_previous_is_sound(arena, chunk));
}

/*
 * Puts the chunk into a bin, as one with its free neighbours. A neighbour's place in its bin is kept if it can be: that
 * saves a removal and an insertion.
 */
static chunk_t *merge(arena_t *arena, chunk_t *chunk, size_t size, uint64_t flags, chunk_t *next)
{
    chunk_t *free = NULL;        /* whose place the whole takes */
    if (!chunk_is_inuse(next)) { /* [chunk][next] -> [chunk] */
        free = next;
        size += chunk_size(next);
    }
    if ((flags & CHUNK_PREV_INUSE) == 0) { /* [previous][chunk] -> [previous] */
        if (free != NULL) {
            bin_remove_locked(arena, free);
        }
        free = chunk_prev(chunk);
        size += chunk_size(free);
        chunk_set(chunk, CHUNK_FREE, size, 0); /* what stays in the middle is no block any more */
        chunk = free;
        flags = chunk_header(chunk);
    }
    if (free == NULL) {
        carve_insert_free_locked(arena, chunk, size, flags & CHUNK_PREV_INUSE);
    } else {
        bin_replace_locked(arena, free, chunk, size);
        set_free(chunk, size, flags & CHUNK_PREV_INUSE);
    }
    return chunk;
}

/* The free chunks that cover granules keep them up to a bound. Beyond, the newest gives its own back; if that is not
 * enough, because what was in use is free by now, all do. */
static void release_beyond(arena_t *arena, chunk_t *newest)
{
    const totals_t *totals = &arena->totals;
    size_t in_use = totals->chunk_run_bytes - totals->free_chunk_bytes;
    size_t bound = max_size(RETAIN_BYTES, in_use / RETAIN_SHARE);
    if (totals->wide_chunk_bytes > bound) {
        carve_release_from_locked(arena, newest, CARVE_RELEASE * GRANULE);
        if (totals->wide_chunk_bytes > 2 * bound) {
            carve_release_locked(arena);
        }
    }
}

misuse_t carve_put_locked(arena_t *arena, chunk_t *chunk)
{
    uint64_t header = chunk_header(chunk);
    unsigned class = chunk_class_of(chunk_block(chunk), header);
    size_t size = (size_t)(header & CHUNK_SIZE_MASK);
    if (!carve_header_is_sound(arena, header, class)) {
        return MISUSE_BROKEN_HEADER;
    }
    chunk_t *next = chunk_at(chunk, size);
    if (!neighbours_are_sound(arena, chunk, header, next)) {
        return MISUSE_BROKEN_NEIGHBOUR;
    }
    if (class != CHUNK_PIECE) {
        count_given(arena, carve_usable_of(header, class), -1);
    }
    if (UNLIKELY((chunk_header(next) & (CHUNK_INUSE | CHUNK_OPEN)) == (CHUNK_INUSE | CHUNK_OPEN))) {
        chunk_set(chunk, CHUNK_DEFERRED, size, CHUNK_INUSE | (header & CHUNK_PREV_INUSE));
        chunk->next = arena->deferred;
        arena->deferred = chunk;
        return MISUSE_NONE;
    }
    chunk = merge(arena, chunk, size, header & CHUNK_PREV_INUSE, next);
    if (arena->totals.wide_chunk_bytes > RETAIN_BYTES && chunk_size(chunk) >= GRANULE / 2 &&
        carve_is_in_map(arena, chunk)) {
        release_beyond(arena, chunk);
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
    uint32_t left = 0;
    for (chunk = arena->deferred; chunk != NULL; chunk = chunk->next) {
        left++;
    }
    if (arena->granules != NULL) {
        arena->granules->deferred_turns = left / 2;
    }
}

bool carve_resize_locked(arena_t *arena, chunk_t *chunk, size_t size, unsigned class)
{
    size_t whole = chunk_size(chunk);
    chunk_t *next = chunk_at(chunk, whole);
    if (!carve_is_sound(arena, next)) {
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
