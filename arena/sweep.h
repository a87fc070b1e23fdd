/*
 * sweep.h: slabs in use give the free pages between their blocks back to the kernel: a walk over the regions in the order
 * of their addresses, in steps, so that nobody waits for the mutex for long. No lock held; not for memory from hooks,
 * which are not called under the mutex.
 */
#ifndef ARENA_SWEEP_H
#define ARENA_SWEEP_H

#include "heap.h"

/* Of all slabs in which a block came back since they last gave theirs. Returns the bytes. Linear in mapped granules. */
HIDDEN size_t sweep_all(arena_t *arena);

/*
 * Of those that stood still since the last walk, of classes with much room: a peak leaves a few blocks in each slab, and
 * those may live for long. A part of the walk, some ms: what is left is the next tick's.
 */
HIDDEN void sweep_idle(arena_t *arena);

/* Whether sweep_idle has anything to do; `anew`: a walk may begin. Not while slabs fill: what rests is about to be taken. */
HIDDEN bool sweep_is_due_locked(arena_t *arena, bool anew);

#endif
