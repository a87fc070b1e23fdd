/*
 * tiny.h: slabs of 512 to 4,096 bytes for an arena in a buffer, where whole granules are not to be had.
 *
 * Each is a chunk whose block begins at a multiple of 512 and holds a small header, then equal blocks. A
 * byte table, one byte for 512 bytes of the buffer, tells which addresses lie in one and where it begins.
 * Buffers below TINY_BUFFER_MIN do without. Guarded by the arena's mutex.
 */
#ifndef ARENA_TINY_H
#define ARENA_TINY_H

#include "check.h"
#include "heap.h"

enum {
    TINY_UNIT = 512,
    TINY_UNIT_LOG2 = 9,
    TINY_MAX_UNITS = 8,
    TINY_CLASS_MAX = 256,
    TINY_BUFFER_MIN = 16384
};

/* Bytes that a buffer's table takes; laid out at `memory`, which is zero. */
HIDDEN size_t tiny_table_bytes(size_t buffer_bytes);
HIDDEN void tiny_init(arena_t *arena, void *memory, char *buffer);

HIDDEN bool tiny_holds(const arena_t *arena, const void *block);

/* A block of `class`, or NULL: none of its slabs has one, and it has too few blocks for another. */
HIDDEN void *tiny_take_locked(arena_t *arena, unsigned class, size_t alignment);

HIDDEN misuse_t tiny_put_locked(arena_t *arena, void *block);
HIDDEN size_t tiny_usable_locked(const arena_t *arena, const void *block, misuse_t *wrong);

/* Calls visit for each block of the slab at `slab`; for walk and verify. */
HIDDEN void tiny_each(const void *slab, void (*visit)(void *context, void *block, size_t usable, bool free),
                      void *context);

#endif
