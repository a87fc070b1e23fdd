/*
 * alloc.h: the arena without caches: one block in, one block out, under the mutex; and the bulk moves
 * that caches live on. Chooses between slab, chunk and large block, grows, and tries again.
 */
#ifndef ARENA_ALLOC_H
#define ARENA_ALLOC_H

#include "check.h"
#include "heap.h"

/* The size class of a request in this arena, or 0 if it gets a chunk or a large block of its own. */
HIDDEN unsigned alloc_class(const arena_t *arena, size_t request);

/* A block of `request` bytes at a multiple of `alignment` (at least 8); NULL with errno ENOMEM. *zero: it
 * reads as zero. Counts an allocation. */
HIDDEN void *alloc_block(arena_t *arena, size_t request, size_t alignment, bool *zero);

/* Takes a block back; counts a free; reports a misuse with no lock held and does not return then. */
HIDDEN void alloc_free(arena_t *arena, void *block);

/* Usable bytes of a block of this arena; reports a misuse as alloc_free does. */
HIDDEN size_t alloc_usable(arena_t *arena, const void *block);

/* The same under the mutex; *wrong says what is wrong. */
HIDDEN size_t alloc_usable_locked(arena_t *arena, const void *block, misuse_t *wrong);

/* Reports a misuse that was found under the mutex, with no lock held. What the header alone said is refined first. */
HIDDEN _Noreturn void alloc_report(arena_t *arena, const void *block, misuse_t wrong);

/* Makes the block `request` bytes without copying; where it then is, or NULL. *when: if it is an arena with
 * a log, the moment that counts as that of the change. */
HIDDEN void *alloc_resize(arena_t *arena, void *block, size_t request, uint64_t *when);

/* A block for one that grew out of its place, and will likely grow again: with free memory behind it, and not of
 * a size class, so that it goes home when freed and leaves that memory whole. NULL: there is no such place. */
HIDDEN void *alloc_roomy(arena_t *arena, size_t request);

/* arena_alloc and arena_free without a cache: NULL and dead arenas, ARENA_ZERO, errno. */
HIDDEN void *alloc_public(arena_t *arena, size_t size);
HIDDEN void *alloc_unwatched(arena_t *arena,
                             size_t size); /* in an arena that is not NULL; unseen by watch.h */
HIDDEN void alloc_public_free(arena_t *arena, void *block);

/* Usable bytes of what a request without a class gets. */
HIDDEN size_t alloc_good_size(const arena_t *arena, size_t request);

/* Up to `count` blocks of `class` without growing the arena. Not counted as allocations. *settle: set if alloc_settle
 * is to be called when no lock is held. */
HIDDEN size_t alloc_fill(arena_t *arena, unsigned class, void **out, size_t count, bool *settle);

/* Makes chunk runs of regions that came unaligned. Caller holds grow. */
HIDDEN void alloc_adopt_raw(arena_t *arena);

/* Grows the arena so that a block of `usable` bytes can be taken, unless another thread just did; false: it
 * cannot. */
HIDDEN bool alloc_make_room(arena_t *arena, size_t usable);

/* Takes blocks back that caches held. A misuse is returned with its block, and the rest still taken. Gives
 * no memory back to the source: call alloc_settle when no lock is held. */
HIDDEN misuse_t alloc_drain(arena_t *arena, void **blocks, size_t count, void **culprit);
HIDDEN void alloc_settle(arena_t *arena);

/* Whether the word before an address in a chunk run can be read. */
HIDDEN bool alloc_header_is_readable(const void *block);

/* Releases the arena's mutex after frees, and gives memory back if they left too much. */
HIDDEN void alloc_unlock(arena_t *arena);

/* Called every now and then by threads that allocate: purges what has been free for a while. */
HIDDEN void alloc_tick(arena_t *arena);

/* Counts blocks that live in chunks towards slabs for their class. */
HIDDEN bool alloc_wants_slab_locked(arena_t *arena, unsigned class);

/* An allocation that the application never saw. */
HIDDEN void alloc_uncount(arena_t *arena);

/* Takes what has an owner elsewhere back: depots, caches, empty slabs, free ends. */
HIDDEN void alloc_reclaim(arena_t *arena);

#endif
