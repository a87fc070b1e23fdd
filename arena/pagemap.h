/*
 * pagemap.h: address -> (kind or size class, arena), for every granule that is ours, and the boundary
 * tags of runs.
 *
 * Two levels: address bits 32 and up find a leaf, bits 16 to 31 an entry in it. Leaves are mapped on
 * demand and never unmapped.
 *
 * Why relaxed atomics suffice: a thread looks an address up that it got from an allocation, here or
 * from another thread by some synchronisation of the application. The entry (and its leaf) were stored
 * before the block was handed out, hence happen before that look-up, and an entry does not change while
 * a block of its granule lives, but for its mark KIND_NAMED. That is stored before a block's naming returns, and
 * stays as long as the block has the name; for who frees a block without one, both values are as good.
 * Coherence does the rest. For an address that is no live block, any value
 * that was ever stored may come back, and each leads to a report.
 *
 * Tags are plain memory, guarded by the mutex of the arena that owns the granule; but a slab's `place` is constant while
 * one of its blocks is in use, and who has the block may read it. When a granule goes from one
 * arena to another by way of the kernel, the last entry that the one stored (0, with release) and the
 * other's pagemap_claim (acquire) order what they do with its tag.
 */
#ifndef ARENA_PAGEMAP_H
#define ARENA_PAGEMAP_H

#include "util.h"

#include <stdatomic.h>

/* Address >> GRANULE_LOG2. 0 is no granule of ours. */
typedef uint32_t granule_t;

/* An entry is (arena index << 8) | kind; 0: not ours. Kinds 1 to SLAB_CLASSES: a slab of that class. */
enum {
    KIND_FREE_DIRTY = 0x70, /* free, contents resident */
    KIND_FREE_PURGED,       /* free, not resident, contents unknown (hooks) */
    KIND_FREE_ZERO,         /* free, not resident, reads as zero */
    KIND_CHUNKS,            /* of a chunk run: the block's header tells */
    KIND_LARGE,             /* first granule of a large block */
    KIND_BUSY,              /* taken out of the bins while the kernel works on it */

    KIND_NAMED = 0x80 /* beside a slab's class or KIND_CHUNKS: a block of the granule has a name (name.h) */
};

_Static_assert((int)SLAB_CLASSES < (int)KIND_FREE_DIRTY && (int)KIND_BUSY < (int)KIND_NAMED,
               "the mark is a bit of its own");

typedef struct {
    union {
        uint32_t length; /* granules of the run; valid in its first and last tag, but of a slab: */
        uint32_t place;  /* of each granule in its slab, from 0 */
    };
    uint32_t region; /* id; runs merge within one region only; valid as length is */
    union {
        struct {
            granule_t next, previous; /* free: in its bin */
        };
        void *descriptor; /* slab, large */
        uint64_t warm;    /* chunks: see warm.h */
    };
} run_tag_t;

typedef struct {
    _Atomic uint32_t entry[1 << LEAF_LOG2];
    run_tag_t tag[1 << LEAF_LOG2];
} pagemap_leaf_t;

enum { PAGEMAP_ROOTS = 1 << (ADDRESS_BITS - LEAF_LOG2 - GRANULE_LOG2) };

extern HIDDEN _Atomic(pagemap_leaf_t *) pagemap_root[PAGEMAP_ROOTS];

INLINE granule_t granule_of(const void *address)
{
    return (granule_t)((uint64_t)(uintptr_t)address >> GRANULE_LOG2);
}

INLINE void *granule_start(granule_t granule)
{
    return (void *)(uintptr_t)((uint64_t)granule << GRANULE_LOG2);
}

/* 0 for every address that is not ours. With the mark KIND_NAMED, which sends a free off the fast path. */
INLINE uint32_t pagemap_entry_marked(const void *address)
{
    uint64_t high = (uint64_t)(uintptr_t)address >> (LEAF_LOG2 + GRANULE_LOG2);
    if (UNLIKELY(high >= PAGEMAP_ROOTS)) {
        return 0;
    }
    pagemap_leaf_t *leaf = atomic_load_explicit(&pagemap_root[high], memory_order_relaxed);
    if (UNLIKELY(leaf == NULL)) {
        return 0;
    }
    uint32_t low = (uint32_t)(uintptr_t)address >> GRANULE_LOG2;
    return atomic_load_explicit(&leaf->entry[low], memory_order_relaxed);
}

/* The same without the mark: what all but the fast path of a free want to know. */
INLINE uint32_t pagemap_entry(const void *address)
{
    return pagemap_entry_marked(address) & ~(uint32_t)KIND_NAMED;
}

INLINE pagemap_leaf_t *pagemap_leaf(granule_t granule)
{
    return atomic_load_explicit(&pagemap_root[granule >> LEAF_LOG2], memory_order_relaxed);
}

/* The granule's leaf must exist. */
INLINE run_tag_t *pagemap_tag(granule_t granule)
{
    return &pagemap_leaf(granule)->tag[granule & ((1 << LEAF_LOG2) - 1)];
}

INLINE uint32_t pagemap_entry_of(granule_t granule)
{
    return pagemap_entry(granule_start(granule));
}

/* Makes the leaves for [start, start + bytes); false: no memory, or an address beyond ADDRESS_BITS. */
HIDDEN bool pagemap_ensure(const void *start, size_t bytes);

/* Stores one entry for `count` granules whose leaves exist. */
HIDDEN void pagemap_set(granule_t first, size_t count, uint32_t entry);

/* Before the first use of the tags of addresses that the kernel just gave. */
HIDDEN void pagemap_claim(granule_t first, size_t count);

/* Bytes of address space that the leaves take. */
HIDDEN size_t pagemap_mapped_bytes(void);

#endif
