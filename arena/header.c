/* header.c: what a chunk's header says of its block: the part of carve.h that changes nothing. */
#include "carve.h"
#include "sizeclass.h"

misuse_t carve_validate(const void *block)
{
    if (!is_aligned(block, 8)) {
        return MISUSE_INTERIOR;
    }
    uint64_t header = chunk_header(chunk_of(block));
    unsigned class = chunk_class_of(block, header);
    bool classed = chunk_is_classed(class);
    if (classed || chunk_is_plain(class)) {
        bool sound = (header & CHUNK_INUSE) != 0 && (!classed || chunk_size_fits_class(header, class));
        return sound ? MISUSE_NONE : MISUSE_BROKEN_HEADER;
    }
    if ((class == CHUNK_FREE || class == CHUNK_DEFERRED) && (header & CHUNK_SIZE_MASK) != 0) {
        return MISUSE_DOUBLE_FREE;
    }
    return class > 0xff && (header >> 48) != 0 ? MISUSE_INTERIOR : MISUSE_BROKEN_HEADER;
}

bool carve_previous_is_sound(const arena_t *arena, const chunk_t *chunk)
{
    size_t behind = chunk_prev_size(chunk);
    const chunk_t *previous = chunk_prev(chunk);
    return behind <= arena->totals.chunk_run_bytes && chunk_class(previous) == CHUNK_FREE &&
           chunk_size(previous) == behind;
}
