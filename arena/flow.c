/* flow.c: see flow.h. */
#include "flow.h"

#include "run.h"

static void report_if(misuse_t wrong, arena_t *arena, const void *culprit)
{
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        misuse(wrong, arena, culprit);
    }
}

static void flow_back_from(arena_t *arena, size_t least_bytes, size_t keep_bytes)
{
    void *culprit = NULL;
    misuse_t wrong = cachehook_flow_back(arena, least_bytes, keep_bytes, &culprit);
    report_if(wrong, arena, culprit);
}

bool flow_one(arena_t *arena, size_t usable)
{
    void *culprit = NULL;
    misuse_t wrong = MISUSE_NONE;
    if (usable <= FLOW_LEAST_BYTES || usable > CLASS_MAX || !cachehook_allowed(arena)) {
        return false;
    }
    bool flowed = cachehook_flow_one(arena, usable, &wrong, &culprit);
    report_if(wrong, arena, culprit);
    return flowed;
}

/* Room in slabs beyond what was left when all caches last went home for it. */
static size_t new_room_locked(arena_t *arena)
{
    size_t room = arena->totals.slab_free_usable;
    granules_t *granules = arena->granules;
    granules->room_left_bytes = min_size(granules->room_left_bytes, room);
    return room - granules->room_left_bytes;
}

/* Whether slabs have so much room, as a share of `bytes`, that what is cached may keep many of them from being empty: a
 * block a slab is enough. */
static bool has_much_room_locked(const arena_t *arena, size_t bytes)
{
    return arena->totals.slab_free_usable > max_size(bytes / PINNED_SHARE, PINNED_LEAST_BYTES);
}

/* Where that was looked into, not before there is much more: what lives pins slabs, too. */
static bool may_be_pinned_locked(arena_t *arena)
{
    size_t mapped = arena->totals.mapped_bytes;
    return new_room_locked(arena) > mapped / (2 * PINNED_SHARE) && has_much_room_locked(arena, mapped);
}

void flow_drain_caches(arena_t *arena, reach_t reach)
{
    void *culprit = NULL;
    misuse_t wrong = cachehook_reclaim(arena, reach, &culprit); /* which sets culprit: not one expression */
    report_if(wrong, arena, culprit);
}

/* A sandbox may end who calls membarrier, without which running threads' caches cannot be reached. */
static void unpin(arena_t *arena)
{
    flow_drain_caches(arena, arena->modest ? REACH_REST : REACH_IDLE);
    lock_acquire(&arena->lock);
    arena->granules->room_left_bytes = arena->totals.slab_free_usable;
    lock_release(&arena->lock);
}

void flow_after_threads(arena_t *arena)
{
    lock_acquire(&arena->lock);
    arena->granules->retaken_bytes /= 2;
    bool much = has_much_room_locked(arena, run_in_use_locked(arena));
    lock_release(&arena->lock);
    if (much) {
        flow_drain_caches(arena, REACH_ENDED);
    }
}

void flow_back(arena_t *arena)
{
    if (!atomic_load_explicit(&arena->grown, memory_order_relaxed)) {
        return; /* its first region: nothing can be cached yet */
    }
    lock_acquire(&arena->lock);
    size_t mapped = arena->totals.mapped_bytes;
    bool grew = arena->granules == NULL || mapped != arena->granules->flowed_at_bytes;
    if (grew && arena->granules != NULL) {
        arena->granules->flowed_at_bytes = mapped;
    }
    bool pinned = arena->granules != NULL && may_be_pinned_locked(arena);
    lock_release(&arena->lock);
    if (pinned) {
        unpin(arena);
        return;
    }
    flow_back_from(arena, FLOW_LEAST_BYTES, mapped / FLOW_SHARE);
    flow_back_from(arena, 0, grew ? mapped / FLOW_SHARE : max_size(mapped / FLOW_SHARE, FLOW_MUCH_BYTES));
}
