/*
 * stats.c: arena_stats. Totals are kept as blocks move; caches are stopped to tell live from cached.
 */
#include "stats.h"

#include "alloc.h"
#include "cachehook.h"
#include "large.h"
#include "meta.h"
#include "name.h"
#include "os.h"
#include "registry.h"
#include "stock.h"

#include <string.h>

static size_t resident_locked(const arena_t *arena)
{
    size_t resident = 0;
    for (const region_t *region = arena->regions; region != NULL; region = region->next) {
        resident += arena->in_buffer ? region->bytes : os_resident(region->start, region->bytes);
    }
    return resident;
}

/* What a skipped cache carved is not in a sum, and may have been taken out of it all the same. */
static size_t not_negative(size_t sum)
{
    return sum <= PTRDIFF_MAX ? sum : 0;
}

/* Adds the arena's figures. Caller holds the registry lock. */
static void add_arena(arena_t *arena, arena_stats_t *stats, bool resident)
{
    cache_totals_t cached;
    cachehook_stop(arena);
    lock_acquire(&arena->lock);
    cachehook_count(arena, &cached);
    const totals_t *totals = &arena->totals;
    size_t usable = not_negative(totals->chunk_usable + totals->slab_usable + totals->large_bytes);
    size_t blocks = not_negative(totals->chunk_blocks + totals->slab_blocks + totals->large_blocks);
    cached.bytes = min_size(cached.bytes, usable);
    cached.blocks = min_size(cached.blocks, blocks);
    size_t free =
        totals->free_run_bytes + totals->free_chunk_bytes + totals->slab_free_usable + parked_bytes(arena);
    stats->mapped_bytes += totals->mapped_bytes;
    stats->peak_mapped_bytes += totals->peak_mapped_bytes;
    stats->live_bytes += usable - cached.bytes;
    stats->cached_bytes += cached.bytes;
    stats->free_bytes += free;
    stats->metadata_bytes += totals->mapped_bytes - usable - free;
    size_t live = blocks - cached.blocks;
    uint64_t allocations = totals->allocations + cached.allocations; /* a skipped cache's are not known */
    stats->live_blocks += live;
    stats->cached_blocks += cached.blocks;
    stats->allocations += allocations;
    stats->frees += live < allocations ? allocations - live : 0;
    stats->purged_bytes += totals->purged_bytes;
    stats->kernel_calls += totals->kernel_calls;
    stats->lock_waits += arena->lock.waits;
    stats->slabs += totals->slabs;
    stats->large_blocks += totals->large_blocks;
    stats->caches += cached.caches;
    stats->skipped_caches += cached.skipped;
    stats->arenas++;
    for (const region_t *region = arena->regions; region != NULL; region = region->next) {
        stats->regions++;
    }
    stats->resident_bytes += resident ? resident_locked(arena) : 0;
    if (resident && parked_bytes(arena) != 0) {
        stats->resident_bytes += os_resident(arena->granules->park.start, parked_bytes(arena));
    }
    for (const large_t *large = resident ? arena->larges : NULL; large != NULL; large = large->next) {
        stats->resident_bytes += os_resident(large->start, large->bytes);
    }
    lock_release(&arena->lock);
    cachehook_resume(arena);
}

void stats_read(arena_t *arena, arena_stats_t *stats, bool resident)
{
    *stats = (arena_stats_t){0};
    lock_acquire(&registry_lock);
    if (arena != NULL) {
        add_arena(arena, stats, resident);
    }
    for (arena_t *each = arena == NULL ? registry_first_locked() : NULL; each != NULL;
         each = each->next_live) {
        if (!each->lock.off) { /* ARENA_SINGLE_THREAD: not to be read beside its thread */
            add_arena(each, stats, resident);
        }
    }
    lock_release(&registry_lock);
    if (arena == NULL) {
        stats->process_metadata_bytes = meta_mapped_bytes() + pagemap_mapped_bytes() + names_mapped_bytes();
        stats->stock_bytes = stock_bytes();
    }
}

void arena_stats(arena_t *arena, arena_stats_t *out, size_t struct_bytes)
{
    arena_stats_t stats;
    if (arena != NULL) {
        alloc_check_alive(arena, NULL);
    }
    stats_read(arena, &stats, true);
    size_t known = struct_bytes < sizeof stats ? struct_bytes : sizeof stats;
    memcpy(out, &stats, known);
    memset((char *)out + known, 0, struct_bytes - known);
}
