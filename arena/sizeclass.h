/*
 * sizeclass.h: the size classes that slabs and thread caches work in, as constant tables, because the
 * first allocation may come before any constructor runs.
 *
 * Class 0 is none. 1: 8 bytes; 2 to 9: 16 to 128 by 16; then 8 steps a doubling (at most 12.5 % waste), to SLAB_MAX
 * in slabs and to CLASS_MAX in chunks. But from SMALL_MAX to SLAB_MAX:
 * - A power of two and a header, or a terminating byte, is a frequent request, and would waste an eighth. So above 1, 2
 *   and 4 KiB the first step is what 15 blocks have room for where 16 of the power of two had.
 * - From there to 16 KiB the steps are what 14 to 4 blocks of a granule have room for, in multiples of 64: equal ones
 *   would leave up to a twelfth of it over, and more from 8 KiB on. To 32 and 64 KiB, what 7 to 4 blocks of two and of four
 *   granules have room for, in multiples of 1 KiB (at most 22 % waste).
 */
#ifndef ARENA_SIZECLASS_H
#define ARENA_SIZECLASS_H

#include "util.h"

extern HIDDEN const uint8_t sizeclass_small[SMALL_MAX + 1]; /* request -> class */
extern HIDDEN const uint32_t sizeclass_bytes[CLASSES + 1];  /* class -> usable bytes */

/* class -> the chunk that serves it, under quantum 16 */
extern HIDDEN const uint16_t sizeclass_chunk[SMALL_CLASSES + 1];

/* (request - 1 - SMALL_MAX) / 16 -> class */
extern HIDDEN const uint8_t sizeclass_medium[(SLAB_MAX - SMALL_MAX) / 16];

/* log2 of an alignment -> of the classes above SMALL_CLASSES, the lowest bit the first, those whose size is a multiple */
extern HIDDEN const uint64_t sizeclass_multiples[GRANULE_LOG2 + 1];

/* The class of a request above SMALL_MAX and of at most SLAB_MAX bytes. */
INLINE unsigned sizeclass_of_medium(size_t request)
{
    return sizeclass_medium[(request - 1 - SMALL_MAX) / 16];
}

/* The class of a request above SLAB_MAX and of at most CLASS_MAX bytes. */
INLINE unsigned sizeclass_of_wide(size_t request)
{
    unsigned log2 = floor_log2(request - 1);
    unsigned steps = (unsigned)((request - 1) >> (log2 - 3)); /* 8 to 15: the highest bits */
    return 8 * log2 + steps - (8 * 16 + 8) + SLAB_CLASSES + 1;
}

/* The class of a request of at most CLASS_MAX bytes; 0 gets class 1. */
INLINE unsigned sizeclass_of(size_t request)
{
    if (request <= SMALL_MAX) {
        return sizeclass_small[request];
    }
    return request <= SLAB_MAX ? sizeclass_of_medium(request) : sizeclass_of_wide(request);
}

/*
 * The slab class that serves a request at a power of two: its size is a multiple of it. 0: there is none, or the
 * request is 0. Between two powers of two all small classes are multiples of one power of two, their step: a multiple of
 * more than the step is a class of its own, and every class there is a multiple of less. Above, a table says which are.
 */
INLINE unsigned sizeclass_of_aligned(size_t request, size_t alignment)
{
    size_t rounded = align_up(request, alignment); /* 0 if it overflows */
    if (LIKELY(rounded - 1 < SMALL_MAX)) {
        return sizeclass_small[rounded];
    }
    if (UNLIKELY(rounded - 1 >= SLAB_MAX)) {
        return 0;
    }
    unsigned class = sizeclass_of_medium(rounded);
    return class + lowest_bit(sizeclass_multiples[floor_log2(alignment)] >> (class - SMALL_CLASSES - 1));
}

#endif
