/* large.c: see large.h. */
#include "large.h"

#include "list.h"
#include "meta.h"
#include "name.h"
#include "os.h"
#include "park.h"
#include "region.h"
#include "source.h"
#include "stock.h"
#include "watch.h"

size_t large_good_size(const arena_t *arena, size_t request)
{
    bool keeps = arena->source == ARENA_SOURCE_HOOKS; /* what the hooks do not take back becomes a region */
    return align_up(max_size(request, 1), keeps ? GRANULE : os_page_bytes());
}

size_t large_room(size_t bytes, size_t alignment)
{
    if (alignment <= GRANULE) {
        return bytes; /* costs a chunk no more than a smaller one */
    }
    return alignment >= LARGE_MIN_BYTES && bytes < alignment / 8 ? SIZE_MAX : bytes + alignment;
}

static void *map_large(arena_t *arena, size_t bytes, size_t alignment, bool *zero)
{
    if (arena->source == ARENA_SOURCE_HOOKS) {
        return source_map_by_hook(arena, bytes, alignment, zero);
    }
    *zero = true;
    if (takes_warm(arena)) {
        stock_note_mapped(bytes);
    }
    return os_map(bytes, alignment, (os_map_options_t){.huge_pages = (arena->flags & ARENA_HUGE_PAGES) != 0});
}

static arena_source_t source_of(const arena_t *arena)
{
    return arena->source == ARENA_SOURCE_HOOKS ? ARENA_SOURCE_HOOKS : ARENA_SOURCE_MMAP;
}

static bool unmap_large(arena_t *arena, char *start, size_t bytes)
{
    return source_return(arena, source_of(arena), start, bytes);
}

/* Makes the map ready for a block that begins there. False: no memory. */
static bool prepare_map(const char *start)
{
    if (!pagemap_ensure(start, 1)) {
        return false;
    }
    pagemap_claim(granule_of(start), 1);
    return true;
}

static void enter_in_map(arena_t *arena, large_t *large)
{
    pagemap_tag(granule_of(large->start))->descriptor = large;
    pagemap_set(granule_of(large->start), 1, arena->tag | KIND_LARGE);
}

/* From here on it is a block that was allocated. */
static void publish(arena_t *arena, large_t *large)
{
    arena->totals.large_bytes += large->bytes;
    arena->totals.large_blocks++;
    arena->totals.allocations++;
    enter_in_map(arena, large);
    LIST_PUSH(arena->larges, large, next, previous);
}

static void withdraw(arena_t *arena, large_t *large)
{
    pagemap_set(granule_of(large->start), 1, 0);
    LIST_UNLINK(arena->larges, large, next, previous);
}

/* New memory: what lies idle beside it makes room (alloc_unlock). */
static void note_taken(arena_t *arena, size_t bytes)
{
    arena->granules->large_taken_bytes += bytes;
}

/* In the place of one that went, or of what is left of that. */
static void *reuse_parked(arena_t *arena, size_t bytes, size_t alignment, bool *zero)
{
    const park_t *park = &arena->granules->park;
    bool fits = park->bytes >= bytes && is_aligned(park->start, alignment) && prepare_map(park->start);
    large_t *large = fits ? meta_calloc(sizeof *large) : NULL;
    if (large == NULL) {
        return NULL;
    }
    lock_acquire(&arena->lock);
    *large = (large_t){.bytes = bytes, .alignment = alignment, .mapping = park->mapping};
    large->start = park_take_locked(arena, bytes);
    publish(arena, large);
    lock_release(&arena->lock);
    *zero = false;
    return large->start;
}

/* Makes [start, start + bytes) longer or shorter, in place or elsewhere; where it then is, or NULL. Caller holds grow. */
static char *remap(char *start, size_t bytes, size_t new_bytes)
{
    if (os_resize(start, bytes, new_bytes)) {
        return start;
    }
    char *target = os_map(new_bytes, GRANULE, (os_map_options_t){0});
    if (target == NULL) {
        return NULL;
    }
    if (!prepare_map(target)) {
        os_unmap(target, new_bytes);
        return NULL;
    }
    /* If the kernel refuses, it may have unmapped the target already, and another thread mapped there: whatever
     * is left of it stays. It was never touched. */
    return os_move(start, bytes, target, new_bytes) ? target : NULL;
}

/*
 * In the place of one that went and was shorter, but not by half: the kernel makes it longer, and its pages stay. A buffer
 * that is made anew a little larger each time would else fault for all of it each time.
 */
static void *reuse_lengthened(arena_t *arena, size_t bytes, size_t alignment, bool *zero)
{
    const park_t *park = &arena->granules->park;
    size_t parked = park->bytes;
    if (parked < bytes / 2 || parked >= bytes || alignment > GRANULE || !is_aligned(park->start, GRANULE) ||
        !prepare_map(park->start) || !region_reserve(arena, bytes - parked)) {
        return NULL;
    }
    large_t *large = meta_calloc(sizeof *large);
    char *start = large == NULL ? NULL : remap(park->start, parked, bytes);
    if (start == NULL) {
        region_unreserve(arena, bytes - parked);
        meta_free(large);
        return NULL;
    }
    lock_acquire(&arena->lock);
    park_take_locked(arena, parked);
    *large = (large_t){.start = start,
                       .bytes = bytes,
                       .alignment = alignment,
                       .mapping = ++arena->granules->park.last_mapping};
    publish(arena, large);
    note_taken(arena, bytes - parked);
    region_count_locked(arena, bytes - parked);
    arena->totals.kernel_calls++;
    lock_release(&arena->lock);
    *zero = false;
    return start;
}

static void *alloc_reserved(arena_t *arena, size_t bytes, size_t alignment, bool *zero)
{
    large_t *large = meta_calloc(sizeof *large);
    char *start = large == NULL ? NULL : map_large(arena, bytes, alignment, zero);
    bool taken = start != NULL &&
                 pagemap_entry(start) != 0; /* part of another arena's block: the map cannot hold both */
    if (start == NULL || taken || !is_aligned(start, alignment) || !prepare_map(start)) {
        if (start != NULL) {
            unmap_large(arena, start, bytes);
        }
        meta_free(large);
        return NULL;
    }
    *large = (large_t){.start = start,
                       .bytes = bytes,
                       .alignment = alignment,
                       .mapping = ++arena->granules->park.last_mapping};
    lock_acquire(&arena->lock);
    publish(arena, large);
    note_taken(arena, bytes);
    region_count_locked(arena, bytes);
    arena->totals.kernel_calls++;
    lock_release(&arena->lock);
    return start;
}

void *large_alloc(arena_t *arena, size_t request, size_t alignment, bool *zero)
{
    size_t bytes = large_good_size(arena, request);
    if (request > PTRDIFF_MAX - GRANULE || arena->in_buffer) {
        return NULL;
    }
    alignment = max_size(alignment, GRANULE);
    lock_acquire(&arena->grow); /* while mapped_bytes and what explains them differ */
    void *block = reuse_parked(arena, bytes, alignment, zero);
    block = block != NULL ? block : reuse_lengthened(arena, bytes, alignment, zero);
    if (block == NULL) {
        park_drop(arena);
        park_note_mapped(arena);
    }
    if (block == NULL && region_reserve(arena, bytes)) {
        block = alloc_reserved(arena, bytes, alignment, zero);
        if (block == NULL) {
            region_unreserve(arena, bytes);
        }
    }
    lock_release(&arena->grow);
    return block;
}

large_t *large_find_locked(const arena_t *arena, const void *block)
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
    const large_t *large = large_find_locked(arena, block);
    size_t usable = large == NULL ? 0 : large->bytes;
    lock_release(&arena->lock);
    return usable;
}

/* Out of the arena's books; NULL: it is no large block. Caller holds grow. */
static large_t *take_out(arena_t *arena, const void *block)
{
    lock_acquire(&arena->lock);
    large_t *large = large_find_locked(arena, block);
    if (large != NULL) {
        names_forget_locked(arena, block);
        withdraw(arena, large);
        arena->totals.large_bytes -= large->bytes;
        arena->totals.large_blocks--;
        size_t room = large_room(large->bytes, large->alignment);
        if (room <= LARGE_MAX_BYTES) {
            arena->large_threshold = max_size(arena->large_threshold, room + 1);
        }
    }
    lock_release(&arena->lock);
    return large;
}

/* What the source does not take back goes on as a region. */
static void keep(arena_t *arena, const large_t *large)
{
    region_keep(arena, source_of(arena), large->start, large->bytes);
}

/*
 * Whether a block that goes is not to become chunks: it was the only one, but for one that it was copied to, so that the
 * next one may be that block made longer. Under a limit nothing waits that chunks could use.
 */
static bool waits(const arena_t *arena)
{
    return arena->totals.large_blocks < 2 && arena->limit_bytes == 0 && arena->purge_delay_ms != UINT32_MAX;
}

/* Whole granules of it, parked or not, become a region, free and dirty; the rest goes. False: it is as it was. */
static bool pass_to_chunks(arena_t *arena, char *start, size_t bytes)
{
    size_t whole = align_down(bytes, GRANULE), tail = bytes - whole;
    if (whole == 0 || bytes >= arena->large_threshold || arena->source == ARENA_SOURCE_HOOKS ||
        !park_is_wanted(arena) || !is_aligned(start, GRANULE) ||
        (tail != 0 && !os_unmap(start + whole, tail))) {
        return false;
    }
    lock_acquire(&arena->lock);
    if (arena->granules->park.start == start) {
        park_take_locked(arena, bytes); /* or statistics would count it twice */
    }
    arena->totals.mapped_bytes -= tail;
    arena->totals.kernel_calls += tail != 0;
    arena->granules->large_taken_bytes -= min_size(arena->granules->large_taken_bytes, bytes);
    lock_release(&arena->lock);
    region_keep(arena, ARENA_SOURCE_MMAP, start, whole);
    return true;
}

bool large_unpark(arena_t *arena, size_t need)
{
    const park_t *park = &arena->granules->park;
    char *start = park->start;
    size_t bytes = park->bytes;
    if (bytes == 0) {
        return false;
    }
    lock_acquire(&arena->lock);
    size_t mapped = arena->totals.mapped_bytes;
    lock_release(&arena->lock);
    if (mapped - min_size(park->mapped_bytes, mapped) < bytes / UNPARK_SHARE) {
        return false;
    }
    bool passes = need <= align_down(bytes, GRANULE) && pass_to_chunks(arena, start, bytes);
    if (!passes) {
        park_drop(arena);
    }
    return passes;
}

misuse_t large_free(arena_t *arena, void *block, size_t room)
{
    lock_acquire(&arena->grow);
    large_t *large = take_out(arena, block);
    if (large == NULL) {
        lock_release(&arena->grow);
        return MISUSE_INTERIOR;
    }
    park_note_freed(arena);
    bool passes = !waits(arena) && large->bytes <= room && pass_to_chunks(arena, large->start, large->bytes);
    bool stays = passes || park_put(arena, large->start, large->bytes, large->mapping);
    bool gone = !stays && unmap_large(arena, large->start, large->bytes);
    if (!gone && !stays) {
        keep(arena, large);
    }
    lock_acquire(&arena->lock);
    arena->totals.mapped_bytes -= gone ? large->bytes : 0;
    arena->totals.purged_bytes += gone ? large->bytes : 0;
    arena->totals.kernel_calls += gone;
    lock_release(&arena->lock);
    lock_release(&arena->grow);
    meta_free(large);
    return MISUSE_NONE;
}

/* Its entry leaves the map while the kernel may move it, because its old address may at once be another's. */
static void *remap_reserved(arena_t *arena, void *block, size_t bytes)
{
    lock_acquire(&arena->lock);
    large_t *large = large_find_locked(arena, block);
    large->moving = true;
    pagemap_set(granule_of(block), 1, 0);
    lock_release(&arena->lock);
    char *moved = remap(large->start, large->bytes, bytes);
    lock_acquire(&arena->lock);
    arena->totals.kernel_calls++;
    if (moved != NULL) {
        names_move_locked(arena, block, moved);
        arena->totals.large_bytes += bytes - large->bytes;
        if (bytes > large->bytes) {
            region_count_locked(arena, bytes - large->bytes);
        } else {
            arena->totals.mapped_bytes -= large->bytes - bytes;
        }
        note_taken(arena, bytes > large->bytes ? bytes - large->bytes : 0);
        large->mapping = moved == block ? large->mapping : ++arena->granules->park.last_mapping;
        large->start = moved;
        large->bytes = bytes;
    }
    large->moving = false;
    enter_in_map(arena, large);
    lock_release(&arena->lock);
    return moved;
}

/* What is parked makes room. */
static bool reserve_anew(arena_t *arena, size_t bytes)
{
    park_drop(arena);
    return region_reserve(arena, bytes);
}

/* Takes what is parked right behind the block, until that has `most` bytes; false: not as much as `least`. */
static bool extend(arena_t *arena, const void *block, size_t least, size_t most)
{
    lock_acquire(&arena->lock);
    large_t *large = large_find_locked(arena, block);
    const park_t *park = &arena->granules->park;
    bool behind = park->start == large->start + large->bytes && park->mapping == large->mapping;
    size_t more = behind ? min_size(park->bytes, most - large->bytes) : 0;
    bool done = large->bytes + more >= least;
    if (done) {
        park_take_locked(arena, more);
        arena->totals.large_bytes += more;
        large->bytes += more;
    }
    lock_release(&arena->lock);
    return done;
}

/* By the kernel. Caller holds grow. */
static void *remap_to(arena_t *arena, void *block, size_t old, size_t bytes)
{
    if (bytes > old && !reserve_anew(arena, bytes - old)) {
        return NULL;
    }
    void *moved = remap_reserved(arena, block, bytes);
    if (moved == NULL && bytes > old) {
        region_unreserve(arena, bytes - old);
    }
    return moved;
}

void *large_realloc(arena_t *arena, void *block, size_t request, size_t most, uint64_t *when)
{
    size_t old = large_usable(arena, block);
    size_t bytes = large_good_size(arena, request);
    most = max_size(bytes, most <= PTRDIFF_MAX - GRANULE ? large_good_size(arena, most) : 0);
    if (old == 0 || request > PTRDIFF_MAX - GRANULE || arena->source == ARENA_SOURCE_HOOKS) {
        return NULL;
    }
    if (bytes == old) {
        return block;
    }
    void *moved = NULL;
    lock_acquire(&arena->grow);
    if (bytes > old && extend(arena, block, bytes, most)) {
        moved = block;
    } else {
        moved = remap_to(arena, block, old, most);
        moved = moved == NULL && bytes < most ? remap_to(arena, block, old, bytes) : moved;
        if (when != NULL && (watch_of(arena) & WATCH_LOG) != 0) {
            *when = log_now(); /* under grow: large blocks come and go under it only */
        }
    }
    lock_release(&arena->grow);
    return moved;
}

large_t *large_detach_all_locked(arena_t *arena)
{
    large_t *all = arena->larges;
    for (const large_t *large = all; large != NULL; large = large->next) {
        pagemap_set(granule_of(large->start), 1, 0);
        arena->totals.mapped_bytes -= large->bytes;
    }
    arena->larges = NULL;
    arena->totals.large_bytes = arena->totals.large_blocks = 0;
    return all;
}

/* What the kernel refuses is the arena's again if it lives on. */
static void release_span(arena_t *arena, char *start, size_t bytes, bool lives_on)
{
    if (bytes == 0) {
        return;
    }
    bool gone = unmap_large(arena, start, bytes);
    lock_acquire(&arena->lock);
    arena->totals.kernel_calls++;
    arena->totals.purged_bytes += gone ? bytes : 0;
    arena->totals.mapped_bytes += !gone && lives_on ? bytes : 0;
    lock_release(&arena->lock);
    if (!gone && lives_on) {
        region_keep(arena, source_of(arena), start, bytes);
    }
}

/* Makes a mapping whole granules, for the stock; false: it is none for it. */
static bool make_whole(const arena_t *arena, large_t *large)
{
    size_t whole = align_up(large->bytes, GRANULE);
    bool may = source_of(arena) == ARENA_SOURCE_MMAP && (arena->flags & ARENA_HUGE_PAGES) == 0 &&
               is_aligned(large->start, GRANULE) && stock_has_room(whole) &&
               (whole == large->bytes || os_resize(large->start, large->bytes, whole));
    large->bytes = may ? whole : large->bytes;
    return may;
}

void large_release(arena_t *arena, large_t *all, bool lives_on)
{
    for (large_t *next; all != NULL; all = next) {
        next = all->next;
        size_t kept = make_whole(arena, all) ? stock_put(all->start, all->bytes) : 0;
        release_span(arena, all->start, all->bytes - kept, lives_on);
        meta_free(all);
    }
}
