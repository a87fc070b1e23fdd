/*
 * rangeheap.h: struct arena_range and nothing but data. A range arena hands out addresses that it never reads
 * or writes; positions are counted in quanta from `origin`, an *index*. Each block of fields says who may
 * touch it. The picture of the boundary map is in arena/README.md.
 */
#ifndef ARENA_RANGEHEAP_H
#define ARENA_RANGEHEAP_H

#include "../include/arena.h"

#include "binmap.h"
#include "lock.h"

enum {
    RANGE_LEAF_LOG2 = 12,  /* quanta that a leaf of the boundary map describes */
    RANGE_FAN_LOG2 = 6,    /* children of an inner node, words of a leaf */
    RANGE_LIST_LOG2 = 7,   /* quanta whose free runs share a list: half of them at most begin one */
    RANGE_STEPS_LOG2 = 4,  /* bins to a doubling */
    RANGE_BIN_LEVELS = 32, /* runs of 2^35 quanta and more share the last bin */
    RANGE_BINS = RANGE_BIN_LEVELS << RANGE_STEPS_LOG2
};

#define RANGE_NOWHERE UINT64_MAX /* no index */

/* A free run; or, `next` being NULL, a block of metadata in the break. */
typedef struct range_run {
    uint64_t start, count;                       /* quanta */
    struct range_run *next, *previous;           /* in its bin, a ring */
    struct range_run *beside;                    /* in its leaf's list */
    struct range_run *wait_next, *wait_previous; /* the ring of those not merged yet, or NULL */
} range_run_t;

/* What a position is: its start bit, and its use bit twice. */
typedef enum {
    RANGE_INSIDE = 0, /* goes on what began before */
    RANGE_FREE = 1,   /* start: a free run begins */
    RANGE_HOLE = 2,   /* use without start: what is ours ends */
    RANGE_BLOCK = 3   /* both: a block begins */
} range_mark_t;

typedef struct {
    uint64_t any; /* a bit for each word below that is not 0 in `start` or `use` */
    uint64_t start[1 << RANGE_FAN_LOG2], use[1 << RANGE_FAN_LOG2];
    range_run_t *runs[1 << (RANGE_LEAF_LOG2 - RANGE_LIST_LOG2)];
} range_leaf_t;

typedef struct {
    uint64_t any; /* a bit for each child that has a mark */
    size_t children;
    void *child[1 << RANGE_FAN_LOG2]; /* inner nodes, or leaves on level 1 */
} range_node_t;

typedef struct {
    void *root;      /* a leaf on level 0 */
    unsigned levels; /* of inner nodes above the leaves */
} range_map_t;

typedef struct {
    binmap_t used;
    range_run_t *heads[RANGE_BINS];
} range_bins_t;

typedef enum { RANGE_OBJECT_LEAF, RANGE_OBJECT_NODE, RANGE_OBJECT_RUN, RANGE_OBJECTS } range_object_t;

/* Metadata in the break: all leaves of the map, from index 0 up, and behind them its inner nodes. */
typedef struct {
    range_run_t self; /* as a block of the range */
    uint64_t windows; /* leaves */
    range_leaf_t leaves[];
} range_table_t;

/* Metadata in the break: runs. */
enum { RANGE_PIECE_RUNS = 16 };
typedef struct range_piece {
    range_run_t self; /* as a block of the range */
    struct range_piece *next, *previous;
    range_run_t runs[RANGE_PIECE_RUNS]; /* count 0: in no use */
} range_piece_t;

/* Where metadata comes from. */
typedef struct {
    char *next, *end;          /* of the caller's buffer: not given out yet */
    void *free[RANGE_OBJECTS]; /* lists of what came back, if it is not meta's */
    char *buffer;              /* the caller's */
    size_t buffer_bytes;
    size_t bytes;       /* in use, struct arena_range included */
    range_run_t *spare; /* so that a free or a split does not fail */
    range_table_t *table;
    range_piece_t *pieces;
} range_meta_t;

typedef struct {
    uint64_t mapped, peak, live, inside; /* quanta; inside: metadata in the break */
    uint64_t live_blocks, free_runs;
    uint64_t strays; /* free runs that there was no memory to describe; found again by a sweep */
    uint64_t allocations, frees, kernel_calls;
} range_totals_t;

struct arena_range {
    /* immutable after creation */
    uint64_t origin; /* address of index 0 */
    uint64_t limit;  /* quanta that may be ours at once */
    uint64_t page;   /* quanta */
    uint64_t step;   /* quanta: the least growth */
    uint64_t keep;   /* quanta that may stay free before pages go back */
    unsigned quantum_log2;
    unsigned flags;
    arena_range_source_t source;
    arena_fit_t fit;
    bool waits;  /* freed blocks wait before they are merged: LIFO or FIFO */
    bool inside; /* metadata in the break */
    char name[ARENA_NAME_BYTES];
    range_run_t self; /* as a block of the range, if it lies in the break */

    /* guarded by the registry lock */
    struct arena_range *next_live, *previous_live;

    lock_t lock;
    /* guarded by lock */
    range_map_t map;
    range_bins_t bins;
    range_run_t waiting; /* head of the ring, the newest first */
    unsigned waiting_runs;
    range_meta_t meta;
    range_totals_t totals;
    uint64_t rover;               /* behind the last block given out by ARENA_FIT_NEXT */
    uint64_t sought, sought_from; /* given range: below sought_from, or end, no page that is not open has an
                                     address aligned to `sought`, which is more than a page */
    uint64_t gaps;                /* given range: stretches of pages that are not open yet */
    uint64_t end; /* given range: first index not opened yet; break: where our last area ends */
    uint64_t pad; /* break: bytes below that area that are ours too; it begins on a page */
    uint64_t
        tail; /* break: where the last block of that area ends; above it nothing is in use but metadata */
};

INLINE uint64_t range_address(const arena_range_t *range, uint64_t index)
{
    return range->origin + (index << range->quantum_log2);
}

/* For metadata in the break, the only memory of a range that is ever touched. */
INLINE void *range_memory(const arena_range_t *range, uint64_t index)
{
    return (void *)(uintptr_t)range_address(range, index);
}

INLINE uint64_t range_index_of(const arena_range_t *range, const void *memory)
{
    return ((uint64_t)(uintptr_t)memory - range->origin) >> range->quantum_log2;
}

INLINE size_t range_bytes_of(const arena_range_t *range, uint64_t count)
{
    return (size_t)(count << range->quantum_log2);
}

INLINE uint64_t range_up_to_page(const arena_range_t *range, uint64_t index)
{
    return (index + range->page - 1) & ~(range->page - 1);
}

INLINE uint64_t range_down_to_page(const arena_range_t *range, uint64_t index)
{
    return index & ~(range->page - 1);
}

/* The first index from `index` on whose address is a multiple of `alignment` quanta; may wrap round. */
INLINE uint64_t range_align(const arena_range_t *range, uint64_t index, uint64_t alignment)
{
    uint64_t at = (range->origin >> range->quantum_log2) + index;
    return alignment > 1 ? index + ((0 - at) & (alignment - 1)) : index;
}

INLINE bool range_in_pages(const arena_range_t *range)
{
    return (range->flags & ARENA_RANGE_WITHIN_PAGES) != 0;
}

#endif
