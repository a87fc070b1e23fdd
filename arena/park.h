/*
 * park.h: the memory of the large block that was freed last, kept a while for the next one where large blocks come and
 * go: a buffer that grows, by reallocation or made anew, finds its pages where it left them. So does a smaller one that comes
 * alone, though it was to be a chunk. One mapping an arena, at most PARK_MAX_BYTES, for PURGE_DELAY_MS of activity. The
 * first block that goes is never kept: only an arena that mapped a large block soon after it had freed one parks.
 */
#ifndef ARENA_PARK_H
#define ARENA_PARK_H

#include "heap.h"

/* Caller holds grow. A large block is mapped anew; one goes. */
HIDDEN void park_note_mapped(arena_t *arena);
HIDDEN void park_note_freed(arena_t *arena);

/* Caller holds grow. Whether the memory of a large block that goes may stay: they come and go, and nobody wants a fault
 * on what is gone. */
HIDDEN bool park_is_wanted(const arena_t *arena);

/* Caller holds grow. Keeps [start, start + bytes) of a mapping (large_t), which is out of the arena's books but for
 * mapped_bytes; false: the caller unmaps it. */
HIDDEN bool park_put(arena_t *arena, char *start, size_t bytes, uint32_t mapping);

/* Caller holds both locks. The first `bytes` of what is parked, at least so many, in the books as nothing yet. Contents
 * unknown. */
HIDDEN char *park_take_locked(arena_t *arena, size_t bytes);

/* Caller holds grow. Unmaps what is parked; if the kernel refuses, it stays. Returns how many bytes went. */
HIDDEN size_t park_drop(arena_t *arena);

/* No lock held: unmaps it if it was parked before `before_ms`. */
HIDDEN size_t park_drop_old(arena_t *arena, uint64_t before_ms);

#endif
