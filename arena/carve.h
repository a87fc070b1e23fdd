/*
 * carve.h: blocks out of chunk runs: find, split, mark; and back: mark, merge with both neighbours,
 * insert. Each is one step under the arena's mutex: a free that lets another thread see the heap between
 * unlinking a neighbour and inserting the merged chunk makes it grow for ever (musl's old race).
 *
 * A chunk run begins with 8 unused bytes, so that blocks are aligned, one of granules with RUN_FRONT, and ends with a
 * sentinel that is always in use: merging has no edge cases. A run that gets a granule next to it absorbs it. Free chunks
 * that cover granules keep them, up to RETAIN_BYTES or a RETAIN_SHARE of the chunk runs, because who frees a large block
 * often asks for the next, which fits between two others only as long as no granule is missing there. Beyond that one
 * that covers CARVE_RELEASE granules gives them back to the runs, leaving a sentinel each side. All are given back when the runs are short of granules, and once in a while.
 */
#ifndef ARENA_CARVE_H
#define ARENA_CARVE_H

#include "check.h"
#include "chunk.h"
#include "heap.h"

enum {
    CARVE_RELEASE = 4,
    CARVE_MORE = 16,  /* granules that a smaller chunk's run has to spare, at most */
    CARVE_CLEARED = 8 /* a free chunk up to this part of new, zero memory beside it is cleared */
};

/* A chunk of `size` bytes (a multiple of the quantum, at least CHUNK_MIN) marked with `class`; CHUNK_PLAIN
 * gets what could not be split off added. NULL: none fits. *zero: its block reads as zero but for the
 * first 16 and the last 8 bytes. */
HIDDEN chunk_t *carve_take_locked(arena_t *arena, size_t size, unsigned class, bool *zero);

/* The same from the front of one of the largest free chunks, of at least `room` bytes: it can grow in place. */
HIDDEN chunk_t *carve_take_roomy_locked(arena_t *arena, size_t size, size_t room, unsigned class);

/* The first with its block at a multiple of `alignment`, which is above the quantum. */
HIDDEN chunk_t *carve_take_aligned_locked(arena_t *arena, size_t alignment, size_t size, unsigned class,
                                          bool *zero);

/* Takes a chunk in use back. A broken neighbour is reported and nothing changed. */
HIDDEN misuse_t carve_put_locked(arena_t *arena, chunk_t *chunk);

/* Makes a plain or classed chunk in use `size` bytes long in place, as `class`; false: it stays. */
HIDDEN bool carve_resize_locked(arena_t *arena, chunk_t *chunk, size_t size, unsigned class);

/* The bytes that a chunk in use would have to get from behind its run, which *behind begins, to be `size` bytes
 * long; 0: it is not the last of its run, or long enough. */
HIDDEN size_t carve_wants_behind_locked(const arena_t *arena, chunk_t *chunk, size_t size, char **behind);

/* Adds granules there to its run, so that carve_resize_locked makes it `size` bytes; false: they are not free. */
HIDDEN bool carve_extend_locked(arena_t *arena, chunk_t *chunk, size_t size);

/* Adds granules from the free runs so that a chunk of `size` can be carved; false: none there. */
HIDDEN bool carve_grow_locked(arena_t *arena, size_t size);

/* Gives every granule back that a free chunk covers, the last run's too: for a trim. */
HIDDEN void carve_release_locked(arena_t *arena);

/* Makes one chunk run of [start, start + bytes), addresses outside the page map; `joins`: with the one that ends at
 * start. */
HIDDEN void carve_add_span_locked(arena_t *arena, char *start, size_t bytes, bool joins, bool zero);

/* Free bytes at the end of the run that is just [start, start + bytes), its sentinel aside. */
HIDDEN size_t carve_free_end_locked(const arena_t *arena, const char *start, size_t bytes);

/* Takes at least `least` bytes off that end, but what is in use, and whole pages; the whole run if all of it is free.
 * Returns how many. */
HIDDEN size_t carve_shorten_locked(arena_t *arena, char *start, size_t bytes, size_t least);

/* Frees the chunks whose neighbour was an open piece when they were put. */
HIDDEN void carve_put_deferred_locked(arena_t *arena);

/* Usable bytes of a block in use whose chunk has this header, of this class. */
INLINE size_t carve_usable_of(uint64_t header, unsigned class)
{
    if (LIKELY(class <= CLASSES)) {
        return sizeclass_bytes[class];
    }
    return (size_t)(header & CHUNK_SIZE_MASK) - CHUNK_HEADER - 8 * (size_t)(class - CHUNK_PLAIN);
}

/* Of a block in use; `header` is its chunk's. */
INLINE size_t carve_usable(const void *block, uint64_t header)
{
    return carve_usable_of(header, chunk_class_of(block, header));
}

/* Whether the header before `block` is that of a block in use; says why not. */
HIDDEN misuse_t carve_validate(const void *block);

/* --- between carve.c, carverun.c and header.c --- */

/* Whether a header may be that of a chunk of this arena: what is read over one that is not may lie anywhere. */
INLINE bool carve_header_is_sound(const arena_t *arena, uint64_t header, unsigned class)
{
    if (chunk_is_classed(class)) {
        return chunk_size_fits_class(header, class);
    }
    return (chunk_is_plain(class) || (class >= CHUNK_FREE && class <= CHUNK_LAST)) &&
           (header & CHUNK_SIZE_MASK) <= arena->totals.chunk_run_bytes;
}

INLINE bool carve_is_sound(const arena_t *arena, const chunk_t *chunk)
{
    uint64_t header = chunk_header(chunk);
    return carve_header_is_sound(arena, header, chunk_class_of(chunk_block(chunk), header));
}

/* The same of the chunk in front, which this one's header says is free. */
HIDDEN bool carve_previous_is_sound(const arena_t *arena, const chunk_t *chunk);

/* Not in a buffer, nor in a region outside the page map. */
INLINE bool carve_is_in_map(const arena_t *arena, const chunk_t *chunk)
{
    return !has_bounds(arena) || (!arena->in_buffer && pagemap_entry(chunk) == (arena->tag | KIND_CHUNKS));
}

/* Makes `size` bytes a free chunk, in its bin. */
HIDDEN void carve_insert_free_locked(arena_t *arena, chunk_t *chunk, size_t size, uint64_t flags);

/* Gives back the whole granules that a free chunk, in its bin, covers, if they are `enough` bytes; keeps a sentinel on
 * each side. */
HIDDEN bool carve_release_from_locked(arena_t *arena, chunk_t *chunk, size_t enough);

#endif
