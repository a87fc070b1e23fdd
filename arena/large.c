/* large.c: see large.h. */
#include "large.h"

#include "meta.h"
#include "os.h"
#include "region.h"

#include <string.h>

size_t large_good_size(const arena_t *arena, size_t request)
{
    bool keeps = arena->source == ARENA_SOURCE_HOOKS; /* what the hooks do not take back becomes a region */
    return align_up(max_size(request, 1), keeps ? GRANULE : os_page_bytes());
}

static void *map_large(arena_t *arena, size_t bytes, size_t alignment, bool *zero)
{
    if (arena->source == ARENA_SOURCE_HOOKS) {
        *zero = false;
        return arena->hooks.map(arena->hooks.context, bytes, alignment, zero);
    }
    *zero = true;
    return os_map(bytes, alignment, (os_map_options_t){.huge_pages = (arena->flags & ARENA_HUGE_PAGES) != 0});
}

static bool unmap_large(arena_t *arena, void *start, size_t bytes)
{
    return arena->source == ARENA_SOURCE_HOOKS ? arena->hooks.unmap(arena->hooks.context, start, bytes)
                                               : os_unmap(start, bytes);
}

static void publish(arena_t *arena, large_t *large)
{
    pagemap_tag(granule_of(large->start))->descriptor = large;
    pagemap_set(granule_of(large->start), 1, arena->tag | KIND_LARGE);
    large->previous = NULL;
    large->next = arena->larges;
    if (large->next != NULL) {
        large->next->previous = large;
    }
    arena->larges = large;
}

static void withdraw(arena_t *arena, large_t *large)
{
    pagemap_set(granule_of(large->start), 1, 0);
    if (large->next != NULL) {
        large->next->previous = large->previous;
    }
    if (large->previous != NULL) {
        large->previous->next = large->next;
    } else {
        arena->larges = large->next;
    }
}

static void *alloc_reserved(arena_t *arena, size_t bytes, size_t alignment, bool *zero)
{
    large_t *large = meta_calloc(sizeof *large);
    char *start = large == NULL ? NULL : map_large(arena, bytes, alignment, zero);
    if (start == NULL || !is_aligned(start, alignment) || !pagemap_ensure(start, 1)) {
        if (start != NULL) {
            unmap_large(arena, start, bytes);
        }
        meta_free(large);
        return NULL;
    }
    *large = (large_t){.start = start, .bytes = bytes};
    lock_acquire(&arena->lock);
    publish(arena, large);
    arena->totals.large_bytes += bytes;
    arena->totals.large_blocks++;
    arena->totals.allocations++;
    arena->totals.kernel_calls++;
    lock_release(&arena->lock);
    return start;
}

void *large_alloc(arena_t *arena, size_t request, size_t alignment, bool *zero)
{
    size_t bytes = large_good_size(arena, request);
    if (request > PTRDIFF_MAX - GRANULE || arena->source == ARENA_SOURCE_BUFFER || !region_reserve(arena, bytes)) {
        return NULL;
    }
    lock_acquire(&arena->grow);
    void *block = alloc_reserved(arena, bytes, max_size(alignment, GRANULE), zero);
    lock_release(&arena->grow);
    if (block == NULL) {
        region_unreserve(arena, bytes);
    }
    return block;
}

/* The descriptor of a block, or NULL. */
static large_t *find_locked(const arena_t *arena, const void *block)
{
    if (pagemap_entry(block) != (arena->tag | KIND_LARGE)) {
        return NULL;
    }
    large_t *large = pagemap_tag(granule_of(block))->descriptor;
    return large->start == block ? large : NULL;
}

size_t large_usable(arena_t *arena, const void *block)
{
    lock_acquire(&arena->lock);
    const large_t *large = find_locked(arena, block);
    size_t usable = large == NULL ? 0 : large->bytes;
    lock_release(&arena->lock);
    return usable;
}

misuse_t large_free(arena_t *arena, void *block)
{
    lock_acquire(&arena->lock);
    large_t *large = find_locked(arena, block);
    if (large == NULL) {
        lock_release(&arena->lock);
        return MISUSE_INTERIOR;
    }
    withdraw(arena, large);
    totals_t *totals = &arena->totals;
    totals->large_bytes -= large->bytes;
    totals->large_blocks--;
    totals->kernel_calls++;
    if (large->bytes <= LARGE_MAX_BYTES) {
        arena->large_threshold = max_size(arena->large_threshold, large->bytes + 1);
    }
    lock_release(&arena->lock);
    lock_acquire(&arena->grow);
    bool gone = unmap_large(arena, large->start, large->bytes);
    if (!gone) {
        region_keep(arena, large->start, large->bytes);
    }
    lock_release(&arena->grow);
    lock_acquire(&arena->lock);
    totals->mapped_bytes -= gone ? large->bytes : 0;
    totals->purged_bytes += gone ? large->bytes : 0;
    lock_release(&arena->lock);
    meta_free(large);
    return MISUSE_NONE;
}

/* Makes [block, block + old) `bytes` long, in place or elsewhere; where it then is, or NULL. Caller holds grow. */
static void *remap(large_t *large, size_t bytes)
{
    if (os_resize(large->start, large->bytes, bytes)) {
        return large->start;
    }
    void *target = os_map(bytes, GRANULE, (os_map_options_t){0});
    if (target == NULL) {
        return NULL;
    }
    if (!pagemap_ensure(target, 1) || !os_move(large->start, large->bytes, target, bytes)) {
        os_unmap(target, bytes);
        return NULL;
    }
    return target;
}

/* Out of the map while the kernel may move it, because its old address may at once be another's. */
static void *remap_reserved(arena_t *arena, void *block, size_t bytes)
{
    lock_acquire(&arena->lock);
    large_t *large = find_locked(arena, block);
    withdraw(arena, large);
    lock_release(&arena->lock);
    void *moved = remap(large, bytes);
    lock_acquire(&arena->lock);
    arena->totals.kernel_calls++;
    if (moved != NULL) {
        arena->totals.large_bytes += bytes - large->bytes;
        large->start = moved;
        large->bytes = bytes;
    }
    publish(arena, large);
    lock_release(&arena->lock);
    return moved;
}

void *large_realloc(arena_t *arena, void *block, size_t request)
{
    size_t old = large_usable(arena, block);
    size_t bytes = large_good_size(arena, request);
    if (old == 0 || request > PTRDIFF_MAX - GRANULE || arena->source == ARENA_SOURCE_HOOKS) {
        return NULL;
    }
    if (bytes == old) {
        return block;
    }
    if (bytes > old && !region_reserve(arena, bytes - old)) {
        return NULL;
    }
    lock_acquire(&arena->grow);
    void *moved = remap_reserved(arena, block, bytes);
    lock_release(&arena->grow);
    if ((moved == NULL) == (bytes > old)) {
        region_unreserve(arena, bytes > old ? bytes - old : old - bytes);
    }
    return moved;
}

void large_release_all(arena_t *arena)
{
    while (arena->larges != NULL) {
        large_t *large = arena->larges;
        withdraw(arena, large);
        if (unmap_large(arena, large->start, large->bytes)) {
            arena->totals.purged_bytes += large->bytes;
        }
        arena->totals.kernel_calls++;
        arena->totals.mapped_bytes -= large->bytes;
        meta_free(large);
    }
    arena->totals.large_bytes = arena->totals.large_blocks = 0;
}
