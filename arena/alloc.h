/*
 * alloc.h: the arena without caches: one block in, one block out, under the mutex; and the bulk moves
 * that caches live on. Chooses between slab, chunk and large block, grows, and tries again.
 */
#ifndef ARENA_ALLOC_H
#define ARENA_ALLOC_H

#include "check.h"
#include "heap.h"
#include "sizeclass.h"

/* A block of `request` bytes at a multiple of `alignment` (at least 8); NULL with errno ENOMEM. *zero: it
 * reads as zero. Counts an allocation. */
HIDDEN void *alloc_block(arena_t *arena, size_t request, size_t alignment, bool *zero);

/* Takes a block back; counts a free; reports a misuse with no lock held and does not return then. */
HIDDEN void alloc_free(arena_t *arena, void *block);

/* Usable bytes of a block of this arena; reports a misuse as alloc_free does. */
HIDDEN size_t alloc_usable(arena_t *arena, const void *block);

/* The same under the mutex; *wrong says what is wrong. */
HIDDEN size_t alloc_usable_locked(const arena_t *arena, const void *block, misuse_t *wrong);

/* Reports a misuse that was found under the mutex, with no lock held. What the header alone said is refined first. */
HIDDEN _Noreturn void alloc_report(arena_t *arena, const void *block, misuse_t wrong);

/* Reports the use of an arena that was destroyed, if that can be seen. */
INLINE void alloc_check_alive(const arena_t *arena, const void *block)
{
    if (UNLIKELY(!atomic_load_explicit(&arena->alive, memory_order_relaxed))) {
        misuse(MISUSE_DEAD_ARENA, arena, block);
    }
}

/* arena_alloc and arena_free without a cache: NULL and dead arenas, ARENA_ZERO, errno. */
HIDDEN void *alloc_public(arena_t *arena, size_t size);
HIDDEN void *alloc_unwatched(arena_t *arena,
                             size_t size); /* in an arena that is not NULL; unseen by watch.h */
HIDDEN void alloc_public_free(arena_t *arena, void *block);

/* Up to `count` blocks of `class` without growing the arena. Not counted as allocations. *settle: set if alloc_settle
 * is to be called when no lock is held. *zero: there is one, and it reads as zero. */
HIDDEN size_t alloc_fill(arena_t *arena, unsigned class, void **out, size_t count, bool *settle, bool *zero);

INLINE _Atomic(uint8_t) *alloc_earned(granules_t *granules, unsigned class)
{
    check_debug(class > SLAB_CLASSES && class <= CLASSES);
    return &granules->earned[class - SLAB_CLASSES - 1];
}

/* Whether blocks of a class above SLAB_MAX were freed EARN_FREES times where no magazine took them: by any thread, so
 * that one that allocates for others to free sees it. Any thread, no lock. */
INLINE bool alloc_has_earned(const arena_t *arena, unsigned class)
{
    return arena->granules != NULL &&
           atomic_load_explicit(alloc_earned(arena->granules, class), memory_order_relaxed) >= EARN_FREES;
}

/* Where a class stood still it has to be earned anew. */
INLINE void alloc_forget_earned(arena_t *arena, unsigned class)
{
    if (arena->granules != NULL) {
        atomic_store_explicit(alloc_earned(arena->granules, class), 0, memory_order_relaxed);
    }
}

/* A chunk of no class and of just `request` bytes, above SMALL_MAX, without growing the arena; NULL: no room. Not
 * counted as an allocation. */
HIDDEN void *alloc_exact(arena_t *arena, size_t request, bool *settle, bool *zero);

/* Makes chunk runs, or their ends, of what is raw in regions outside the map. Caller holds grow and the mutex. */
HIDDEN void alloc_adopt_raw_locked(arena_t *arena);

/* Grows the arena so that a block of `usable` bytes can be taken, unless another thread just did; false: it
 * cannot. */
HIDDEN bool alloc_make_room(arena_t *arena, size_t usable);

/* The same for a block of a class, or the slab that it comes from. */
HIDDEN bool alloc_make_room_for(arena_t *arena, unsigned class);

/* Takes blocks back that caches held. A misuse is returned with its block, and the rest still taken. Gives
 * no memory back to the source: *settle is set if alloc_settle is to do that when no lock is held. */
HIDDEN misuse_t alloc_drain(arena_t *arena, void **blocks, size_t count, bool *settle, void **culprit);
HIDDEN void alloc_settle(arena_t *arena);

/* A large block was allocated: what lies idle goes. What is missing of that is counted on: who moves a block frees the
 * old one next. No lock held. */
HIDDEN void alloc_settle_large(arena_t *arena);

/* Whether the word before an address in a chunk run can be read. */
HIDDEN bool alloc_header_is_readable(const void *block);

/* Releases the arena's mutex after frees, and gives memory back if they left too much. */
HIDDEN void alloc_unlock(arena_t *arena);

/* A break that moves by pages comes down until at most `keep_bytes` are mapped, or to what is in use. Takes grow.
 * Returns the bytes. */
HIDDEN size_t alloc_lower_break(arena_t *arena, size_t keep_bytes);

/* Called every now and then by threads that allocate: purges what has been free for a while. */
HIDDEN void alloc_tick(arena_t *arena);

/*
 * Bytes of a class that may live in chunks before it has slabs, of which each block takes `block_bytes`. While nothing was
 * freed they are more: an arena for one task, destroyed as a whole, has much of its pages' rest in each slab, and no use for
 * blocks that come back.
 */
INLINE size_t alloc_chunk_share(const arena_t *arena, size_t block_bytes)
{
    bool freed = atomic_load_explicit(&arena->granules->freed, memory_order_relaxed);
    return freed ? GRADUATE_BYTES : min_size(GRADUATE_BLOCKS * block_bytes, GRADUATE_MOST);
}

/* A block of a small class came back. Any thread; stored once, as others read what lies beside it. */
INLINE void alloc_note_freed(arena_t *arena)
{
    if (!atomic_load_explicit(&arena->granules->freed, memory_order_relaxed)) {
        atomic_store_explicit(&arena->granules->freed, true, memory_order_relaxed);
    }
}

/* Whether the class has slabs by now: enough of it lives in chunks. Not of a buffer. */
HIDDEN bool alloc_wants_slab_locked(arena_t *arena, unsigned class);

/* It has them from now on, however little lives. */
INLINE void alloc_graduate_locked(arena_t *arena, unsigned class)
{
    check_debug(class <= GRANULE_CLASSES);
    arena->granules->graduated |= (uint64_t)1 << class;
}

/* A chunk whose class byte is `mark` is given out, or taken back (`blocks` -1). */
INLINE void alloc_count_chunk_locked(arena_t *arena, unsigned mark, int blocks)
{
    if (!arena->in_buffer && mark <= GRANULE_CLASSES) {
        arena->granules->chunk_bytes[mark] += blocks * (ptrdiff_t)sizeclass_bytes[mark];
    }
}

/* Allocations that were not counted, or (-1) one that the application never saw. */
HIDDEN void alloc_count(arena_t *arena, int allocations);

#endif
