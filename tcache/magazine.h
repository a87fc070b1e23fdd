/*
 * magazine.h: a fixed array of pointers to free blocks of one class, 512 bytes and so aligned, that the
 * position of its last filled slot alone describes.
 *
 *   byte 0        504 - 8k   512 - 8k               504
 *   +------+ ... +----------+----------+ ... +-----+-----+      k: blocks of the class's magazine
 *   | link |     |   NULL   | block 1  |     |     |  k  |
 *   +------+ ... +----------+----------+ ... +-----+-----+
 *                     ^ top when empty                ^ top when full
 *
 * `top` points to the last filled slot: a block is there, or NULL if it is empty; it is full if the next
 * slot would begin a new 512 bytes. Neither test needs a count. Full magazines that are not loaded are
 * chained through `link` (Bonwick & Adams, 2001, are the idea; the encoding is ours).
 */
#ifndef ARENA_MAGAZINE_H
#define ARENA_MAGAZINE_H

#include "../arena/sizeclass.h"

typedef struct magazine {
    void *slot[MAGAZINE_SLOTS + 1]; /* slot[0]: link while not loaded */
} magazine_t;

_Static_assert(sizeof(magazine_t) == MAGAZINE_BYTES, "one magazine");

/* Full and empty at once, never written: what a bin points to before it has a magazine. */
extern HIDDEN magazine_t magazine_dummy;

extern HIDDEN const uint8_t magazine_capacities[CLASSES + 1];

/* Blocks in a full magazine of the class. */
INLINE unsigned magazine_capacity(unsigned class)
{
    return magazine_capacities[class];
}

/* What the blocks of a full one amount to. */
INLINE size_t magazine_bytes(unsigned class)
{
    return (size_t)magazine_capacity(class) * sizeclass_bytes[class];
}

INLINE magazine_t *magazine_of(void **top)
{
    return (magazine_t *)align_down((uintptr_t)top, MAGAZINE_BYTES);
}

INLINE bool magazine_top_is_full(void **top)
{
    return is_aligned(top + 1, MAGAZINE_BYTES);
}

INLINE void **magazine_top_of_dummy(void)
{
    return &magazine_dummy.slot[MAGAZINE_SLOTS];
}

/* The top of an empty magazine; writes the NULL below its first slot. */
INLINE void **magazine_make_empty(magazine_t *magazine, unsigned class)
{
    void **top = &magazine->slot[MAGAZINE_SLOTS - magazine_capacity(class)];
    *top = NULL;
    return top;
}

/* The top of a full one that was chained. */
INLINE void **magazine_load_full(magazine_t *magazine, unsigned class)
{
    magazine->slot[MAGAZINE_SLOTS - magazine_capacity(class)] = NULL;
    return &magazine->slot[MAGAZINE_SLOTS];
}

/* The first block of a magazine with this top; *count blocks. */
INLINE void **magazine_blocks(void **top, unsigned class, size_t *count)
{
    void **empty = &magazine_of(top)->slot[MAGAZINE_SLOTS - magazine_capacity(class)];
    *count = top == magazine_top_of_dummy() ? 0 : (size_t)(top - empty);
    return empty + 1;
}

INLINE magazine_t *magazine_next(const magazine_t *magazine)
{
    return magazine->slot[0];
}

INLINE void magazine_set_next(magazine_t *magazine, magazine_t *next)
{
    magazine->slot[0] = next;
}

#endif
