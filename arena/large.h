/*
 * large.h: blocks with a mapping of their own. Their first granule's page-map entry says so and its tag
 * points to the descriptor; nothing of ours is in the block. From this size on the kernel's work is small
 * beside the use of the block: the threshold rises with what is freed, as in glibc, so that a size that
 * comes and goes is soon served by chunks.
 */
#ifndef ARENA_LARGE_H
#define ARENA_LARGE_H

#include "check.h"
#include "heap.h"

typedef struct large {
    struct large *next, *previous;
    char *start;
    size_t bytes;     /* mapped, all of them usable */
    size_t alignment; /* at least a granule's */
    uint32_t mapping; /* of the kernel: the arena's count; pieces of two cannot be moved as one */
    bool moving;      /* out of the page map while the kernel may move it */
} large_t;

/*
 * What the threshold is compared with: the room that a chunk has to be searched in. SIZE_MAX: it would be hardly anything
 * but the alignment, and what lies between such blocks costs more than their mappings.
 */
HIDDEN size_t large_room(size_t bytes, size_t alignment);

/* A block of at least `request` bytes at a multiple of `alignment`; NULL: the limit or the source has none, or
 * hooks whose memory is not aligned. Takes grow. The block is zero if *zero. */
HIDDEN void *large_alloc(arena_t *arena, size_t request, size_t alignment, bool *zero);

/* Caller holds no lock. A block that is none of the arena's large ones is reported. One of at most `room` bytes, where
 * several large blocks come and go and the next of its size is to be a chunk, becomes a region, free and dirty. */
HIDDEN misuse_t large_free(arena_t *arena, void *block, size_t room);

/* Caller holds grow; not of a buffer. Chunks lack `need` bytes: once they have grown beside what is parked by a quarter of
 * that, it becomes such a region, or goes if it is not as much. True: a region. */
HIDDEN bool large_unpark(arena_t *arena, size_t need);

/* Makes it `most` bytes, or else `request` at least, in place or moved by the kernel; NULL: nothing changed. *when, if `when` is not NULL: a
 * time at which no other thread can have got the old place yet, nor have left the new one only later. */
HIDDEN void *large_realloc(arena_t *arena, void *block, size_t request, size_t most, uint64_t *when);

/* Usable bytes; 0 if `block` is not the start of a large block of the arena. */
HIDDEN size_t large_usable(arena_t *arena, const void *block);

/* The descriptor of a block, or NULL. */
HIDDEN large_t *large_find_locked(const arena_t *arena, const void *block);

/* Takes all out of the arena's books, under both locks; then gives them up, under grow alone. */
HIDDEN large_t *large_detach_all_locked(arena_t *arena);
HIDDEN void large_release(arena_t *arena, large_t *all, bool lives_on);

/* What large_alloc rounds a request up to. */
HIDDEN size_t large_good_size(const arena_t *arena, size_t request);

#endif
