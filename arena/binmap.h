/*
 * binmap.h: which bin a size belongs to, and which bins hold anything: what bin.c (chunks), run.c (runs) and
 * rangebin.c (runs of a range) share. The bins and their lists are theirs.
 *
 * Level 0 has a bin for each size below 2^steps_log2; each level above it is a power of two in as many steps. The last
 * bin holds all that is larger. A bitmap of the levels in use and one of each level's bins: so the next bin in use is
 * found by two bit scans (Masmano, Ripoll, Crespo, Real: TLSF, 2004).
 *
 * The shape is a parameter and no field, because to most callers it is a constant. Whoever guards the bins guards this.
 */
#ifndef ARENA_BINMAP_H
#define ARENA_BINMAP_H

#include "util.h"

enum { BINMAP_LEVELS = 32 }; /* at most; and steps_log2 at most 4 */

#define BINMAP_NONE UINT32_MAX

typedef struct {
    uint32_t levels;               /* a bit for each that has a bin in use */
    uint16_t steps[BINMAP_LEVELS]; /* a bit for each bin in use */
} binmap_t;

/* The bin of `size`, counted in the smallest unit in which sizes differ. */
INLINE unsigned binmap_index(uint64_t size, unsigned steps_log2, unsigned levels)
{
    if (size >> steps_log2 == 0) {
        return (unsigned)size;
    }
    unsigned width_log2 = floor_log2(size) - steps_log2; /* of the bin: so many steps above level 1 */
    unsigned bin = (width_log2 << steps_log2) + (unsigned)(size >> width_log2);
    unsigned last = (levels << steps_log2) - 1;
    return bin < last ? bin : last;
}

/* The lowest bin with nothing smaller than `size`, which is not 0, in it; the last bin promises nothing. */
INLINE unsigned binmap_index_above(uint64_t size, unsigned steps_log2, unsigned levels)
{
    unsigned log2 = floor_log2(size);
    uint64_t width = (uint64_t)1 << (log2 > steps_log2 ? log2 - steps_log2 : 0);
    return binmap_index(size + width - 1, steps_log2, levels);
}

INLINE uint16_t binmap_bit(unsigned bin, unsigned steps_log2)
{
    return (uint16_t)(1u << (bin & ((1u << steps_log2) - 1)));
}

INLINE void binmap_set(binmap_t *map, unsigned bin, unsigned steps_log2)
{
    map->steps[bin >> steps_log2] |= binmap_bit(bin, steps_log2);
    map->levels |= 1u << (bin >> steps_log2);
}

INLINE void binmap_clear(binmap_t *map, unsigned bin, unsigned steps_log2)
{
    unsigned level = bin >> steps_log2;
    map->steps[level] &= (uint16_t)~binmap_bit(bin, steps_log2);
    if (map->steps[level] == 0) {
        map->levels &= ~(1u << level);
    }
}

/* The lowest bin in use from `bin` up, or BINMAP_NONE. */
INLINE unsigned binmap_next(const binmap_t *map, unsigned bin, unsigned steps_log2)
{
    unsigned level = bin >> steps_log2;
    if (level >= BINMAP_LEVELS) {
        return BINMAP_NONE;
    }
    unsigned steps = map->steps[level] & (unsigned)bits_from(bin & ((1u << steps_log2) - 1));
    if (steps == 0) {
        uint32_t levels = map->levels & (uint32_t)bits_from(level + 1);
        if (levels == 0) {
            return BINMAP_NONE;
        }
        level = lowest_bit(levels);
        steps = map->steps[level];
    }
    return level << steps_log2 | lowest_bit(steps);
}

/* The highest bin in use, or BINMAP_NONE. */
INLINE unsigned binmap_last(const binmap_t *map, unsigned steps_log2)
{
    if (map->levels == 0) {
        return BINMAP_NONE;
    }
    unsigned level = floor_log2(map->levels);
    return level << steps_log2 | floor_log2(map->steps[level]);
}

/* Whether both bitmaps say of a bin what `holds` says. */
INLINE bool binmap_agrees(const binmap_t *map, unsigned bin, unsigned steps_log2, bool holds)
{
    unsigned level = bin >> steps_log2;
    return ((map->steps[level] & binmap_bit(bin, steps_log2)) != 0) == holds &&
           (map->levels >> level & 1) == (map->steps[level] != 0);
}

#endif
