/*
 * config.h: every constant that shapes the library, with its unit, and every #if on the platform.
 *
 * Nothing else may test a macro of the compiler or the system (save lock.h and os.c):
 * other code says `if (CONSTANT)`, so that both arms are compiled everywhere.
 */
#ifndef ARENA_CONFIG_H
#define ARENA_CONFIG_H

#include <stdint.h>

/* CHECK_LEVEL 0: release; 1: debug asserts and lock ranks; 2: and a verified heap after each slow path. */
#ifndef CHECK_LEVEL
#define CHECK_LEVEL 0
#endif
#define CHECK_DEBUG (CHECK_LEVEL >= 1)
#define CHECK_PARANOID (CHECK_LEVEL >= 2)

/* 0: built without tcache/. */
#ifndef ARENA_TCACHE
#define ARENA_TCACHE 1
#endif

/* A power of two. Behind malloc's names there are few arenas, and static thread-local storage is scarce. */
#ifndef ARENA_TABLE_SLOTS
#define ARENA_TABLE_SLOTS 32
#endif

/* Of the smallest requests: 1, of 8 bytes; behind malloc's names 2, as every block is aligned to 16. */
#ifndef ARENA_LEAST_CLASS
#define ARENA_LEAST_CLASS 1
#endif

#ifndef ARENA_NOTHING_AT_LOAD
#define ARENA_NOTHING_AT_LOAD 0
#endif

/* Under ThreadSanitizer the asymmetric lock of the thread caches becomes a plain one, see tcache.h. */
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

#if UINTPTR_MAX > 0xffffffffu
#define ADDRESS_BITS 48
#else
#define ADDRESS_BITS 32
#endif

#define HIDDEN __attribute__((visibility("hidden")))
/* Of a function: called as the library is loaded, or goes. Behind malloc's names the first allocation is early enough, a
 * program that makes none shall not pay, and the library stays. */
#if ARENA_NOTHING_AT_LOAD
#define AT_LOAD __attribute__((unused))
#define AT_UNLOAD __attribute__((unused))
#else
#define AT_LOAD __attribute__((constructor))
#define AT_UNLOAD __attribute__((destructor))
#endif
/* A large table of zeros that is written here and there: behind all small variables, which so share few pages. */
#define AMONG_THE_LAST __attribute__((common))
#define NOINLINE __attribute__((noinline))
/* Of a function that is a hit: it begins a cache line, whatever was linked before it. */
#define HIT __attribute__((aligned(64)))
#define INLINE static inline __attribute__((always_inline))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

enum {
    GRANULE_LOG2 = 16, /* runs, slabs and page-map entries */
    LEAF_LOG2 = 16,    /* granules that one page-map leaf describes */

    SMALL_CLASSES = 33,   /* 8, then 16 to 128 by 16, then 8 steps a doubling to 1,024 bytes: in slabs */
    GRANULE_CLASSES = 63, /* and on, to 16 KiB: in slabs of one granule, once a class has earned a magazine */
    SLAB_CLASSES = 71,    /* and on, to 64 KiB: in slabs of 2 and 4 granules */
    CLASSES = 103,        /* and on, to 1 MiB: chunks that magazines may hold */
    SMALL_MAX = 1024,     /* bytes: the largest small class */
    SLAB_MAX = 65536,     /* bytes: the largest class that slabs serve */
    CLASS_MAX = 1048576,  /* bytes: the largest class */

    ARENA_INDEX_BITS = 24, /* page-map entries hold this much of an arena's index */
    ARENA_NAME_BYTES = 64,

    SHELLS_WHOLE = 64, /* of dead arenas that keep more than their descriptor for the next ones */

    MAGAZINE_SLOTS = 63,
    MAGAZINE_BYTES = (MAGAZINE_SLOTS + 1) * sizeof(void *), /* one header word and 63 pointers */
    MAGAZINE_FEW = 16,

    TABLE_SLOTS = ARENA_TABLE_SLOTS, /* thread-local: caches found without a lock */
    CACHES_FEW = 64,                 /* arenas that a thread's record has room for; beyond, it maps more */
    EARN_FREES =
        64, /* uses of a class above SMALL_MAX, above SLAB_MAX frees too, before it has a magazine; */
    EARN_LONG = 256,         /* of one of which less than eight fill a slab of one granule, */
    EARN_LONGEST = 512,      /* and of several: till then its blocks are chunks of just their size */
    TICK_ALLOCATIONS = 4096, /* cached allocations between two looks at the clock */
    PURGE_DELAY_MS = 250,
    REVOKE_POLL_MS = 20,  /* how long a revoker waits for a thread inside a fast path */
    RETRY_PAUSE_MS = 1,   /* after a failure, the next one does not revoke caches again so soon */
    LOCK_SPINS = 256,     /* tries before a contended lock sleeps, */
    WAIT_MOST_NS = 50000, /* what a wait counts: longer ones are not for the lock, but for a CPU */
    LOCK_PAUSES = 8,      /* of the CPU's pauses apart: some 30 us in all; */
    LOCK_SLEEPERS = 32    /* none where so many sleep for it already */
};

#define GRANULE ((size_t)1 << GRANULE_LOG2)
#define MAGAZINE_SMALL_BYTES (32 * KIB) /* blocks of one class in one magazine, */
#define MAGAZINE_HELD_BYTES (64 * KIB)  /* or MAGAZINE_FEW of them up to this */
#define CACHE_FIRST_BYTES (128 * KIB)   /* full magazines that a thread keeps, and a quarter of one class; */
#define CACHE_HELD_BYTES (1 * MIB)      /* doubles up to this while it takes back what it gave the depot, */
#define CACHE_MOST_BYTES (4 * MIB)      /* or this, of blocks from 16 KiB to SLAB_MAX */
#define DEPOT_CLASS_BYTES (4 * MIB)     /* full magazines of one class in a depot */
#define DEPOT_SMALL_BYTES (256 * KIB)   /* of a small one */
#define DEPOT_HELD_BYTES (16 * MIB)   /* and of all classes; those above SLAB_MAX join in up to the former */
#define FILL_ONE_BYTES (16 * KIB)     /* a refill takes no more than one block from here on */
#define REALLOC_CACHED_MAX (16 * KIB) /* to twice its bytes or more, a chunk grows by a move up to this */
#define FLOW_LEAST_BYTES (8 * KIB)    /* cached blocks above go home whenever the arena would have to grow */
#define FLOW_MUCH_BYTES (2 * MIB)     /* and smaller ones if they are more than that, and than */
#define FLOW_SHARE 32                 /* 1/32 of what is mapped */
#define PINNED_SHARE 4                /* room in slabs: all cached blocks go home if it is more than 1/4 of */
#define PINNED_LEAST_BYTES (1 * MIB)  /* what is mapped, and than this, when the arena would have to grow */
#define SPARSE_SHARE 8 /* room in a class's slabs: its full magazines go home if it is more than */
#define SPARSE_LEAST_BYTES (512 * KIB)  /* 1/8 of these, and than this */
#define SPLIT_TURNS 8                   /* frees, a block in use, till two magazines must have helped; */
#define SPLIT_REST 64                   /* and allocations, a free of those, till that is tried again */
#define SPLIT_PAUSE 16                  /* ticks at least, or where nothing was freed meanwhile */
#define SPLIT_SLEEPERS 4                /* threads that sleep for the arena's mutex end an attempt */
#define TICK_PURGE_BYTES (48 * MIB)     /* and drops in one go: this, or an eighth of what is to go */
#define SWEEP_LEAST_BYTES (1 * MIB)     /* room in slabs before ticks purge pages between blocks */
#define CLEAN_TAKEN_BYTES (4 * GRANULE) /* clean granules taken before as many dirty ones are purged */
#define RETAIN_BYTES (4 * MIB)          /* free chunks that keep the granules they cover, */
#define RETAIN_SHARE 4 /* or 1/4 of the chunk runs: what blocks of many sizes leave between them */
#define PIECE_FIRST_BYTES (16 * KIB) /* what a thread carves from in a young arena: first, and later */
#define PIECE_MAX_BYTES (32 * KIB)
#define PIECE_GROWN_MAX (1 * MIB)   /* for larger requests 1/8 of the chunk runs, up to this */
#define PIECE_LEAST_BYTES (2 * KIB) /* 1/16 of one: what is free serves before the runs of chunks grow */
#define PIECE_PLAIN_MAX (4 * KIB)   /* the largest request that is carved there, or an eighth of a piece */
#define GROWTH_SHARE 4           /* a block that is reallocated to more gets 1/4 more than it had at least */
#define ROOM_BYTES (4 * GRANULE) /* and 1/8 of what is in use: free chunks that end room for growth */
#define GRADUATE_BYTES (4 * KIB) /* chunk-backed bytes of a class before it gets slabs; */
#define GRADUATE_BLOCKS 256      /* so many blocks, whose headers take a page, or */
#define GRADUATE_MOST (32 * KIB) /* this, as long as nothing was freed */
#define GRADUATE_MEDIUM (GRANULE / 4) /* above SMALL_MAX, of blocks with a class's size */
#define TIGHT_BYTES (64 * MIB)        /* below this limit a slab of each class would be much of it */
#define FIRST_REGION_BYTES (2 * GRANULE)
#define REGION_MAX_BYTES (64 * MIB) /* regions grow up to this; larger ones only on demand */
#define LARGE_MIN_BYTES \
    (256 * KIB) /* the threshold of large blocks begins here; from here on zero pages pay */
#define LARGE_MAX_BYTES (32 * MIB) /* and rises to this */
#define PARK_MAX_BYTES (64 * MIB)  /* what a freed large block may leave mapped for the next */
#define UNPARK_SHARE 4             /* growth beside it, as a share of it, that ends its wait */
#define DIRTY_MIN_BYTES (16 * MIB) /* free resident bytes an arena may keep, or 1/16 of its peak */
#define RETAKEN_BYTES (8 * MIB)    /* what may be given back and taken again in a while, before more stays */
#define TICK_RETAIN_BYTES (4 * GRANULE) /* and what a tick lets stay of them at least, or nothing */
#define STOCK_MAX_BYTES (16 * MIB)      /* that the process keeps of dead arenas, or what new ones took */
#define BUFFER_MIN_BYTES ((size_t)2048)

#endif
