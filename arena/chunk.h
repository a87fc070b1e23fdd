/*
 * chunk.h: boundary tags: the 8 bytes in front of each block of a chunk run, and the last 8 of a free
 * chunk. The only file that knows their bits.
 *
 *   chunk -> +-------+-------+---------------------+-------+
 *            | seal  | class | size                | flags |  8 bytes, one atomic word
 *   block -> +-------+-------+---------------------+-------+  at a multiple of 16 (of the quantum)
 *            | payload, or while free: next, previous, ... |
 *            | size again (footer), only while free        |
 *   next  -> +---------------------------------------------+
 *
 * class: 1 to CLASSES for blocks that caches may hold; CHUNK_PLAIN + n/8 for others, n being bytes
 * behind the request that were too few to split off; CHUNK_FREE; CHUNK_END for the sentinel of a run.
 * seal: a hash of the block's address. A class byte and a zero remain when the hash is taken out again,
 * so an address that is no block, or a header that was overwritten, shows with 255 chances in 256;
 * and nearly always where the size is compared too.
 *
 * Who writes: class, seal and size are constant while the block is in use, so its owner may read them
 * without a lock. PREV_INUSE is flipped by the neighbour, under the arena's mutex as every write is, but
 * for an OPEN piece (piece.h), whose owner alone writes its header. Hence relaxed atomics suffice.
 */
#ifndef ARENA_CHUNK_H
#define ARENA_CHUNK_H

#include "config.h"
#include "sizeclass.h"

#include <stdatomic.h>
#include <string.h>

typedef struct chunk {
    _Atomic uint64_t header;
    struct chunk *next, *previous; /* while free: in its bin; these are the block's first bytes */
} chunk_t;

enum {
    CHUNK_INUSE = 1,
    CHUNK_PREV_INUSE = 2,
    CHUNK_ZERO = 4, /* free: all but the links and the footer reads as zero */
    CHUNK_OPEN = 4, /* in use: what is left of a piece that a cache carves from */
    CHUNK_FLAGS = 7,
    CHUNK_HEADER = 8,
    CHUNK_LINE = 64,
    CHUNK_LINES_MIN = 8192,                /* larger chunks are whole lines (want_chunk_size) */
    RUN_FRONT = CHUNK_LINE - CHUNK_HEADER, /* unused bytes at the start of a run of granules */
    CHUNK_MIN = 32,

    CHUNK_PLAIN = 0xa0,
    CHUNK_PADS = 12, /* 7 units are left over by rounding to lines, and 3 that are not split off */
    CHUNK_FREE = 0xc0,
    CHUNK_END = 0xc1,
    CHUNK_PIECE = 0xc2,    /* in use: a piece, OPEN while a cache carves from it, or a tiny slab */
    CHUNK_DEFERRED = 0xc3, /* freed beside an open piece, to be merged later */
    CHUNK_LAST = CHUNK_DEFERRED
};

#define CHUNK_SIZE_MASK (((uint64_t)1 << 48) - 1 - CHUNK_FLAGS)
#define CHUNK_SEAL_FACTOR \
    UINT64_C(0x9e3779b97f4a7c15) /* 2^64 over the golden ratio: near addresses differ at the top */

_Static_assert(sizeof(chunk_t) <= CHUNK_MIN - sizeof(uint64_t), "links and footer fit the smallest chunk");

INLINE chunk_t *chunk_of(const void *block)
{
    return (chunk_t *)before(block, CHUNK_HEADER);
}

INLINE void *chunk_block(const chunk_t *chunk)
{
    return at(chunk, CHUNK_HEADER);
}

/* 16 bits in place: the seal and what the class byte is mixed with. */
INLINE uint64_t chunk_seal(const void *block)
{
    return ((uint64_t)(uintptr_t)block * CHUNK_SEAL_FACTOR) & ~(((uint64_t)1 << 48) - 1);
}

INLINE uint64_t chunk_header(const chunk_t *chunk)
{
    return atomic_load_explicit(&chunk->header, memory_order_relaxed);
}

/* The class byte; above 255 if this is no header of ours. */
INLINE unsigned chunk_class_of(const void *block, uint64_t header)
{
    return (unsigned)((header ^ chunk_seal(block)) >> 48);
}

INLINE unsigned chunk_class(const chunk_t *chunk)
{
    return chunk_class_of(chunk_block(chunk), chunk_header(chunk));
}

/*
 * Whether the header's size is one that a block of the class may have: its own, what makes it whole cache lines, and
 * what was too little to split off.
 * With the seal, bytes that were written over a header have no chance to pass for one. (32 bits of it are enough.)
 */
INLINE bool chunk_size_fits_class(uint64_t header, unsigned class)
{
    return (uint32_t)header - sizeclass_bytes[class] - CHUNK_HEADER < CHUNK_LINE + CHUNK_MIN;
}

INLINE size_t chunk_size(const chunk_t *chunk)
{
    return (size_t)(chunk_header(chunk) & CHUNK_SIZE_MASK);
}

INLINE bool chunk_is_inuse(const chunk_t *chunk)
{
    return (chunk_header(chunk) & CHUNK_INUSE) != 0;
}

INLINE bool chunk_prev_is_inuse(const chunk_t *chunk)
{
    return (chunk_header(chunk) & CHUNK_PREV_INUSE) != 0;
}

INLINE bool chunk_has_flag(const chunk_t *chunk, uint64_t flag)
{
    return (chunk_header(chunk) & flag) != 0;
}

INLINE void chunk_set(chunk_t *chunk, unsigned class, size_t size, uint64_t flags)
{
    uint64_t header = (((uint64_t) class << 48) ^ chunk_seal(chunk_block(chunk))) | size | flags;
    atomic_store_explicit(&chunk->header, header, memory_order_relaxed);
}

/* Caller holds the mutex, and the chunk is not OPEN. */
INLINE void chunk_set_prev_inuse(chunk_t *chunk, bool inuse)
{
    uint64_t header = chunk_header(chunk);
    header = inuse ? header | CHUNK_PREV_INUSE : header & ~(uint64_t)CHUNK_PREV_INUSE;
    atomic_store_explicit(&chunk->header, header, memory_order_relaxed);
}

INLINE chunk_t *chunk_at(const chunk_t *chunk, size_t bytes)
{
    return (chunk_t *)at(chunk, bytes);
}

INLINE chunk_t *chunk_next(const chunk_t *chunk)
{
    return chunk_at(chunk, chunk_size(chunk));
}

/* Only while the previous chunk is free: its footer lies just below. */
INLINE size_t chunk_prev_size(const chunk_t *chunk)
{
    return (size_t) * (const uint64_t *)before(chunk, sizeof(uint64_t));
}

INLINE chunk_t *chunk_prev(const chunk_t *chunk)
{
    return (chunk_t *)before(chunk, chunk_prev_size(chunk));
}

/* Writes the header of a free chunk, its footer, and the flag in the next one. */
INLINE void chunk_set_free(chunk_t *chunk, size_t size, uint64_t flags)
{
    chunk_set(chunk, CHUNK_FREE, size, flags);
    chunk_t *next = chunk_at(chunk, size);
    *(uint64_t *)before(next, sizeof(uint64_t)) = size;
    chunk_set_prev_inuse(next, false);
}

/* The chunk that serves a block of `usable` bytes. */
INLINE size_t chunk_size_for(size_t usable, unsigned quantum)
{
    return max_size(align_up(usable + CHUNK_HEADER, quantum), CHUNK_MIN);
}

INLINE bool chunk_is_classed(unsigned class)
{
    return class - 1 < CLASSES;
}

INLINE bool chunk_is_plain(unsigned class)
{
    return class >= CHUNK_PLAIN && class < CHUNK_PLAIN + CHUNK_PADS;
}

/*
 * Whether a free chunk and zero memory in front of it or behind it, which meet at `seam`, are zero together. What was
 * written there is cleared, and up to `most` bytes of a chunk that is not zero: else all of the memory were lost for it.
 */
INLINE bool chunk_joins_as_zero(chunk_t *chunk, chunk_t *seam, size_t most)
{
    size_t size = chunk_size(chunk);
    if (!chunk_has_flag(chunk, CHUNK_ZERO)) {
        if (size > most) {
            return false;
        }
        memset(chunk, 0, size);
    }
    memset(before(seam, sizeof(uint64_t)), 0, sizeof(uint64_t) + CHUNK_HEADER); /* a footer, a header */
    memset(chunk, 0, sizeof *chunk);                                            /* and links */
    return true;
}

/*
 * A free chunk that may cover a page says, behind its links, whether its pages went back to the kernel since it
 * was put together.
 */
enum { CHUNK_MARKED = 4096 };

INLINE uint64_t *chunk_purged(chunk_t *chunk)
{
    return (uint64_t *)at(chunk, sizeof *chunk);
}

#endif
