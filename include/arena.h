/*
 * arena.h: the one public header of libarena, a thread-safe arena allocator for embedding.
 *
 * An arena is a heap of its own: any thread may create it, allocate in it, free into it, trim it
 * and destroy it with everything in it. Small and medium blocks pass through a cache that each
 * thread has for each arena it uses, so that the usual allocation takes no lock.
 *
 * Rules that hold for every function, unless it says otherwise:
 *  - sizes are bytes; errno is set on failure and left alone on success;
 *  - any thread may call it on any arena at any time, beside any other call; only arena_destroy
 *    and arena_reset ask that no other thread *uses* that arena meanwhile;
 *  - after fork, parent and child may both go on using every arena;
 *  - nothing is async-signal-safe, and nothing may be called from arena_hooks_t functions on the
 *    arena that called them; nor may arena_trim(NULL) and arena_thread_flush, which mean that one, too;
 *  - misuse (double free, foreign or interior pointer, wrong arena, broken heap) ends in one line
 *    on stderr and abort(), see arena_set_error_handler.
 */
#ifndef ARENA_H
#define ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ARENA_VERSION_MAJOR 0
#define ARENA_VERSION_MINOR 1
#define ARENA_VERSION_PATCH 0

#if defined(ARENA_EXPORT) /* the build says: inside libarena_malloc nothing of this is exported */
#elif defined(__GNUC__)
#define ARENA_EXPORT __attribute__((visibility("default")))
#else
#define ARENA_EXPORT
#endif

/* Built with ARENA_PREFIX (say my_), every public function is called my_arena_...: define it here too. */
#ifdef ARENA_PREFIX
#define ARENA_CAT_(a, b) a##b
#define ARENA_CAT(a, b) ARENA_CAT_(a, b)
#define arena_create ARENA_CAT(ARENA_PREFIX, arena_create)
#define arena_destroy ARENA_CAT(ARENA_PREFIX, arena_destroy)
#define arena_reset ARENA_CAT(ARENA_PREFIX, arena_reset)
#define arena_alloc ARENA_CAT(ARENA_PREFIX, arena_alloc)
#define arena_calloc ARENA_CAT(ARENA_PREFIX, arena_calloc)
#define arena_realloc ARENA_CAT(ARENA_PREFIX, arena_realloc)
#define arena_aligned_alloc ARENA_CAT(ARENA_PREFIX, arena_aligned_alloc)
#define arena_alloc_named ARENA_CAT(ARENA_PREFIX, arena_alloc_named)
#define arena_set_name ARENA_CAT(ARENA_PREFIX, arena_set_name)
#define arena_name_of ARENA_CAT(ARENA_PREFIX, arena_name_of)
#define arena_print ARENA_CAT(ARENA_PREFIX, arena_print)
#define arena_log_open ARENA_CAT(ARENA_PREFIX, arena_log_open)
#define arena_log_close ARENA_CAT(ARENA_PREFIX, arena_log_close)
#define arena_free ARENA_CAT(ARENA_PREFIX, arena_free)
#define arena_free_sized ARENA_CAT(ARENA_PREFIX, arena_free_sized)
#define arena_usable_size ARENA_CAT(ARENA_PREFIX, arena_usable_size)
#define arena_good_size ARENA_CAT(ARENA_PREFIX, arena_good_size)
#define arena_alloc_batch ARENA_CAT(ARENA_PREFIX, arena_alloc_batch)
#define arena_free_batch ARENA_CAT(ARENA_PREFIX, arena_free_batch)
#define arena_of ARENA_CAT(ARENA_PREFIX, arena_of)
#define arena_trim ARENA_CAT(ARENA_PREFIX, arena_trim)
#define arena_thread_flush ARENA_CAT(ARENA_PREFIX, arena_thread_flush)
#define arena_stats ARENA_CAT(ARENA_PREFIX, arena_stats)
#define arena_walk ARENA_CAT(ARENA_PREFIX, arena_walk)
#define arena_check ARENA_CAT(ARENA_PREFIX, arena_check)
#define arena_set_error_handler ARENA_CAT(ARENA_PREFIX, arena_set_error_handler)
#define arena_version ARENA_CAT(ARENA_PREFIX, arena_version)
#define arena_range_create ARENA_CAT(ARENA_PREFIX, arena_range_create)
#define arena_range_destroy ARENA_CAT(ARENA_PREFIX, arena_range_destroy)
#define arena_range_alloc ARENA_CAT(ARENA_PREFIX, arena_range_alloc)
#define arena_range_aligned_alloc ARENA_CAT(ARENA_PREFIX, arena_range_aligned_alloc)
#define arena_range_resize ARENA_CAT(ARENA_PREFIX, arena_range_resize)
#define arena_range_free ARENA_CAT(ARENA_PREFIX, arena_range_free)
#define arena_range_size ARENA_CAT(ARENA_PREFIX, arena_range_size)
#define arena_range_trim ARENA_CAT(ARENA_PREFIX, arena_range_trim)
#define arena_range_stats ARENA_CAT(ARENA_PREFIX, arena_range_stats)
#define arena_range_walk ARENA_CAT(ARENA_PREFIX, arena_range_walk)
#define arena_range_check ARENA_CAT(ARENA_PREFIX, arena_range_check)
#endif

typedef struct arena arena_t;

/* Where an arena takes its memory from. */
typedef enum {
    ARENA_SOURCE_MMAP,   /* anonymous mappings, given back by munmap */
    ARENA_SOURCE_SBRK,   /* the program break; one live arena of the process may own it, and no other
                            thread may move the break meanwhile, which the C library's malloc does */
    ARENA_SOURCE_BUFFER, /* `buffer`, `buffer_bytes`: never grows, makes no system call */
    ARENA_SOURCE_HOOKS   /* `hooks` */
} arena_source_t;

/* Which free chunk serves a request that no cache and no slab serves. */
typedef enum {
    ARENA_FIT_GOOD,  /* two bit scans to a chunk at most 1/16 larger; O(1) */
    ARENA_FIT_FIRST, /* lowest address that fits; O(free chunks) */
    ARENA_FIT_BEST,  /* smallest that fits, lowest address among equals; O(free chunks of one bin) */
    ARENA_FIT_WORST, /* largest; O(free chunks of one bin) */
    ARENA_FIT_NEXT   /* lowest that reaches behind the last one given out, round about; O(free chunks) */
} arena_fit_t;

/* Flags of arena_options_t. */
enum {
    ARENA_NO_CACHE = 1,    /* no thread caches: each call takes the arena's mutex */
    ARENA_NO_SLABS = 2,    /* every block is a chunk with its size in front */
    ARENA_ZERO = 4,        /* arena_alloc returns zeroed memory, as arena_calloc does */
    ARENA_PREFAULT = 8,    /* regions are populated when they are mapped */
    ARENA_HUGE_PAGES = 16, /* regions ask the kernel for transparent huge pages */
    ARENA_SINGLE_THREAD =
        32, /* the caller promises that calls never overlap: no mutex; process-wide calls pass it over */
    ARENA_CHECKED = 64,   /* every double free is caught; implies ARENA_NO_CACHE */
    ARENA_SCRIBBLE = 128, /* new blocks are filled with 0xAA, freed ones with 0x55; no thread caches */
    ARENA_LEAKS = 256     /* arena_destroy reports blocks that are still live on stderr */
};

/*
 * The source ARENA_SOURCE_HOOKS. The functions are called under a lock of the arena, one at a time
 * for each arena, and may not call that arena.
 */
typedef struct {
    /* At least `bytes` at a multiple of `alignment`, or NULL. Sets *zeroed if they read as zero.
     * A result with less alignment is accepted and managed without thread caches. */
    void *(*map)(void *context, size_t bytes, size_t alignment, bool *zeroed);
    /* Takes back [start, start + bytes): a whole mapping or a tail of one; false: it stays ours. */
    bool (*unmap)(void *context, void *start, size_t bytes);
    /* The contents of [start, start + bytes) are no longer needed; may be NULL. */
    void (*purge)(void *context, void *start, size_t bytes);
    void *context;
} arena_hooks_t;

/* What arena_create is asked for. All zero means defaults. 256 bytes; what is reserved must be 0. */
typedef struct {
    const char *name; /* copied, at most 63 bytes of it; NULL: none */
    arena_source_t source;
    arena_fit_t fit;
    unsigned flags;              /* ARENA_NO_CACHE | ... */
    unsigned quantum;            /* chunk sizes are multiples of it: 16 (or 0, the same) or 8 */
    void *buffer;                /* ARENA_SOURCE_BUFFER: the caller's, stays the caller's */
    size_t buffer_bytes;         /* at least 2,048; what is beyond limit_bytes is not used */
    arena_hooks_t hooks;         /* ARENA_SOURCE_HOOKS: map and unmap are required */
    size_t limit_bytes;          /* on mapped bytes, exact; 0: none */
    size_t first_region_bytes;   /* rounded up to 64 KiB; 0: 128 KiB. By pages: to a page */
    size_t growth_bytes;         /* smallest later region; 0: a quarter of what is mapped, up to 64 MiB. Below
                                    64 KiB, with SBRK, NO_CACHE and NO_SLABS: the break moves by pages */
    size_t trim_threshold_bytes; /* free tail that goes back by itself; 0: adapts; SIZE_MAX: never */
    unsigned purge_delay_ms;     /* how long free pages may stay resident; 0: 250; UINT_MAX: for ever */
    arena_t *parent;             /* for trees of arenas: EINVAL until they exist */
    size_t reserved[17];
} arena_options_t;

#if SIZE_MAX > 0xffffffffu && !defined(__cplusplus)
_Static_assert(sizeof(arena_options_t) == 256, "arena_options_t is 256 bytes");
#endif

/*
 * Figures of one arena, or of the process. Exact while no other thread is inside a call; and
 *   mapped_bytes == live_bytes + cached_bytes + free_bytes + metadata_bytes.
 */
typedef struct {
    size_t mapped_bytes;      /* regions and large blocks now held; what limit_bytes limits */
    size_t live_bytes;        /* usable bytes of blocks that the application holds */
    size_t cached_bytes;      /* usable bytes of blocks in thread caches and depots */
    size_t free_bytes;        /* what can be given out again */
    size_t metadata_bytes;    /* headers, sentinels, rounding, tails of slabs */
    size_t peak_mapped_bytes; /* the largest mapped_bytes ever */
    size_t resident_bytes;    /* of mapped_bytes, what the kernel says is in memory */
    size_t purged_bytes;      /* sum of all that madvise, munmap and sbrk gave back */
    uint64_t allocations;     /* blocks ever given to the application */
    uint64_t frees;           /* blocks ever taken back */
    uint64_t kernel_calls;    /* system calls for memory ever made */
    uint64_t lock_waits;      /* times a thread had to wait for the arena's mutex */
    size_t live_blocks;
    size_t cached_blocks;
    size_t regions;
    size_t slabs;
    size_t large_blocks;
    size_t arenas;         /* of the process: live arenas; of an arena: 1 */
    size_t caches;         /* thread caches that now belong to it */
    size_t skipped_caches; /* caches that could not be reached this time; their blocks count as live */
    size_t process_metadata_bytes; /* of the process only: descriptors, page map, caches, magazines */
    size_t stock_bytes;            /* of the process only: warm regions kept for the next arena */
} arena_stats_t;

typedef enum { ARENA_BLOCK_LIVE, ARENA_BLOCK_CACHED, ARENA_BLOCK_FREE } arena_block_state_t;

/* One block as arena_walk reports it. */
typedef struct {
    void *start;
    size_t usable; /* bytes */
    arena_block_state_t state;
    const char *name; /* of a live block that has one, else NULL; valid during the visit */
} arena_block_t;

/* Called for each block; a non-zero answer ends the walk. It may use any arena. */
typedef int (*arena_visit_fn)(void *context, const arena_block_t *block);

/* `message` is the whole line without its newline; `block` the offending pointer or NULL. */
typedef void (*arena_error_fn)(void *context, const char *message, const void *block);

/*
 * Creates an arena. `options` NULL: defaults. The options are copied; a buffer stays the caller's.
 * Returns NULL with EINVAL (a bad source, fit, flag, quantum or buffer, a reserved field that is not
 * 0, a parent), EBUSY (the break already has an owner), ENOMEM (no memory for its descriptor).
 * Nothing is mapped for blocks before the first allocation. O(1); no system call once an arena has
 * been destroyed before.
 */
ARENA_EXPORT arena_t *arena_create(const arena_options_t *options);

/*
 * Gives back everything that the arena holds, its blocks and every thread's cache of it among that.
 * NULL is ignored. No other thread may be using the arena; thread exit, arena_thread_flush and fork
 * are not use. Never fails. O(regions + slabs + large blocks + caches).
 */
ARENA_EXPORT void arena_destroy(arena_t *arena);

/*
 * As arena_destroy, but the arena stays, empty, with its options, its counters, the caller's cache and, if it
 * is still small, its first region. NULL sets EINVAL. Never fails otherwise.
 */
ARENA_EXPORT void arena_reset(arena_t *arena);

/*
 * Returns a new block of at least `size` bytes, its contents undefined (zero under ARENA_ZERO).
 * Alignment is 16 from 16 bytes on (8 under quantum 8), 8 below. 0 gives a unique block.
 * Returns NULL with EINVAL iff `arena` is NULL; ENOMEM iff the size, the limit, the buffer, the hooks
 * or the kernel forbid it. Any thread may free it. O(1) and lock-free when the thread's cache has a
 * block; else a mutex is taken, O(1) under ARENA_FIT_GOOD, and the kernel may be asked.
 */
ARENA_EXPORT void *arena_alloc(arena_t *arena, size_t size)
#if defined(__GNUC__)
    __attribute__((__malloc__, alloc_size(2)))
#endif
    ;

/*
 * As arena_alloc of count * size bytes, all zero. ENOMEM also if the product overflows. Of 16 KiB or
 * more, memory that the kernel has just cleared is not cleared again, and not touched.
 */
ARENA_EXPORT void *arena_calloc(arena_t *arena, size_t count, size_t size)
#if defined(__GNUC__)
    __attribute__((__malloc__, alloc_size(2, 3)))
#endif
    ;

/*
 * Makes `block` at least `size` bytes, in place where it can, and returns where it now is; `block`
 * NULL: arena_alloc. The first min(old usable, size) bytes are kept; an alignment beyond 16 is not.
 * `size` 0 gives a unique block and `block` is gone. Under ARENA_ZERO growth is not zeroed.
 * Returns NULL, with `block` untouched, as arena_alloc does; shrinking never fails. O(1) in place,
 * O(1) by mremap for large blocks, else a copy.
 */
ARENA_EXPORT void *arena_realloc(arena_t *arena, void *block, size_t size)
#if defined(__GNUC__)
    __attribute__((alloc_size(3)))
#endif
    ;

/*
 * As arena_alloc, at a multiple of `alignment`, any power of two; smaller than 8 counts as 8.
 * EINVAL also if it is no power of two.
 */
ARENA_EXPORT void *arena_aligned_alloc(arena_t *arena, size_t alignment, size_t size)
#if defined(__GNUC__)
    __attribute__((__malloc__, alloc_size(3)))
#endif
    ;

/*
 * Takes back a block of this arena, from any thread. NULL is ignored. errno is left alone, save EINVAL
 * if `arena` is NULL and `block` is not. A block of another arena, an address that is no block, and
 * (where the manual's table says) a block that is already free end the process, see
 * arena_set_error_handler. O(1), and lock-free when the thread's cache has room.
 */
ARENA_EXPORT void arena_free(arena_t *arena, void *block);

/* As arena_free, for a caller who knows the size: one above the usable size is misuse. */
ARENA_EXPORT void arena_free_sized(arena_t *arena, void *block, size_t size);

/*
 * How many bytes of `block`, a live block of this arena, may be used: at least those asked for, all of
 * them the caller's. 0 if `block` is NULL; 0 with EINVAL if `arena` is. O(1). With _FORTIFY_SOURCE the compiler holds
 * a caller to the bytes that were asked for: to use them all ask for arena_good_size of the size.
 */
ARENA_EXPORT size_t arena_usable_size(arena_t *arena, const void *block);

/*
 * What arena_usable_size of a block from arena_alloc(arena, size) is at least; exactly, if the calling thread used this
 * arena last and asks for it next: above 1 KiB, sizes of which many blocks come and go are rounded more. Who asks
 * for so many bytes in the first place wastes none, and may use them under _FORTIFY_SOURCE, too. 0 with EINVAL if `arena`
 * is NULL, 0 with ENOMEM if no block of that size can ever be. Never allocates. O(1).
 */
ARENA_EXPORT size_t arena_good_size(arena_t *arena, size_t size);

/*
 * Allocates `count` blocks of `size` bytes into out[0..]; returns how many it got. If fewer, errno is
 * as arena_alloc's, and those it got are the caller's.
 */
ARENA_EXPORT size_t arena_alloc_batch(arena_t *arena, size_t size, size_t count, void **out);

/* Frees blocks[0..count), as arena_free of each; NULLs among them are ignored. */
ARENA_EXPORT void arena_free_batch(arena_t *arena, void **blocks, size_t count);

/*
 * The arena that `block`, as returned by an allocation, belongs to; NULL if it is not a block of a
 * live arena of this library. Never fails. Lock-free but for buffers, unaligned hook memory and a break that moves
 * by pages, O(such arenas). The last two are passed over under ARENA_SINGLE_THREAD: NULL.
 */
ARENA_EXPORT arena_t *arena_of(const void *block);

/*
 * As arena_alloc, and gives the block a name, as arena_set_name does; `name` NULL: none. Returns NULL with ENOMEM
 * also if there is no memory for the name.
 */
ARENA_EXPORT void *arena_alloc_named(arena_t *arena, size_t size, const char *name)
#if defined(__GNUC__)
    __attribute__((__malloc__, alloc_size(2)))
#endif
    ;

/*
 * Names `block`, a live block of this arena, in place of the name it had; `name` NULL or empty: no name any more.
 * The text is copied, of any length; blocks of one name share it. The name lasts until the block is freed, in
 * whatever way and by whichever thread; arena_realloc keeps it, arena_reset drops it. False with EINVAL iff
 * `arena` or `block` is NULL, with ENOMEM iff there is no memory; the block then keeps its old name. What is no
 * block of this arena is misuse. Takes the mutex, O(1); blocks that share 64 KiB with a named one are freed
 * under the mutex, too.
 */
ARENA_EXPORT bool arena_set_name(arena_t *arena, void *block, const char *name);

/*
 * The name of `block`, a live block of this arena; NULL if it has none, and with EINVAL if an argument is NULL.
 * Valid until the block is named anew or freed. What is no block of this arena has no name. Takes the mutex, O(1).
 */
ARENA_EXPORT const char *arena_name_of(arena_t *arena, const void *block);

/*
 * Gives free memory back to the kernel until at most `keep_bytes` stay mapped or nothing free is
 * left: drains depots and every thread's cache of the arena, threads that sleep included, cuts
 * free tails off, unmaps empty regions, and purges free pages between live blocks. `arena` NULL: every
 * arena, each down to keep_bytes, and the stock of warm regions. Returns the bytes given back by
 * munmap, negative sbrk and madvise. A cache whose thread cannot be stopped within some milliseconds is
 * skipped. O(free memory).
 */
ARENA_EXPORT size_t arena_trim(arena_t *arena, size_t keep_bytes);

/*
 * Returns all that the calling thread's caches hold to their arenas: before a long sleep. The caches
 * come back with the next use. Never fails. O(cached blocks).
 */
ARENA_EXPORT void arena_thread_flush(void);

/*
 * Fills the first `struct_bytes` bytes of *stats (pass sizeof(arena_stats_t): older programs stay
 * compatible), zero beyond what this version knows. `arena` NULL: the sum over the process. Stops the
 * arena's caches for a moment. O(caches + regions).
 */
ARENA_EXPORT void arena_stats(arena_t *arena, arena_stats_t *stats, size_t struct_bytes);

/*
 * Reports every block of the arena as of one moment, in ascending address order within a region, to
 * `visit`, which is called with no lock held. Returns the visitor's non-zero answer that ended it, 0
 * at the end; -1 with EINVAL (NULL) or ENOMEM (no room for the list: 16 bytes a block, 16 more for a named one,
 * and the names).
 */
ARENA_EXPORT int arena_walk(arena_t *arena, arena_visit_fn visit, void *context);

/*
 * Writes what the arena holds, as of one moment, to the descriptor `fd`, in columns: its regions, then each block
 * with first and last address, usable bytes, USED, CACHED or FREE and its name, in the order of arena_walk, then the
 * free lists. No stdio, no allocation from any arena. Returns true; false with EINVAL iff `arena` is NULL, with ENOMEM
 * iff there is no room for the list, or with what write(2) says. O(blocks).
 */
ARENA_EXPORT bool arena_print(arena_t *arena, int fd);

/*
 * Appends a line to the file at `path` for each allocation, reallocation, naming and free in the arena from now
 * on, and for each span of address space that it takes or gives back, until arena_log_close or arena_destroy. The
 * manual has the columns. An arena with a log has no thread caches: what they hold goes home. False with EINVAL
 * iff an argument is NULL; EBUSY iff it has a log already; ENOMEM; or what open(2) says. Lines that cannot be
 * written (a full disk) are lost; that is reported once on stderr, and noted in the file where it goes on. Nothing
 * else is lost: lines are written at exit and before misuse ends the process. Parent and child of a fork go on in the
 * same file; nothing is written twice. _exit, exec and signals do lose what is still in buffers, a few KiB a thread.
 * The file's descriptor is 64 or above, where the process's limit allows it, so that the program's own keep their numbers.
 */
ARENA_EXPORT bool arena_log_open(arena_t *arena, const char *path);

/*
 * Writes what is in buffers, closes the file, and lets threads have caches again. False with EINVAL iff `arena` is
 * NULL or has no log, with EIO iff lines were lost.
 */
ARENA_EXPORT bool arena_log_close(arena_t *arena);

/*
 * Verifies every invariant of the arena (arena/README.md numbers them) and returns how many are
 * broken, with one line on stderr (or to the error handler) for the first few. 0 also for a healthy
 * arena while others use it. -1 with EINVAL if `arena` is NULL. O(blocks).
 */
ARENA_EXPORT int arena_check(arena_t *arena);

/*
 * Range arenas: the same service over addresses that are never read or written, as the offsets of a file or of
 * shared memory are, or a device's memory. What describes them lies elsewhere, so that every byte can be given
 * out. Addresses are numbers; ARENA_RANGE_NONE is none.
 */

#define ARENA_RANGE_NONE UINT64_MAX

typedef struct arena_range arena_range_t;

/* Where a range arena takes its addresses from. */
typedef enum {
    ARENA_RANGE_GIVEN, /* `base` and `bytes`: the caller's, whatever they stand for */
    ARENA_RANGE_MMAP,  /* anonymous mappings, made as blocks need them */
    ARENA_RANGE_SBRK   /* the program break, moved as blocks need it; owned as by ARENA_SOURCE_SBRK */
} arena_range_source_t;

/* Flags of arena_range_options_t. */
enum {
    ARENA_RANGE_WITHIN_PAGES = 1,    /* no block crosses a multiple of page_bytes, counted from `base` */
    ARENA_RANGE_LIFO = 2,            /* of blocks of one size, the one freed last is handed out first */
    ARENA_RANGE_FIFO = 4,            /* the one freed longest ago */
    ARENA_RANGE_SINGLE_THREAD = 8,   /* the caller promises that calls never overlap: no mutex */
    ARENA_RANGE_FIXED_METADATA = 16, /* none but `metadata` */
    ARENA_RANGE_INSIDE = 32          /* metadata in the break as well, and nowhere else */
};

/* What arena_range_create is asked for. All zero but for `bytes` means defaults. What is reserved must be 0. */
typedef struct {
    const char *name; /* copied, at most 63 bytes of it; NULL: none */
    arena_range_source_t source;
    arena_fit_t fit; /* among free runs; all but GOOD search them */
    unsigned flags;  /* ARENA_RANGE_WITHIN_PAGES | ... */
    uint64_t base,
        bytes;      /* ARENA_RANGE_GIVEN: [base, base + bytes), `base` a multiple of the quantum, at least one
                             quantum, below 2^64 */
    size_t quantum; /* sizes and addresses are multiples of it: a power of two, 8 to 2^30; 0: 8 */
    size_t page_bytes;    /* what comes from and goes back to the kernel: a power of two, at least the quantum
                             and, but for GIVEN, the system's page; 0: the system's page */
    size_t growth_bytes;  /* the least that is asked for at once, rounded up to pages; 0: a page */
    uint64_t limit_bytes; /* on what is held at once, rounded down to pages; 0: none */
    uint64_t
        keep_bytes; /* free bytes that are not given back; 0: whole pages go at once; UINT64_MAX: never */
    void *metadata; /* the caller's: used before any other, aligned to 8; NULL: none */
    size_t
        metadata_bytes; /* at least 8,192, enough for an empty range of less than 2^18 quanta; 16,384 are for one
                              of any size, and blocks take more, see docs/manual.md; 0 without `metadata` */
    uint64_t reserved[8];
} arena_range_options_t;

/*
 * Figures of one range arena, exact:
 *   held_bytes == live_bytes + free_bytes, plus metadata_bytes under ARENA_RANGE_INSIDE.
 */
typedef struct {
    uint64_t held_bytes;         /* of a given range all; else what the kernel gave */
    uint64_t live_bytes;         /* in blocks */
    uint64_t free_bytes;         /* what can be given out without asking the kernel */
    uint64_t largest_free_bytes; /* in one piece, as far as it is merged */
    uint64_t peak_held_bytes;
    uint64_t metadata_bytes; /* what describes all this */
    uint64_t live_blocks;
    uint64_t free_runs;
    uint64_t allocations;  /* ever */
    uint64_t frees;        /* ever */
    uint64_t kernel_calls; /* mmap, munmap, sbrk, ever; those of meta-data memory are not counted */
    uint64_t lock_waits;
} arena_range_stats_t;

/* One block or free run as arena_range_walk reports it; `state` is LIVE or FREE. */
typedef struct {
    uint64_t address, bytes;
    arena_block_state_t state;
} arena_range_block_t;

/* Called for each; a non-zero answer ends the walk. It may use any arena, this one too. */
typedef int (*arena_range_visit_fn)(void *context, const arena_range_block_t *block);

/*
 * Creates a range arena. The options are copied; `metadata` stays the caller's and must live as long as the range
 * does. Returns NULL with EINVAL (`options` NULL, a bad source, fit, flag, range, quantum, page, growth or buffer;
 * LIFO and FIFO at once; INSIDE without SBRK or with `metadata`; FIXED_METADATA without; a reserved field that is
 * not 0), EBUSY (the break has an owner), ENOMEM (FIXED_METADATA: also a buffer in which the range, empty, cannot be
 * described). Nothing is mapped for blocks, but under INSIDE the first growth. O(1).
 */
ARENA_EXPORT arena_range_t *arena_range_create(const arena_range_options_t *options);

/*
 * Forgets every block and gives back what came from the kernel; of the break, what lies above the last foreign
 * move. NULL is ignored. No other thread may be using it. Never fails. O(blocks and free runs).
 */
ARENA_EXPORT void arena_range_destroy(arena_range_t *range);

/*
 * Returns the address of a new block of `bytes`, rounded up to the quantum; 0 counts as 1. Any thread may free it.
 * Returns ARENA_RANGE_NONE with EINVAL iff `range` is NULL; ENOMEM iff no free run is large enough and the range,
 * the limit, the page (WITHIN_PAGES), the metadata or the kernel allow no other. A mutex is taken, and the kernel
 * may be asked under it. O(1) under ARENA_FIT_GOOD, but for the depth of the map, at most 9; else O(free runs).
 */
ARENA_EXPORT uint64_t arena_range_alloc(arena_range_t *range, uint64_t bytes);

/*
 * As arena_range_alloc, at an address that is a multiple of `alignment`, any power of two; smaller than the
 * quantum counts as that. EINVAL also if it is no power of two. O(free runs) where no run has room for any position.
 * Above the page, under WITHIN_PAGES, the one page at such an address is opened or mapped, wherever it lies. The break
 * moves up to it at once, and the pages passed over are free: O(pages), and none stays if it fails.
 */
ARENA_EXPORT uint64_t arena_range_aligned_alloc(arena_range_t *range, uint64_t alignment, uint64_t bytes);

/*
 * Makes the block at `address` `bytes` long without moving it; 0 counts as 1. True, or false with ENOMEM and nothing
 * changed: what lies behind it is in use, or a page ends, and it is for the caller to allocate, copy and free. The
 * last block of a range from the break moves the break. Shrinking never fails; where there is no metadata for the new
 * end, the block stays as long as it was, as arena_range_size tells. EINVAL if `range` is NULL; misuse as in
 * arena_range_free. O(free runs taken in).
 */
ARENA_EXPORT bool arena_range_resize(arena_range_t *range, uint64_t address, uint64_t bytes);

/*
 * Takes the block at `address` back. ARENA_RANGE_NONE is ignored. errno is left alone, save EINVAL if `range` is NULL.
 * An address in free space ("double free"), within a block, or outside of what is held ends the process, see
 * arena_set_error_handler. Never fails. Pages that are free then go back, see keep_bytes. O(1), amortized, but
 * for the depth of the map.
 */
ARENA_EXPORT void arena_range_free(arena_range_t *range, uint64_t address);

/*
 * The size of the block that begins at `address`; 0 with EINVAL if none does, or `range` is NULL: the way to
 * ask about an address of unknown origin. O(1), but for the depth of the map.
 */
ARENA_EXPORT uint64_t arena_range_size(arena_range_t *range, uint64_t address);

/*
 * Gives back every page that is free, keep_bytes or not: of the break those at the end. Returns the bytes given
 * back; 0 with EINVAL if `range` is NULL. O(blocks and free runs).
 */
ARENA_EXPORT uint64_t arena_range_trim(arena_range_t *range);

/* Fills the first `struct_bytes` bytes of *stats, as arena_stats does; zero, with EINVAL, if `range` is NULL. O(1). */
ARENA_EXPORT void arena_range_stats(arena_range_t *range, arena_range_stats_t *stats, size_t struct_bytes);

/*
 * Reports every block and free run, addresses ascending, to `visit`, which is called with no lock held: each was so
 * at some moment of the call, and a block that lives throughout is seen once. Returns the visitor's non-zero answer
 * that ended it, 0 at the end; -1 with EINVAL (NULL). Needs no memory.
 */
ARENA_EXPORT int arena_range_walk(arena_range_t *range, arena_range_visit_fn visit, void *context);

/* Verifies every invariant of the range, as arena_check does of an arena. O(blocks and free runs). */
ARENA_EXPORT int arena_range_check(arena_range_t *range);

/*
 * Sends misuse reports of the whole process to `handler` instead of stderr; NULL: back to stderr. It
 * is called with no lock held and may leave by longjmp or end the thread; if it returns, abort()
 * follows (not so after arena_check's reports).
 */
ARENA_EXPORT void arena_set_error_handler(arena_error_fn handler, void *context);

/* "major.minor.patch" of the library that runs. Never fails. */
ARENA_EXPORT const char *arena_version(void);

#ifdef __cplusplus
}
#endif
#endif
