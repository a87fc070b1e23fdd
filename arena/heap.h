/*
 * heap.h: struct arena, what every layer above the page map works on, and nothing but data.
 *
 * Who may touch what stands at each block of fields. "lock" is the arena's mutex (rank arena), "grow" the
 * lock that is held over system calls for regions (rank grow).
 */
#ifndef ARENA_HEAP_H
#define ARENA_HEAP_H

#include "../include/arena.h"
#include "binmap.h"
#include "lock.h"
#include "pagemap.h"

struct chunk;
struct slab;
struct large;
struct cache;
struct depot;
struct tiny;
struct names;
struct log;

/* Bins of free chunks. See bin.h. */
typedef struct {
    struct chunk **heads; /* [levels << steps_log2] */
    unsigned levels, steps_log2;
    binmap_t used;
} chunk_bins_t;

enum { RUN_STEPS_LOG2 = 2, RUN_LEVELS = 24, RUN_BINS = RUN_LEVELS << RUN_STEPS_LOG2 };

/* Bins of free runs, by length in granules. */
typedef struct {
    binmap_t used;
    granule_t heads[RUN_BINS];
} run_bins_t;

enum { FULLNESS_LISTS = 4 };

/*
 * Slabs of one class. Those with a free block are in a list by how full they are, so that nearly
 * empty ones are left alone and go back.
 */
typedef struct {
    granule_t partial[FULLNESS_LISTS]; /* where the first of each lies, or 0 */
    /* written under the mutex; relaxed: read without it as hints, see slab_is_sparse */
    _Atomic(uint32_t) slabs;
    _Atomic(size_t) free_bytes; /* in blocks that its slabs still hold */
} slab_class_t;

typedef struct region {
    struct region *next, *previous; /* ascending addresses */
    char *start;
    size_t bytes;
    size_t raw_bytes;      /* at the end, just obtained or refused by the source: not chunks yet */
    uint32_t pad;          /* sbrk: bytes before start that aligned it */
    arena_source_t source; /* the arena's, or mmap if that was spilled to */
    uint32_t id;           /* what run tags carry */
    bool in_map;           /* false: one chunk run, found by bounds */
    bool zero;             /* what is raw reads as zero */
} region_t;

/* See park.h. Guarded by grow; start and bytes are written under the arena's mutex as well. */
typedef struct {
    bool wanted;       /* large blocks come and go */
    uint64_t freed_ms; /* when the last one went */
    char *start;       /* what is left of it */
    size_t bytes;
    size_t mapped_bytes; /* by the arena, when it came */
    uint32_t mapping;    /* whose part that is: see large_t */
    uint32_t last_mapping;
} park_t;

/* All that lies behind a pointer so that a buffer's arena can do without it. */
typedef struct {
    run_bins_t dirty_runs; /* free runs with a resident granule */
    run_bins_t clean_runs; /* free runs without one */
    slab_class_t slab_class[SLAB_CLASSES + 1];
    /* classes that begin in chunks: usable bytes that live there, short of what caches carved; and a bit each for those
     * with slabs */
    ptrdiff_t chunk_bytes[GRANULE_CLASSES + 1];
    uint64_t graduated;
    _Atomic bool freed; /* a block of a small class was; relaxed, a hint: see alloc_chunk_share */
    /* classes above SLAB_MAX: frees that no magazine took, up to EARN_FREES; relaxed, a hint. See alloc_has_earned */
    _Atomic(uint8_t) earned[CLASSES - SLAB_CLASSES];
    size_t clean_taken_bytes; /* out of clean runs while there were dirty ones, since the last purge */
    size_t large_taken_bytes; /* for large blocks, since the last look at what lies idle */
    size_t fresh_bytes;       /* of clean granules that never were resident */
    size_t cut_bytes;         /* cut off regions, and not yet back by their growth */
    size_t retaken_bytes;     /* clean granules taken that once were resident; halved by ticks */
    size_t flowed_at_bytes;   /* mapped when what is cached last made room for growth */
    size_t room_left_bytes;   /* in slabs when all caches last were drained for it, or less since */
    size_t most_in_use;       /* as run_in_use_locked, lately: ticks halve what is above the present */
    size_t pages_warmed;      /* by headers: see warm.h */
    size_t idle_bytes;        /* least that totals.dirty_bytes was since the last tick that looked */
    size_t to_purge_bytes;    /* of dirty ones, by the next ticks */
    granule_t swept;          /* where sweep_idle goes on; 0: its walk is over */
    size_t slab_least_used;   /* of totals.slab_usable, since the last tick that was due */
    size_t reserved_bytes;    /* of the limit, for what is being asked of the source just now */
    uint32_t deferred_turns;  /* pieces to be closed before the next look at what is deferred */
    /* guarded by the registry lock: of cache_count, since half of so many had ended; and see tcache/surplus.h */
    unsigned cache_most;
    bool in_passing;
    park_t park;
    _Atomic bool unaligned; /* hooks gave memory that is not in the map; relaxed: read by who grew */
} granules_t;

/* Totals that stats and limits need. */
typedef struct {
    size_t mapped_bytes, peak_mapped_bytes;
    size_t free_run_bytes, dirty_bytes; /* dirty: of the former, resident */
    size_t chunk_run_bytes, chunk_runs;
    size_t free_chunk_bytes;           /* with their headers */
    size_t wide_chunk_bytes;           /* of these, in chunks that may cover a granule */
    size_t chunk_usable, chunk_blocks; /* blocks given out */
    size_t slab_bytes, slabs;          /* whole slabs */
    size_t slab_usable, slab_blocks;   /* blocks given out */
    size_t slab_free_usable;           /* blocks that slabs still hold */
    size_t large_bytes, large_blocks;
    size_t stuck_bytes;   /* that the source would not take back, and no region could be made of */
    uint64_t allocations; /* by calls that took the mutex, and from caches now gone */
    uint64_t kernel_calls;
    size_t purged_bytes;
} totals_t;

struct arena {
    /* immutable after creation */
    uint32_t index; /* in the table of arenas, from 1 */
    uint32_t tag;   /* index << 8, as page-map entries carry it */
    unsigned flags;
    unsigned quantum;
    arena_source_t source;
    arena_fit_t fit;
    bool cacheable; /* by its options; see cached */
    bool in_buffer; /* no granules, hence neither runs nor slabs */
    bool spills;    /* sbrk: regions from mmap when the break cannot move */
    bool modest;    /* malloc's: what succeeds makes no system call that the C library's malloc does not */
    bool paged;     /* sbrk, no caches, no slabs: the break moves by pages, its regions are not in the map */
    arena_hooks_t hooks;
    size_t limit_bytes, first_region_bytes, growth_bytes, trim_threshold_bytes;
    granules_t *granules; /* NULL: in_buffer */
    char *buffer_start;   /* in_buffer: behind the descriptors */
    char *buffer_chunks;  /* in_buffer: where chunks begin */
    char name[ARENA_NAME_BYTES];
    unsigned purge_delay_ms;

    /* alive while the handle is valid; written under the registry lock by create and destroy, read
     * relaxed by those who report a misuse */
    _Atomic bool alive;
    _Atomic bool grown; /* has a region; relaxed: a hint that saves a failing attempt */

    /* written under the registry lock, read relaxed by all: a call sees the change early or late (watch.h) */
    _Atomic bool cached;   /* threads may have caches of it */
    _Atomic uint8_t watch; /* WATCH_* */

    _Atomic(struct log *) log; /* NULL: never had one. Release and acquire: what it points to is its own */

    /* guarded by the registry lock */
    arena_t *next_live, *previous_live; /* or next free shell */
    unsigned pins;                      /* who keeps it from being removed for a moment */
    unsigned cache_count;               /* of living threads */
    struct cache *caches;
    _Atomic(struct depot *)
        depot; /* made by who overflows first; swapped in with release, loaded with acquire */

    lock_t grow;
    /* guarded by grow */
    uint32_t last_region_id;

    lock_t lock;
    /* guarded by lock */
    chunk_bins_t bins;
    region_t *regions;
    region_t first_region; /* most arenas have one only: its descriptor; start NULL while unused */
    struct large *larges;
    struct chunk *rover;  /* next fit: behind the last chunk given out */
    granule_t chunk_edge; /* the granule behind the newest chunk run, where it prefers to grow */
    bool purge_failed;    /* the kernel refused; not tried again by itself */
    size_t large_threshold;
    uint64_t failed_at_ms;   /* when an allocation last failed */
    struct chunk *deferred;  /* freed beside an open piece, to be merged later */
    uint64_t dirty_since_ms; /* last time the dirty bytes were cut down */
    totals_t totals;
    struct tiny *tiny;             /* slabs of a buffer, in it; NULL: it is too small for them */
    _Atomic(struct names *) names; /* of blocks; NULL: none yet. Relaxed, see names_of */
};

/* Whether blocks may lie in regions that are not in the map. */
INLINE bool has_bounds(const arena_t *arena)
{
    return arena->in_buffer || arena->paged || arena->source == ARENA_SOURCE_HOOKS;
}

/* Whether memory that arenas before it left may serve it: it has been touched, and its pages are small. */
INLINE bool takes_warm(const arena_t *arena)
{
    return arena->source == ARENA_SOURCE_MMAP && (arena->flags & (ARENA_PREFAULT | ARENA_HUGE_PAGES)) == 0;
}

/* Whether a slab of each class would be much of what it may map. */
INLINE bool is_tight(const arena_t *arena)
{
    return arena->limit_bytes != 0 && arena->limit_bytes < TIGHT_BYTES;
}

/* Whether blocks of the class may be in slabs. */
INLINE bool may_have_slabs(const arena_t *arena, unsigned class)
{
    return (arena->flags & ARENA_NO_SLABS) == 0 &&
           class <= (unsigned)(is_tight(arena) ? SMALL_CLASSES : SLAB_CLASSES);
}

INLINE size_t parked_bytes(const arena_t *arena)
{
    return arena->granules == NULL ? 0 : arena->granules->park.bytes;
}

#endif
