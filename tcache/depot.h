/*
 * depot.h: an arena's stock of full magazines. One is put or taken whole, O(1), without touching a block,
 * so that what one thread frees another allocates at the price of a lock for every 63 blocks. Empty ones go the other
 * way, under the same lock (Bonwick and Adams, Magazines and Vmem, 2001). Bounded in bytes for each class, and of blocks
 * above SLAB_MAX for threads that pass them on alone; what was not needed between two decays goes home. Lock rank depot.
 */
#ifndef ARENA_DEPOT_H
#define ARENA_DEPOT_H

#include "../arena/heap.h"
#include "magazine.h"

typedef struct depot {
    lock_t lock;
    /* guarded by lock */
    magazine_t *full[CLASSES + 1];
    uint32_t count[CLASSES + 1];
    uint32_t spare[CLASSES + 1]; /* least count since the last decay */
    size_t held_bytes;           /* in all classes */
    magazine_t *empty;           /* left for those taken, and given for those put */
    uint64_t decayed_ms;
    const struct cache *last_user; /* compared only: it may be gone */
    bool shared;                   /* since then another came */
} depot_t;

/* The arena's, or NULL as long as no thread had more than it keeps itself. */
INLINE depot_t *depot_of(const arena_t *arena)
{
    return atomic_load_explicit(&arena->depot, memory_order_acquire);
}

/* NULL: no memory. */
HIDDEN depot_t *depot_create(void);

/* Bytes in the classes from `least` on. */
HIDDEN size_t depot_held_bytes(depot_t *depot, unsigned least);

/* False: it holds enough, of the class or altogether; or the class is above SLAB_CLASSES, and nobody but `user` was seen
 * here lately. *empty, where it is NULL, becomes an empty one if there is one; `empty` may be NULL. */
HIDDEN bool depot_put(depot_t *depot, const struct cache *user, unsigned class, magazine_t *magazine,
                      magazine_t **empty);

/* A full magazine, or NULL; for `user`, or NULL: to be emptied. *empty, where it is not NULL, stays in exchange, and is NULL
 * then; `empty` may be NULL. */
HIDDEN magazine_t *depot_take(depot_t *depot, const struct cache *user, unsigned class, magazine_t **empty);

/* An empty one, or NULL. */
HIDDEN magazine_t *depot_take_empty(depot_t *depot);

/* Whether PURGE_DELAY_MS have passed since it last was. */
HIDDEN bool depot_decay_is_due(depot_t *depot, uint64_t now_ms);

/* A magazine that was not needed since the last decay, or NULL, and then the next count begins. */
HIDDEN magazine_t *depot_take_spare(depot_t *depot, unsigned class);

/* Visits the blocks of a chain of full magazines. */
HIDDEN void depot_each_block(const magazine_t *full, unsigned class,
                             void (*visit)(void *context, void *block), void *context);

#endif
