/*
 * tcache.h: what a thread does without a lock: its table of caches, the caches, and the asymmetric lock
 * that lets another thread reach them.
 *
 * The asymmetric lock. A thread's `busy` covers all its caches; a cache's place in the thread's table doubles
 * as the permission to use it.
 *
 *   owner:   busy = 1 (relaxed) | signal fence | the slot's cache is the arena's? | use it | busy = 0 (release)
 *   revoker: holds the cache's mutex | slot = cache_none | membarrier | wait for busy == 0 (acquire)
 *
 * membarrier makes every running thread pass a full barrier: an owner that loaded the cache has its store
 * of busy visible to the revoker, and an owner that stores busy later loads cache_none. The owner that finds
 * it leaves, takes the cache's mutex and so waits for the revoker; it alone fills the slot again, under
 * the registry lock, which a revoker holds, too. A slot of the thread's record (record_lookup) is a permission of the same
 * kind: a revoker marks it where it empties the table's. The owner pays two plain stores and the compare that it needs anyway.
 *
 * Under ThreadSanitizer, which does not know membarrier, busy is a real lock that both sides take: same
 * functions, same callers. tests/model/asymmetric.c explores every interleaving of the shipped protocol.
 *
 * Inside are the fast paths, the carving of a piece and the exchange of magazines with the cache's own stack;
 * every other miss leaves first, then takes the mutex.
 */
#ifndef ARENA_TCACHE_H
#define ARENA_TCACHE_H

#include "../arena/check.h"
#include "../arena/heap.h"
#include "magazine.h"

#include <string.h>

struct thread_record;

enum { USED_WORDS = CLASSES / 64 + 1, FIRST_FREES = 64 };

/* The two magazines of a class: see split.h. */
typedef struct {
    void **out;           /* top of the one that allocations pop from */
    void **in;            /* of the one that frees push onto */
    bool allocated;       /* something was, since that was full last */
    bool freed;           /* something was, since the other one was empty last */
    size_t sent;          /* blocks that went home in this attempt, */
    size_t slabs_then;    /* and how many slabs the class had when it began, or a bit less */
    size_t rest;          /* ticks for which nothing was tried after the last one, which did not help, or 0 */
    uint64_t rests_until; /* of the cache */
} split_t;

typedef struct cache {
    /* owner, inside busy or under lock; a revoker after stopping it */
    void *next[CLASSES + 1]; /* what top points to: see cache_pop */
    void **top[CLASSES + 1];
    arena_t *arena;      /* constant while the cache is in a table */
    uint64_t tag;        /* of the arena, for the compare with page-map entries */
    uint32_t until_tick; /* allocations before the slow path looks at the clock */
    uint64_t ticks;
    uint64_t graduated;     /* one bit a class that slabs serve: its chunk-backed blocks go home when freed */
    uint64_t split_classes; /* one bit a class, up to GRANULE_CLASSES, */
    split_t *split;         /* by class; NULL: none ever was */
    struct chunk *piece;    /* OPEN chunk that young blocks are carved from, or NULL */
    size_t piece_bytes;
    size_t plain_usable;                /* of plain chunks carved from it that the arena has not counted, */
    uint32_t plain_blocks;              /* and how many they are */
    bool plain_freed;                   /* by this thread: what is free serves before more is carved */
    uint16_t missed[CLASSES + 1];       /* uses without a magazine, up to EARN_LONGEST */
    uint16_t carved[SMALL_CLASSES + 1]; /* bytes of a class; from alloc_chunk_share on it has slabs */
    uint16_t carved_noted[SMALL_CLASSES + 1]; /* when the arena last counted what was carved */

    /* under lock, or stopped */
    lock_t lock;
    magazine_t *full[CLASSES + 1]; /* chain of full magazines behind the loaded one */
    uint16_t full_count[CLASSES + 1];
    size_t full_bytes;                /* of all classes */
    size_t full_most;                 /* which these may be; a class's a quarter */
    uint8_t fill[CLASSES + 1];        /* blocks that the last refill asked for, or 0 */
    uint16_t filled_at[CLASSES + 1];  /* low bits of the allocations at the last refill */
    uint16_t full_least[CLASSES + 1]; /* of full_count, since the last decay */
    uint16_t held[CLASSES + 1];       /* the loaded magazine at the last decay, as a hash */
    struct chunk *piece_then;         /* the piece at the last decay */
    uint64_t decayed_ms;
    uint64_t used[USED_WORDS]; /* classes whose bin is not the dummy, or that have full magazines */
    magazine_t *spare;         /* empty ones */
    unsigned spare_count;
    size_t next_piece_bytes;
    bool stopped;   /* by a revoker, which has it to itself */
    bool locked;    /* by a revoker, whether it could stop it or not */
    misuse_t wrong; /* found while draining, to be reported when no lock is held; with its block */
    void *culprit;
    uint16_t seen[SMALL_CLASSES + 1]; /* low bits of top at the last tick */
    bool tick_due;                    /* a tick fell where there was no time for it */
    bool review_due;                  /* it takes more than before: see surplus.h */
    bool settle_due;                  /* granules came or went: see alloc_settle */
    bool took_zero;                   /* the last refill was one block, which reads as zero */
    uint64_t counted_from;            /* allocations before cache_init */

    /* guarded by the registry lock */
    struct thread_record *thread;
    struct cache *next_in_arena, *previous_in_arena;
} cache_t;

/* Thread-local: small, because room for it is scarce in libraries loaded late. */
typedef struct {
    _Atomic(cache_t *)
        table[TABLE_SLOTS]; /* never NULL: cache_none, or a cache that this thread may use; relaxed */
    _Atomic uint32_t busy;  /* pairs with wait_until_idle in revoke.c */
    bool gone;              /* no more caches: this thread's exit has begun, or its record is being made */
    uint8_t first_frees;    /* see thread_begins */
    _Atomic(arena_t *)
        home; /* the arena whose cache is in slot 0 too, or NULL; relaxed, as others only count it */
    struct thread_record *record;
} thread_t;

/*
 * A cache, or 0, or what surplus.h counts of an arena without one. Stored under the registry lock, that count by its thread
 * alone; loaded there, or by its thread. Relaxed.
 */
typedef _Atomic(uintptr_t) cache_slot_t;
enum {
    CACHE_EVICTED = 1, /* bit of a slot: the cache is there, but its thread may not use it */
    CACHE_SURPLUS = 2  /* no cache is, but a count */
};

/* What others need of a thread; linked while it lives. Guarded by the registry lock. */
typedef struct thread_record {
    struct thread_record *next, *previous;
    thread_t *thread;
    cache_slot_t few[CACHES_FEW]; /* all its caches, by their arena's index */
    cache_slot_t *many;           /* the indices from CACHES_FEW on: mapped, replaced by its thread alone */
    size_t many_count;
    unsigned caches;
    cache_t *retired; /* its caches of arenas that are gone, for arenas to come */
    unsigned retired_count;
    /* see surplus.h; its thread's */
    bool crowded;       /* so many caches that they are looked at now and then */
    size_t cache_bytes; /* that one takes, as a mean; 0: none was looked at */
    size_t hand;        /* index of the cache that was looked at last */
    uintptr_t turns;    /* of arenas without one, that have ended */
} thread_record_t;

extern HIDDEN _Thread_local thread_t thread_self;

/*
 * The cache of no arena, in every slot that has no other. Never written. Its bins are the dummy and its tag
 * is no entry's, so that who looks only into slot 0 misses, too.
 */
extern HIDDEN cache_t cache_none;

/*
 * Bits 3 to 7 of a handle are its slot (registry.c), and the others of its low byte are 0: so they are the slot's offset in
 * bytes. Slot 0 is never an arena's, so that NULL misses; the cache of the thread's home is there, for a caller
 * who knows of no other arena.
 */
INLINE size_t table_offset(const arena_t *arena)
{
    return (uintptr_t)arena % sizeof thread_self.table;
}

INLINE _Atomic(cache_t *) *table_slot(thread_t *thread, const arena_t *arena)
{
    return at(thread->table, table_offset(arena));
}

/*
 * The calling thread's cache of the arena if its table has it; compare `arena` of what comes back. A relaxed
 * load. gcc addresses an atomic or volatile operand of thread-local storage with three more instructions; so it is a
 * plain one, and the empty asm keeps it the only one.
 */
INLINE cache_t *table_lookup(const arena_t *arena)
{
    if (UNDER_TSAN) {
        return atomic_load_explicit(table_slot(&thread_self, arena), memory_order_relaxed);
    }
    cache_t *cache;
    const char *table = (const char *)thread_self.table;
    memcpy(&cache, table + table_offset(arena), sizeof cache);
    __asm__("" : "+r"(cache));
    return cache;
}

/* NULL: no cache of an arena of this index has been there yet. */
INLINE cache_slot_t *record_slot(thread_record_t *record, size_t index)
{
    if (LIKELY(index < CACHES_FEW)) {
        return &record->few[index];
    }
    return index - CACHES_FEW < record->many_count ? &record->many[index - CACHES_FEW] : NULL;
}

/*
 * What table_lookup has no room for: the calling thread's cache of the arena with that index, or NULL. Inside. As in
 * the table, its place there is the permission to use it.
 */
INLINE cache_t *record_lookup(size_t index)
{
    thread_record_t *record = thread_self.record;
    const cache_slot_t *slot = record == NULL ? NULL : record_slot(record, index);
    uintptr_t cache = slot == NULL ? 0 : atomic_load_explicit(slot, memory_order_relaxed);
    return (cache & (CACHE_EVICTED | CACHE_SURPLUS)) != 0 ? NULL : (cache_t *)cache;
}

/* In turns. */
INLINE size_t record_next_index(const thread_record_t *record, size_t index)
{
    return (index + 1) % (CACHES_FEW + record->many_count);
}

/* Of any arena with that index, evicted or not; NULL: none. Under the registry lock. */
INLINE cache_t *record_cache_locked(thread_record_t *record, size_t index)
{
    const cache_slot_t *slot = record_slot(record, index);
    uintptr_t cache = slot == NULL ? 0 : atomic_load_explicit(slot, memory_order_relaxed);
    return (cache & CACHE_SURPLUS) != 0 ? NULL : (cache_t *)(cache & ~(uintptr_t)CACHE_EVICTED);
}

/* The cache of the calling thread's home, or cache_none. */
INLINE cache_t *table_home(void)
{
    return table_lookup(NULL);
}

INLINE void cache_set_top(cache_t *cache, size_t class, void **top)
{
    cache->top[class] = top;
    cache->next[class] = *top;
}

/*
 * A block out of the loaded magazine, if there is one. That it is found in `next` and not through `top` saves no instruction, but
 * time: the caller writes to the block, and a load that once ran ahead of a store to its own address waits ever after
 * until the addresses of all earlier stores are known. By two loads in a row, each of such a kind, each allocation
 * waited for the one before.
 */
INLINE void *cache_pop(cache_t *cache, size_t class)
{
    void *block = cache->next[class];
    cache_set_top(cache, class, cache->top[class] - 1);
    return block;
}

/* There must be room. */
INLINE void cache_push(cache_t *cache, size_t class, void *block)
{
    void **top = cache->top[class] + 1;
    *top = block;
    cache->top[class] = top;
    cache->next[class] = block;
}

INLINE void cache_enter(thread_t *thread)
{
    if (UNDER_TSAN) {
        uint32_t idle = 0;
        while (!atomic_compare_exchange_weak_explicit(&thread->busy, &idle, 1, memory_order_acquire,
                                                      memory_order_relaxed)) {
            idle = 0;
            cpu_relax();
        }
        return;
    }
    atomic_store_explicit(&thread->busy, 1, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
}

INLINE void cache_leave(thread_t *thread)
{
    atomic_store_explicit(&thread->busy, 0, memory_order_release);
}

/* The calling thread's cache of the arena, made if need be and put into its table; NULL: it gets none. */
HIDDEN cache_t *thread_cache(arena_t *arena);

/*
 * Whether the calling thread, which frees, has allocated nothing yet; of its first FIRST_FREES frees only. What it frees was
 * another's, who may have those beside it on the same cache line: it goes home, where the thread's own allocations do not
 * take it from, as they would from a magazine (passive false sharing; Berger et al., Hoard, 2000).
 */
HIDDEN bool thread_begins(void);

/* Puts the calling thread's cache of the arena, if it has one, back into its table, where another arena's took its slot. */
HIDDEN void thread_restore(const arena_t *arena);

/* Looks at so many of the calling thread's caches, if it has many, and gives up what is too much. No lock held; it takes
 * the registry's then. */
HIDDEN void thread_review(unsigned looks);

/* Whether the calling thread gets no cache of the arena for this use, as it has too many. No lock. */
HIDDEN bool thread_has_surplus(const arena_t *arena);

/* Caches of threads that ended, which no other thread wanted for a while, go home. Takes the registry lock. */
HIDDEN void thread_drop_orphans(void);

/* Makes the arena the calling thread's home: its cache, once there is one, is in slot 0. What the thread had cached
 * of the old home goes back there. The arena may never be destroyed. */
HIDDEN void thread_settle(arena_t *arena);

/* Threads that have settled in the arena, as far as they have caches at all. Takes the registry lock; by their number. */
HIDDEN unsigned thread_count_settled(const arena_t *arena);

INLINE arena_t *thread_home(void)
{
    return atomic_load_explicit(&thread_self.home, memory_order_relaxed);
}

/* Slow paths; all are called inside and leave. */
HIDDEN void *cache_alloc_empty(cache_t *cache, size_t class, size_t request);
HIDDEN void *cache_alloc_miss(arena_t *arena, size_t size);
HIDDEN void *cache_alloc_tick(cache_t *cache, unsigned class);
HIDDEN void cache_free_full(cache_t *cache, unsigned class, void *block);
HIDDEN void cache_free_other(arena_t *arena, void *block);

/* A block that is not in a slab: its header tells the class, if it is a header at all. Inside. */
HIDDEN void cache_free_chunk(cache_t *cache, void *block);
HIDDEN void cache_free_home(cache_t *cache, void *block);
HIDDEN void cache_free_plain(cache_t *cache, void *block);

/* What its magazines hold of classes from `least` on; the cache's mutex is held. */
HIDDEN size_t cache_held_bytes(const cache_t *cache, unsigned least);

HIDDEN size_t cache_held_of(const cache_t *cache, unsigned class);

/* Sends all these home. The cache's mutex is held, and it is the caller's own or stopped. */
HIDDEN misuse_t cache_drain(cache_t *cache, unsigned least, void **culprit);
HIDDEN void cache_discard(cache_t *cache);
HIDDEN void cache_free_spares(cache_t *cache, unsigned keep);
HIDDEN void cache_each_block(const cache_t *cache, void (*visit)(void *context, void *block), void *context);
HIDDEN void cache_init(cache_t *cache, arena_t *arena);

/* Allocations made from this cache since cache_init. */
INLINE uint64_t cache_allocations(const cache_t *cache)
{
    return cache->ticks * TICK_ALLOCATIONS + (TICK_ALLOCATIONS - cache->until_tick) - cache->counted_from;
}

#endif
