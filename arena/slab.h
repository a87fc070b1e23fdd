/*
 * slab.h: a granule, or a few, cut into equal blocks of a size class, with nothing of ours in it: the descriptor
 * lies in metadata memory and holds a bitmap of free blocks and the index of the first block never given
 * out. 16-byte requests take 16 bytes, and an overflow of a freed block cannot steer the allocator.
 *
 * Blocks are handed out in address order. Of the slabs with a free block the fullest serve first, so that
 * nearly empty ones drain; an empty one goes back to the runs, but the last of its class if it is of one granule.
 * Invariant: used + free bits + (capacity - bump) == capacity.
 */
#ifndef ARENA_SLAB_H
#define ARENA_SLAB_H

#include "check.h"
#include "heap.h"
#include "sizeclass.h"

typedef struct slab {
    struct slab *next, *previous; /* in a fullness list, while it has a free block */
    granule_t granule;
    uint16_t capacity, used, bump; /* blocks; bump: index of the first never given out */
    uint16_t first_word;           /* no free bit lies in an earlier word */
    uint16_t least, most;          /* used blocks with which it stays where it is listed, or is full */
    uint8_t class, list;           /* list: of fullness; FULLNESS_LISTS: in none */
    uint32_t purged_bytes;         /* and no block was taken since: see slab_purge_locked */
    uint16_t used_then;            /* when sweep.h last looked */
    bool freed;                    /* a block came back since the last purge */
    bool zero;                     /* what was never given out reads as zero */
    uint64_t free[];               /* one bit a block below bump */
} slab_t;

/* Takes up to `count` blocks of `class`; returns how many there were without growing the arena. */
HIDDEN size_t slab_take_locked(arena_t *arena, unsigned class, void **out, size_t count);

/* The same for one, or NULL. *zero: it reads as zero. */
HIDDEN void *slab_take_one_locked(arena_t *arena, unsigned class, bool *zero);

/* A block of a slab that the class has already, or NULL. */
HIDDEN void *slab_take_left_locked(arena_t *arena, unsigned class);

/*
 * Takes blocks back, from the first on as long as they are whole and of its class; returns how many, at least 1. *wrong,
 * which it may leave as it is: what is wrong with the first, of which nothing changed then.
 */
HIDDEN size_t slab_put_locked(arena_t *arena, void *const *blocks, size_t count, misuse_t *wrong);

/* Whether `block` is the start of a block that is given out. */
HIDDEN misuse_t slab_validate_locked(const void *block);

/* Gives up empty slabs. */
HIDDEN void slab_release_empty_locked(arena_t *arena);

/* Purges whole free pages of a slab in use; returns the bytes. They count as taken again with the next block. */
HIDDEN size_t slab_purge_locked(arena_t *arena, slab_t *slab);

/* Whether no block came or went since the last call, as far as their number tells. */
INLINE bool slab_rests_locked(slab_t *slab)
{
    bool rests = slab->used == slab->used_then;
    slab->used_then = slab->used;
    return rests;
}

/* Granules of a slab: one, or as many as have room for 4 to 7 blocks. */
INLINE unsigned slab_granules(unsigned class)
{
    return class <= GRANULE_CLASSES ? 1 : 1u << (floor_log2(sizeclass_bytes[class] - 1) - 13);
}

INLINE granule_t slab_granule(const void *block)
{
    granule_t granule = granule_of(block);
    return granule - pagemap_tag(granule)->place;
}

INLINE slab_t *slab_of(const void *block)
{
    return pagemap_tag(granule_of(block))->descriptor;
}

/* Where in a slab of the class the address lies. */
INLINE size_t slab_offset(unsigned class, const void *address)
{
    return class <= GRANULE_CLASSES ? (uintptr_t)address % GRANULE
                                    : distance(granule_start(slab_granule(address)), address);
}

/* The first slab in a class's list of that fullness, or NULL. */
INLINE slab_t *slab_first(const slab_class_t *class, unsigned list)
{
    return class->partial[list] == 0 ? NULL : pagemap_tag(class->partial[list])->descriptor;
}

INLINE bool slab_bit(const slab_t *slab, unsigned index)
{
    return (slab->free[index / 64] >> (index % 64) & 1) != 0;
}

/* Of a class: its slabs, what is free in them, and blocks of theirs in use. Any thread, no lock: hints. */
INLINE size_t slab_count(const arena_t *arena, unsigned class)
{
    return atomic_load_explicit(&arena->granules->slab_class[class].slabs, memory_order_relaxed);
}

INLINE size_t slab_room(const arena_t *arena, unsigned class)
{
    return atomic_load_explicit(&arena->granules->slab_class[class].free_bytes, memory_order_relaxed);
}

INLINE size_t slab_used_blocks(const arena_t *arena, unsigned class)
{
    size_t capacity = slab_granules(class) * GRANULE / sizeclass_bytes[class];
    return slab_count(arena, class) * capacity - slab_room(arena, class) / sizeclass_bytes[class];
}

/* Whether an eighth of the class's slabs is free, and more than `least_bytes`. Any thread, no lock: a hint. */
INLINE bool slab_has_room(const arena_t *arena, unsigned class, size_t least_bytes)
{
    size_t room = slab_room(arena, class);
    return room > least_bytes &&
           room / slab_granules(class) > slab_count(arena, class) * GRANULE / SPARSE_SHARE;
}

/*
 * Whether the class's slabs have so much room that what comes back should go home: blocks that are freed and given out
 * again at once keep them all in use, where the fullest would do.
 */
INLINE bool slab_is_sparse(const arena_t *arena, unsigned class)
{
    return class <= SLAB_CLASSES && slab_has_room(arena, class, SPARSE_LEAST_BYTES);
}

/* ceil(2^40 / bytes of the class) */
extern HIDDEN const uint64_t slab_reciprocal[SLAB_CLASSES + 1];

/* Index of the block that an offset lies in: a multiplication by the class's reciprocal, exact because
 * offset * (reciprocal * bytes - 2^40) < 2^18 * 2^16 < 2^40. */
INLINE unsigned slab_index_by(uint64_t reciprocal, size_t offset)
{
    return (unsigned)(offset * reciprocal >> 40);
}

INLINE unsigned slab_index(unsigned class, size_t offset)
{
    return slab_index_by(slab_reciprocal[class], offset);
}

/* Whether the address is the start of a block's place in a slab of the class. */
INLINE bool slab_is_start(unsigned class, const void *address)
{
    size_t offset = slab_offset(class, address);
    size_t bytes = sizeclass_bytes[class];
    return offset == slab_index(class, offset) * bytes && offset + bytes <= slab_granules(class) * GRANULE;
}

#endif
