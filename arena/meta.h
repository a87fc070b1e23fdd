/*
 * meta.h: memory for descriptors, apart from every arena: slab and region descriptors, arenas, caches,
 * magazines. Objects of one size share a granule, and all sizes the first one; an empty granule, but the first, goes
 * back to the kernel. One lock, rank os. O(1).
 */
#ifndef ARENA_META_H
#define ARENA_META_H

#include "lock.h"

#include <stddef.h>

#define META_MAX_BYTES (16 * KIB)

/* `bytes` of undefined contents, 1 to META_MAX_BYTES, aligned to the largest power of two that divides
 * the size rounded up to 64; NULL if the kernel has none. */
HIDDEN void *meta_alloc(size_t bytes);

/* As meta_alloc, cleared. */
HIDDEN void *meta_calloc(size_t bytes);

/* As these two, for what the caller can do without: where the kernel had nothing a moment ago it is not asked again,
 * because near a limit that would be at every allocation. */
HIDDEN void *meta_try_alloc(size_t bytes);
HIDDEN void *meta_try_calloc(size_t bytes);

/* Takes back what meta_alloc gave. NULL is ignored. */
HIDDEN void meta_free(void *object);

/* Bytes mapped for metadata. */
HIDDEN size_t meta_mapped_bytes(void);

HIDDEN lock_t *meta_lock(void); /* fork.c only */

#endif
