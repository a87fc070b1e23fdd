/*
 * layer.h: what the tests of private layers share: an arena without a mutex and without caches, in which the
 * functions whose names end in _locked may be called as they are, and a first region of known size.
 */
#ifndef ARENA_TESTS_LAYER_H
#define ARENA_TESTS_LAYER_H

#include "../../arena/heap.h"
#include "../../arena/region.h"
#include "../../arena/slab.h"
#include "../../arena/stock.h"
#include "../support.h"

/* An arena that holds nothing yet; its first region will be of `granules`, more only on demand. */
SUPPORT_UNUSED static arena_t *layer_arena(unsigned flags, size_t granules)
{
    arena_options_t options = {.name = "layer",
                               .flags = ARENA_SINGLE_THREAD | flags,
                               .first_region_bytes = granules * GRANULE,
                               .trim_threshold_bytes = SIZE_MAX,
                               .purge_delay_ms = UINT32_MAX};
    arena_t *arena = arena_create(&options);

    must(arena != NULL);
    stock_trim(0); /* what other tests left there may be larger than asked for */
    return arena;
}

/* region_grow_and_lock, from a caller that takes nothing of it at once. */
SUPPORT_UNUSED static bool layer_grow(arena_t *arena, size_t need)
{
    bool grown = region_grow_and_lock(arena, need);

    if (grown) {
        lock_release(&arena->lock);
    }
    return grown;
}

/* Gives an empty arena its first region: one free run of `granules`. Returns the first of them. */
SUPPORT_UNUSED static granule_t layer_region(arena_t *arena, size_t granules)
{
    must(arena->regions == NULL && arena->first_region_bytes == granules * GRANULE);
    must(layer_grow(arena, GRANULE));
    must(arena->regions != NULL && arena->regions->bytes == granules * GRANULE);
    return granule_of(arena->regions->start);
}

/* One block into its slab. */
SUPPORT_UNUSED static misuse_t put_back(arena_t *arena, void *block)
{
    misuse_t wrong = MISUSE_NONE;

    must(slab_put_locked(arena, &block, 1, &wrong) == 1);
    return wrong;
}

#endif
