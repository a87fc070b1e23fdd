/*
 * free.c: blocks come back: which layer has one, what is wrong with it, and when the arena gives memory back
 * because of it. The other half of alloc.h.
 */
#include "alloc.h"
#include "cachehook.h"
#include "carve.h"
#include "large.h"
#include "name.h"
#include "os.h"
#include "park.h"
#include "region.h"
#include "run.h"
#include "slab.h"
#include "stock.h"
#include "survey.h"
#include "sweep.h"
#include "tiny.h"

/* Why `block`, whose page-map entry is no block of this arena's, cannot be one. */
static misuse_t why_not(const arena_t *arena, uint32_t entry)
{
    uint32_t kind = entry & 0xff;
    if (entry == 0 || kind == KIND_FREE_ZERO || kind == KIND_BUSY) {
        return MISUSE_FOREIGN;
    }
    if ((entry ^ kind) != arena->tag) {
        return MISUSE_WRONG_ARENA;
    }
    return MISUSE_DOUBLE_FREE;
}

bool alloc_header_is_readable(const void *block)
{
    return (uintptr_t)block % GRANULE >= CHUNK_HEADER ||
           pagemap_entry(before(block, CHUNK_HEADER)) == pagemap_entry(block);
}

/* A chunk's block; `entry` is 0 if it lies in a region outside the map. */
static misuse_t validate_chunk_locked(const arena_t *arena, const void *block, uint32_t entry)
{
    if (entry == 0) {
        const region_t *region = region_by_bounds_locked(arena, block);
        if (region == NULL) {
            return MISUSE_FOREIGN;
        }
        if (distance(region->start, block) < 2 * CHUNK_HEADER) {
            return MISUSE_INTERIOR;
        }
    } else if (!alloc_header_is_readable(block)) {
        return MISUSE_INTERIOR;
    }
    return carve_validate(block);
}

/* The block's page-map entry; 0 if it lies in a region outside the map, even if that is part of another arena's
 * block. */
static uint32_t entry_locked(const arena_t *arena, const void *block)
{
    uint32_t entry = arena->in_buffer ? 0 : pagemap_entry(block);
    bool foreign = (entry ^ arena->tag) > 0xff && has_bounds(arena);
    return foreign && region_by_bounds_locked(arena, block) != NULL ? 0 : entry;
}

static void count_earned_by(granules_t *granules, unsigned class)
{
    uint8_t before = atomic_load_explicit(alloc_earned(granules, class), memory_order_relaxed);
    uint8_t after = (uint8_t)min_size(before + 1u, EARN_FREES);
    atomic_store_explicit(alloc_earned(granules, class), after, memory_order_relaxed);
}

/* Of a chunk that no magazine took. The class is that which would have served it: nobody knows what was asked for, and if
 * a class's size is among what may have been, it may be this or the next one. */
static void count_earned_locked(arena_t *arena, size_t usable)
{
    size_t least = align_down(usable, CHUNK_LINE);
    if (usable > SLAB_MAX && least <= CLASS_MAX) {
        unsigned first = sizeclass_of(max_size(least, SLAB_MAX + 1));
        unsigned last = sizeclass_of(min_size(usable, CLASS_MAX));
        count_earned_by(arena->granules, first);
        if (last != first) {
            count_earned_by(arena->granules, last);
        }
    }
}

/* `entry` is that of a chunk run, or 0; `earns`: no magazine took the block. */
static misuse_t put_chunk_locked(arena_t *arena, void *block, uint32_t entry, bool earns)
{
    if (UNLIKELY(arena->tiny != NULL) && tiny_holds(arena, block)) {
        return tiny_put_locked(arena, block);
    }
    misuse_t wrong = validate_chunk_locked(arena, block, entry);
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        return wrong;
    }
    uint64_t header = chunk_header(chunk_of(block));
    wrong = carve_put_locked(arena, chunk_of(block));
    if (LIKELY(wrong == MISUSE_NONE)) {
        unsigned class = chunk_class_of(block, header);
        alloc_count_chunk_locked(arena, class, -1);
        if (earns && !arena->in_buffer) {
            if (class <= SMALL_CLASSES) {
                alloc_note_freed(arena);
            }
            count_earned_locked(arena, carve_usable_of(header, class));
        }
    }
    return wrong;
}

static misuse_t put_locked(arena_t *arena, void *block, bool earns)
{
    uint32_t entry = entry_locked(arena, block);
    uint32_t kind = entry ^ arena->tag;
    misuse_t wrong = MISUSE_NONE;
    names_forget_locked(arena, block);
    if (kind <= SLAB_CLASSES) {
        slab_put_locked(arena, &block, 1, &wrong);
        return wrong;
    }
    return kind == KIND_CHUNKS || entry == 0 ? put_chunk_locked(arena, block, entry, earns)
                                             : why_not(arena, entry);
}

/*
 * What is to stay because purging it would be in vain: an arena that takes much again that it gave back pays a fault for
 * each page. A little of that is the price of being lean; beyond, more and more stays, as long as all that is resident is at
 * most half again as much as was in use lately.
 */
static size_t in_demand(const arena_t *arena)
{
    const granules_t *granules = arena->granules;
    if (granules == NULL || granules->retaken_bytes <= RETAKEN_BYTES || arena->purge_delay_ms == UINT32_MAX) {
        return 0;
    }
    size_t most = max_size(granules->most_in_use, run_in_use_locked(arena));
    size_t room = most / 2 * 3 - run_in_use_locked(arena);
    return min_size(8 * (granules->retaken_bytes - RETAKEN_BYTES), room);
}

/* What may lie idle without end. */
static size_t dirty_allowed(const arena_t *arena)
{
    size_t share = max_size(DIRTY_MIN_BYTES, arena->totals.peak_mapped_bytes / 16);
    share = max_size(share, in_demand(arena) / 8 * 9);
    return max_size(share, arena->large_threshold > LARGE_MIN_BYTES ? 2 * arena->large_threshold : 0);
}

/*
 * The dirty bytes that free runs should be cut down to; SIZE_MAX: they may stay. Beyond a bound that adapts, half of
 * them go, or those that are not in demand.
 */
static size_t dirty_target(const arena_t *arena)
{
    size_t dirty = arena->totals.dirty_bytes;
    size_t threshold = arena->trim_threshold_bytes;
    if (arena->purge_failed || (threshold == 0 && dirty <= DIRTY_MIN_BYTES)) {
        return SIZE_MAX;
    }
    if (threshold != 0) {
        return dirty > threshold ? dirty / 2 : SIZE_MAX;
    }
    size_t allowed = dirty_allowed(arena);
    return dirty > allowed ? max_size(min_size(dirty / 2, allowed), in_demand(arena)) : SIZE_MAX;
}

/* How much more may lie idle before a purge. */
static size_t dirty_room(arena_t *arena)
{
    lock_acquire(&arena->lock);
    bool may = !arena->in_buffer && arena->trim_threshold_bytes == 0 && !arena->purge_failed;
    size_t allowed = may ? dirty_allowed(arena) : 0;
    size_t room = allowed - min_size(allowed, arena->totals.dirty_bytes);
    lock_release(&arena->lock);
    return room;
}

/* Whether much new memory was taken since the last look at what lies idle. */
static bool took_much(const arena_t *arena)
{
    return !arena->in_buffer && (arena->granules->clean_taken_bytes >= CLEAN_TAKEN_BYTES ||
                                 arena->granules->large_taken_bytes >= GRANULE);
}

/*
 * When clean granules were taken because no dirty run was long enough, or memory for large blocks, as many dirty
 * ones go, so that what is resident does not grow by what lies idle. For large blocks free chunks give theirs, too.
 */
static size_t target_for_taken(arena_t *arena)
{
    granules_t *granules = arena->granules;
    if (granules->large_taken_bytes >= GRANULE) {
        carve_release_locked(arena);
    }
    size_t taken = granules->clean_taken_bytes + granules->large_taken_bytes;
    size_t dirty = arena->totals.dirty_bytes;
    granules->clean_taken_bytes = granules->large_taken_bytes = 0;
    if (dirty == 0 || arena->purge_failed || arena->trim_threshold_bytes != 0) {
        return dirty_target(arena);
    }
    size_t target = max_size(dirty - min_size(taken, dirty), in_demand(arena));
    return target >= dirty ? dirty_target(arena) : min_size(target, dirty_allowed(arena));
}

size_t alloc_lower_break(arena_t *arena, size_t keep_bytes)
{
    size_t bytes = 0;
    if (!arena->paged) {
        return 0;
    }
    lock_acquire(&arena->grow);
    lock_acquire(&arena->lock);
    region_t *region = region_highest_locked(arena);
    char *end = region == NULL ? NULL : region->start + region->bytes;
    size_t mapped = arena->totals.mapped_bytes;
    if (region != NULL && mapped > keep_bytes) {
        bytes = carve_shorten_locked(arena, region->start, region->bytes, mapped - keep_bytes);
    }
    lock_release(&arena->lock);
    if (bytes != 0) {
        bool gone = region_cut(arena, region, end - bytes, bytes);
        lock_acquire(&arena->lock);
        if (gone) {
            arena->purge_failed = false;
        } else {
            alloc_adopt_raw_locked(arena);
            bytes = 0;
        }
        lock_release(&arena->lock);
    }
    lock_release(&arena->grow);
    return bytes;
}

/* What is to stay mapped if more than is allowed is free below the break; SIZE_MAX: it is not. */
static size_t break_target(const arena_t *arena)
{
    const region_t *region = arena->purge_failed ? NULL : region_highest_locked(arena);
    size_t free = region == NULL ? 0 : carve_free_end_locked(arena, region->start, region->bytes);
    size_t allowed = arena->trim_threshold_bytes != 0 ? arena->trim_threshold_bytes : dirty_allowed(arena);
    size_t stays = max_size(arena->totals.mapped_bytes - free / 2, arena->first_region_bytes);
    bool much = free > max_size(allowed, arena->growth_bytes) && stays < arena->totals.mapped_bytes;
    return much ? stays : SIZE_MAX;
}

/* What ticks could give back: of free chunks nothing where these are not in the map. */
static size_t idle_bytes(const arena_t *arena)
{
    size_t wide = has_bounds(arena) ? 0 : arena->totals.wide_chunk_bytes;
    return arena->totals.dirty_bytes + parked_bytes(arena) + wide;
}

/* Whether much is idle that no tick looked after: there are none without caches, nor for blocks above CLASS_MAX. */
static bool is_late(arena_t *arena)
{
    if (arena->granules != NULL && arena->granules->to_purge_bytes != 0) {
        return true;
    }
    if (idle_bytes(arena) <= DIRTY_MIN_BYTES || arena->purge_delay_ms == UINT32_MAX) {
        return false;
    }
    uint64_t now = os_now_ms();
    arena->dirty_since_ms = arena->dirty_since_ms == 0 ? now : arena->dirty_since_ms;
    return now - arena->dirty_since_ms >= arena->purge_delay_ms;
}

/* Whether little lies idle and no purge is under way, as after nearly all calls: then all of the below says no. */
static bool is_settled(const arena_t *arena)
{
    const granules_t *granules = arena->granules;
    if (UNLIKELY(granules == NULL)) {
        return false;
    }
    const totals_t *totals = &arena->totals;
    return totals->dirty_bytes + granules->park.bytes + totals->wide_chunk_bytes <= DIRTY_MIN_BYTES &&
           arena->trim_threshold_bytes == 0 && !arena->paged && granules->to_purge_bytes == 0 &&
           !took_much(arena);
}

static NOINLINE void unlock_and_settle(arena_t *arena)
{
    bool late = is_late(arena);
    size_t target = UNLIKELY(took_much(arena)) ? target_for_taken(arena) : dirty_target(arena);
    size_t keep_bytes = UNLIKELY(arena->paged) ? break_target(arena) : SIZE_MAX;
    lock_release(&arena->lock);
    if (UNLIKELY(keep_bytes != SIZE_MAX)) {
        alloc_lower_break(arena, keep_bytes);
    }
    if (UNLIKELY(target != SIZE_MAX)) {
        region_purge(arena, target);
    }
    if (UNLIKELY(late)) {
        alloc_tick(arena);
    }
}

void alloc_unlock(arena_t *arena)
{
    if (LIKELY(is_settled(arena))) {
        lock_release(&arena->lock);
    } else {
        unlock_and_settle(arena);
    }
}

/* By going over the heap: this is the end anyway. */
void alloc_report(arena_t *arena, const void *block, misuse_t wrong)
{
    if (wrong == MISUSE_INTERIOR || wrong == MISUSE_BROKEN_HEADER) {
        lock_acquire(&arena->lock);
        wrong = survey_diagnose_locked(arena, block, wrong);
        lock_release(&arena->lock);
    }
    if (wrong == MISUSE_FOREIGN) {
        const arena_t *owner = arena_of(block);
        wrong = owner != NULL && owner != arena ? MISUSE_WRONG_ARENA : wrong;
    }
    misuse(wrong, arena, block);
}

void alloc_free(arena_t *arena, void *block)
{
    misuse_t wrong;
    if (pagemap_entry(block) == (arena->tag | KIND_LARGE)) {
        wrong = large_free(arena, block, dirty_room(arena));
    } else {
        lock_acquire(&arena->lock);
        wrong = put_locked(arena, block, true);
        alloc_unlock(arena);
    }
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        alloc_report(arena, block, wrong);
    }
}

misuse_t alloc_drain(arena_t *arena, void **blocks, size_t count, bool *settle, void **culprit)
{
    misuse_t wrong = MISUSE_NONE;
    lock_acquire(&arena->lock);
    size_t dirty = arena->totals.dirty_bytes;
    for (size_t i = 0, done; i < count; i += done) {
        uint32_t kind = pagemap_entry_marked(blocks[i]) ^ arena->tag; /* most are in slabs, and many in one */
        misuse_t one = MISUSE_NONE;
        if (kind <= SLAB_CLASSES) {
            done = slab_put_locked(arena, &blocks[i], count - i, &one);
        } else {
            one = put_locked(arena, blocks[i], false);
            done = 1;
        }
        if (UNLIKELY(one != MISUSE_NONE && wrong == MISUSE_NONE)) {
            wrong = one;
            *culprit = blocks[i];
        }
    }
    *settle |= arena->totals.dirty_bytes > dirty;
    lock_release(&arena->lock);
    return wrong;
}

void alloc_settle(arena_t *arena)
{
    lock_acquire(&arena->lock);
    alloc_unlock(arena);
}

void alloc_settle_large(arena_t *arena)
{
    if (arena->in_buffer) {
        return;
    }
    lock_acquire(&arena->lock);
    size_t taken = arena->granules->large_taken_bytes;
    size_t target = taken >= GRANULE ? target_for_taken(arena) : SIZE_MAX;
    size_t dirty = arena->totals.dirty_bytes;
    size_t goes = dirty - min_size(target, dirty);
    arena->granules->large_taken_bytes = taken - min_size(taken, goes);
    lock_release(&arena->lock);
    if (target != SIZE_MAX) {
        region_purge(arena, target);
    }
}

size_t alloc_usable_locked(const arena_t *arena, const void *block, misuse_t *wrong)
{
    uint32_t entry = entry_locked(arena, block);
    uint32_t kind = entry ^ arena->tag;
    if (kind <= SLAB_CLASSES) {
        *wrong = slab_validate_locked(block);
        return sizeclass_bytes[kind];
    }
    if (kind != KIND_CHUNKS && entry != 0) {
        *wrong = why_not(arena, entry);
        return 0;
    }
    if (arena->tiny != NULL && tiny_holds(arena, block)) {
        return tiny_usable_locked(arena, block, wrong);
    }
    *wrong = validate_chunk_locked(arena, block, entry);
    return *wrong == MISUSE_NONE ? carve_usable(block, chunk_header(chunk_of(block))) : 0;
}

size_t alloc_usable(arena_t *arena, const void *block)
{
    misuse_t wrong = MISUSE_NONE;
    uint32_t kind = pagemap_entry(block) ^ arena->tag;
    size_t usable;
    if (kind == KIND_CHUNKS &&
        cachehook_allowed(arena)) { /* the header of a block in use may be read without the lock */
        wrong = alloc_header_is_readable(block) ? carve_validate(block) : MISUSE_INTERIOR;
        usable = wrong == MISUSE_NONE ? carve_usable(block, chunk_header(chunk_of(block))) : 0;
    } else if (kind <= SLAB_CLASSES && cachehook_allowed(arena)) {
        usable = sizeclass_bytes[kind];
        wrong = slab_is_start(kind, block) ? MISUSE_NONE : MISUSE_INTERIOR;
    } else if (kind == KIND_LARGE) {
        usable = large_usable(arena, block);
        wrong = usable == 0 ? MISUSE_INTERIOR : MISUSE_NONE;
    } else {
        lock_acquire(&arena->lock);
        usable = alloc_usable_locked(arena, block, &wrong);
        lock_release(&arena->lock);
    }
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        alloc_report(arena, block, wrong);
    }
    return usable;
}

/*
 * What a tick lets stay of the dirty bytes of free runs: an eighth of those that nobody wanted since the last, so that
 * they are gone in a second or so; but no more than is in use beside them, or in demand, because who freed nearly all will
 * hardly want it back at once.
 */
static size_t tick_target(arena_t *arena)
{
    size_t in_use = run_in_use_locked(arena);
    size_t dirty = arena->totals.dirty_bytes, idle = arena->granules->idle_bytes;
    size_t eighth = idle / 8 < TICK_RETAIN_BYTES ? 0 : idle / 8;
    arena->granules->idle_bytes = dirty;
    size_t most = max_size(max_size(in_use, TICK_RETAIN_BYTES), in_demand(arena));
    return min_size(dirty - idle + eighth, most);
}

static void look_at_idle_locked(arena_t *arena)
{
    granules_t *granules = arena->granules;
    granules->retaken_bytes /= 2;
    size_t in_use = run_in_use_locked(arena);
    granules->most_in_use = in_use + (max_size(granules->most_in_use, in_use) - in_use) / 2;
    size_t target = tick_target(arena), dirty = arena->totals.dirty_bytes;
    granules->to_purge_bytes = dirty - min_size(target, dirty);
}

/* One tick gives back a part of it: to drop 1 GiB takes 0.2 s, and who allocates waits for that. SIZE_MAX: nothing. */
static size_t step_target_locked(arena_t *arena)
{
    size_t *left = &arena->granules->to_purge_bytes;
    size_t dirty = arena->totals.dirty_bytes;
    *left = arena->purge_failed ? 0 : min_size(*left, dirty);
    size_t step = min_size(max_size(*left / 8, TICK_PURGE_BYTES), *left);
    *left -= step;
    return step == 0 ? SIZE_MAX : dirty - step;
}

void alloc_tick(arena_t *arena)
{
    uint64_t now = os_now_ms();
    stock_decay(now);
    if (arena->purge_delay_ms == UINT32_MAX) {
        return;
    }
    lock_acquire(&arena->lock);
    bool due = now - arena->dirty_since_ms >= arena->purge_delay_ms;
    arena->dirty_since_ms = due ? now : arena->dirty_since_ms;
    if (due && arena->totals.wide_chunk_bytes != 0) {
        carve_release_locked(arena);
    }
    bool parked = due && parked_bytes(arena) != 0;
    bool sweeps = sweep_is_due_locked(arena, due) && in_demand(arena) == 0;
    size_t target = SIZE_MAX;
    if (!arena->in_buffer) {
        if (due) {
            look_at_idle_locked(arena);
        }
        target = step_target_locked(arena);
    }
    lock_release(&arena->lock);
    if (parked) {
        park_drop_old(arena, now < arena->purge_delay_ms ? 0 : now - arena->purge_delay_ms);
    }
    if (target != SIZE_MAX) {
        region_purge(arena, target);
    }
    if (sweeps) {
        sweep_idle(arena);
    }
}
