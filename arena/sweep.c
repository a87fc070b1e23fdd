/* sweep.c: see sweep.h. */
#include "sweep.h"

#include "run.h"
#include "slab.h"

/* One holding of the mutex looks at so many granules and purges so many slabs, one tick at most at so many. */
enum { STEP_GRANULES = 1024, STEP_SLABS = 16, TICK_GRANULES = 16384, TICK_SLABS = 256 };

typedef struct {
    granule_t *at; /* where it goes on; 0: it is over */
    bool idle_only;
    size_t granules, slabs, bytes; /* looked at, purged, given back */
} sweep_t;

/* The first that ends behind `at`, or NULL. */
static const region_t *region_from(const arena_t *arena, granule_t at)
{
    const region_t *region = arena->regions;
    while (region != NULL && (!region->in_map || granule_of(region->start + region->bytes - 1) < at)) {
        region = region->next;
    }
    return region;
}

/* The slab that begins there, if it may give pages; or NULL. */
static slab_t *candidate(const arena_t *arena, granule_t at, bool idle_only)
{
    uint32_t kind = run_kind(arena, at);
    if (kind == 0 || kind > SLAB_CLASSES || pagemap_tag(at)->place != 0 ||
        (idle_only && !slab_has_room(arena, kind, 0))) {
        return NULL;
    }
    slab_t *slab = pagemap_tag(at)->descriptor;
    bool rests = !idle_only || slab_rests_locked(slab);
    return rests && slab->freed ? slab : NULL;
}

static void step_locked(arena_t *arena, sweep_t *sweep)
{
    const region_t *region = region_from(arena, *sweep->at);
    if (region == NULL) {
        *sweep->at = 0;
        return;
    }
    granule_t first = granule_of(region->start);
    granule_t end = first + (granule_t)(region->bytes >> GRANULE_LOG2);
    granule_t from = *sweep->at > first ? *sweep->at : first, at = from;
    size_t most_slabs = sweep->slabs + STEP_SLABS;
    for (; at < end && at - from < STEP_GRANULES && sweep->slabs < most_slabs; at++) {
        slab_t *slab = candidate(arena, at, sweep->idle_only);
        if (slab != NULL) {
            sweep->bytes += slab_purge_locked(arena, slab);
            sweep->slabs++;
        }
    }
    sweep->granules += at - from;
    *sweep->at = at;
}

static void walk(arena_t *arena, sweep_t *sweep, size_t most_granules, size_t most_slabs)
{
    bool more = true;
    while (more && sweep->granules < most_granules && sweep->slabs < most_slabs) {
        lock_acquire(&arena->lock);
        more = *sweep->at != 0;
        if (more) {
            step_locked(arena, sweep);
        }
        lock_release(&arena->lock);
    }
}

static bool may_sweep(const arena_t *arena)
{
    return !arena->in_buffer && arena->source != ARENA_SOURCE_HOOKS;
}

size_t sweep_all(arena_t *arena)
{
    granule_t at = 1;
    sweep_t sweep = {.at = &at};
    if (may_sweep(arena)) {
        walk(arena, &sweep, SIZE_MAX, SIZE_MAX);
    }
    return sweep.bytes;
}

void sweep_idle(arena_t *arena)
{
    sweep_t sweep = {.at = &arena->granules->swept, .idle_only = true};
    walk(arena, &sweep, TICK_GRANULES, TICK_SLABS);
}

bool sweep_is_due_locked(arena_t *arena, bool anew)
{
    if (!may_sweep(arena) || (arena->flags & ARENA_HUGE_PAGES) != 0) {
        return false;
    }
    granules_t *granules = arena->granules;
    size_t used = arena->totals.slab_usable;
    bool grows = used > granules->slab_least_used && used - granules->slab_least_used > SWEEP_LEAST_BYTES;
    granules->slab_least_used = anew ? used : min_size(granules->slab_least_used, used);
    granules->swept = grows ? 0 : anew && granules->swept == 0 ? 1 : granules->swept;
    return granules->swept != 0 && arena->totals.slab_free_usable > SWEEP_LEAST_BYTES;
}
