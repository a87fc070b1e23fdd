/*
 * arena.c: the life of an arena: create, reset, destroy; and who owns a block.
 *
 * Destroy removes the arena from the registry first, so that process-wide walks miss it, then takes every
 * thread's cache away, then gives up regions and large blocks, and keeps the shell.
 */
#include "alloc.h"
#include "bin.h"
#include "cachehook.h"
#include "carve.h"
#include "fork.h"
#include "large.h"
#include "name.h"
#include "park.h"
#include "region.h"
#include "registry.h"
#include "slab.h"
#include "source.h"
#include "tiny.h"
#include "watch.h"

#include <errno.h>
#include <string.h>

/* What the process needs before its first arena; a buffer needs no caches, and so makes no system call. Caller
 * holds the registry lock. */
static void init_process_locked(bool in_buffer)
{
    static bool caches; /* guarded by the registry lock */
    fork_init_locked();
    if (!in_buffer && !caches) {
        caches = true;
        cachehook_init();
    }
}

static bool reserved_are_zero(const arena_options_t *options)
{
    for (size_t i = 0; i < sizeof options->reserved / sizeof options->reserved[0]; i++) {
        if (options->reserved[i] != 0) {
            return false;
        }
    }
    return true;
}

/* What a buffer may be used for, as all of it counts as mapped. */
static size_t buffer_bytes_of(const arena_options_t *options)
{
    return options->limit_bytes == 0 ? options->buffer_bytes
                                     : min_size(options->buffer_bytes, options->limit_bytes);
}

static bool options_are_valid(const arena_options_t *options)
{
    const unsigned known = ARENA_NO_CACHE | ARENA_NO_SLABS | ARENA_ZERO | ARENA_PREFAULT | ARENA_HUGE_PAGES |
                           ARENA_SINGLE_THREAD | ARENA_CHECKED | ARENA_SCRIBBLE | ARENA_LEAKS;
    if ((unsigned)options->source > ARENA_SOURCE_HOOKS || (unsigned)options->fit > ARENA_FIT_NEXT ||
        (options->flags & ~known) != 0 || options->parent != NULL || !reserved_are_zero(options)) {
        return false;
    }
    if (options->quantum != 0 && options->quantum != 8 && options->quantum != 16) {
        return false;
    }
    if (options->source == ARENA_SOURCE_HOOKS &&
        (options->hooks.map == NULL || options->hooks.unmap == NULL)) {
        return false;
    }
    return options->source != ARENA_SOURCE_BUFFER ||
           (options->buffer != NULL && buffer_bytes_of(options) >= BUFFER_MIN_BYTES &&
            options->buffer_bytes <= UINTPTR_MAX - (uintptr_t)options->buffer);
}

static void copy_name(arena_t *arena, const char *name)
{
    size_t length = name == NULL ? 0 : strnlen(name, ARENA_NAME_BYTES - 1);
    memcpy(arena->name, name == NULL ? "" : name, length);
    arena->name[length] = 0;
}

/* Everything but what the shell keeps: index, tag, granules, bins, depot. */
static void configure(arena_t *arena, const arena_options_t *options)
{
    bool single = (options->flags & ARENA_SINGLE_THREAD) != 0;
    arena->flags = options->flags;
    arena->quantum = options->quantum == 0 ? 16 : options->quantum;
    arena->source = options->source;
    arena->fit = options->fit;
    arena->in_buffer = options->source == ARENA_SOURCE_BUFFER;
    unsigned watch = ((options->flags & ARENA_SCRIBBLE) != 0 ? WATCH_SCRIBBLE : 0) |
                     ((options->flags & ARENA_LEAKS) != 0 ? WATCH_LEAKS : 0);
    arena->cacheable =
        ARENA_TCACHE && !arena->in_buffer &&
        (options->flags & (ARENA_NO_CACHE | ARENA_CHECKED | ARENA_ZERO | ARENA_SINGLE_THREAD)) == 0;
    atomic_store_explicit(&arena->cached, arena->cacheable && (watch & WATCH_EACH_CALL) == 0,
                          memory_order_relaxed);
    atomic_store_explicit(&arena->watch, (uint8_t)watch, memory_order_relaxed);
    atomic_store_explicit(&arena->log, NULL, memory_order_relaxed);
    unsigned chunks_only = ARENA_NO_CACHE | ARENA_NO_SLABS;
    arena->paged = options->source == ARENA_SOURCE_SBRK && options->growth_bytes - 1 < GRANULE - 1 &&
                   (options->flags & chunks_only) == chunks_only;
    arena->hooks = options->hooks;
    arena->limit_bytes = options->limit_bytes;
    arena->growth_bytes = options->growth_bytes;
    size_t least = arena->paged ? options->growth_bytes : FIRST_REGION_BYTES;
    size_t first = options->first_region_bytes == 0 ? least : options->first_region_bytes;
    arena->first_region_bytes = align_up(min_size(first, PTRDIFF_MAX / 2), source_grain(arena));
    arena->trim_threshold_bytes = options->trim_threshold_bytes;
    arena->purge_delay_ms = options->purge_delay_ms == 0 ? PURGE_DELAY_MS : options->purge_delay_ms;
    copy_name(arena, options->name);
    lock_init(&arena->grow, RANK_GROW, single);
    lock_init(&arena->lock, RANK_ARENA, single);
    arena->last_region_id = 0;
    arena->large_threshold = LARGE_MIN_BYTES;
    arena->totals = (totals_t){0};
    arena->purge_failed = false;
    arena->dirty_since_ms = 0;
    arena->failed_at_ms = 0;
    atomic_store_explicit(&arena->names, NULL, memory_order_relaxed);
}

/* Forgets every chunk, run and slab; what they lay in is gone or about to be added anew. */
static void clear_heap(arena_t *arena)
{
    bin_table_clear(&arena->bins);
    arena->rover = NULL;
    arena->chunk_edge = 0;
    arena->deferred = NULL;
    if (!arena->in_buffer) {
        memset(arena->granules, 0, sizeof *arena->granules);
    }
}

/* Takes `bytes` off the front of what is left of a buffer; the memory is zeroed. */
static void *buffer_take(char **next, size_t bytes)
{
    char *start = *next;
    *next += align_up(bytes, 16);
    return memset(start, 0, align_up(bytes, 16));
}

static void format_buffer(arena_t *arena, char *next)
{
    region_t *region = arena->regions;
    char *end = region->start + region->bytes;
    if (region->bytes >= TINY_BUFFER_MIN && (arena->flags & ARENA_NO_SLABS) == 0) {
        size_t bytes = tiny_table_bytes(region->bytes);
        tiny_init(arena, buffer_take(&next, bytes), region->start);
    }
    arena->buffer_chunks = next;
    carve_add_span_locked(arena, next, distance(next, end), false, false);
}

/* Fewer steps for small buffers: their table may not eat them. */
static arena_t *create_in_buffer(const arena_options_t *options)
{
    size_t bytes = buffer_bytes_of(options);
    char *next = (char *)align_up((uintptr_t)options->buffer, 16);
    unsigned steps_log2 = bytes < 16 * KIB ? 2 : 4;
    arena_t *arena = buffer_take(&next, sizeof *arena);
    arena->index = BUFFER_INDEX;
    arena->tag = (uint32_t)BUFFER_INDEX << 8;
    configure(arena, options);
    void *table = buffer_take(&next, bin_table_bytes(bytes, steps_log2));
    bin_table_init(&arena->bins, table, bytes, steps_log2);
    region_add_buffer(arena, options->buffer, bytes);
    arena->buffer_start = next;
    format_buffer(arena, next);
    return arena;
}

/* Caller holds the registry lock. NULL with errno. */
static arena_t *create_locked(const arena_options_t *options)
{
    bool in_buffer = options->source == ARENA_SOURCE_BUFFER;
    init_process_locked(in_buffer);
    arena_t *arena = in_buffer ? create_in_buffer(options) : registry_take_shell_locked();
    if (arena == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    if (!in_buffer) {
        configure(arena, options);
    }
    if (!registry_add_locked(arena)) {
        registry_put_shell_locked(arena);
        errno = EBUSY;
        return NULL;
    }
    return arena;
}

arena_t *arena_create(const arena_options_t *options)
{
    static const arena_options_t defaults = {0};
    options = options == NULL ? &defaults : options;
    if (!options_are_valid(options)) {
        errno = EINVAL;
        return NULL;
    }
    lock_acquire(&registry_lock);
    arena_t *arena = create_locked(options);
    lock_release(&registry_lock);
    return arena;
}

/* Empties the books under both locks, so that process-wide calls find either all or nothing; then calls the
 * source, under grow alone. */
static void empty(arena_t *arena, bool keep_first)
{
    lock_acquire(&arena->grow);
    park_drop(arena);
    lock_acquire(&arena->lock);
    large_t *larges = large_detach_all_locked(arena);
    region_t *regions = region_detach_all_locked(arena, keep_first);
    totals_t old = arena->totals;
    arena->totals = (totals_t){.peak_mapped_bytes = old.peak_mapped_bytes,
                               .allocations = old.allocations,
                               .kernel_calls = old.kernel_calls,
                               .purged_bytes = old.purged_bytes,
                               .mapped_bytes = old.mapped_bytes,
                               .stuck_bytes = old.stuck_bytes + parked_bytes(arena)}; /* refused */
    clear_heap(arena);
    region_reuse_kept_locked(arena);
    arena->large_threshold = LARGE_MIN_BYTES;
    names_t *names = names_detach_locked(arena);
    lock_release(&arena->lock);
    names_release(names);
    large_release(arena, larges, keep_first);
    region_release(arena, regions, keep_first);
    if (arena->regions != NULL) { /* kept, or the source refused them: written under both locks */
        lock_acquire(&arena->lock);
        alloc_adopt_raw_locked(arena);
        lock_release(&arena->lock);
    }
    lock_release(&arena->grow);
}

void arena_destroy(arena_t *arena)
{
    if (arena == NULL) {
        return;
    }
    alloc_check_alive(arena, NULL);
    watch_destroy(arena);
    lock_acquire(&registry_lock);
    registry_remove_locked(arena);
    log_destroy(arena);
    cachehook_forget(arena, false);
    lock_release(&registry_lock);
    if (arena->in_buffer) {
        names_release(names_detach_locked(arena));
        return;
    }
    empty(arena, false);
    lock_acquire(&registry_lock);
    registry_put_shell_locked(arena);
    lock_release(&registry_lock);
}

static void reset_buffer(arena_t *arena)
{
    lock_acquire(&arena->lock);
    uint64_t allocations = arena->totals.allocations;
    size_t bytes = arena->totals.mapped_bytes;
    arena->totals = (totals_t){.mapped_bytes = bytes, .peak_mapped_bytes = bytes, .allocations = allocations};
    clear_heap(arena);
    format_buffer(arena, arena->buffer_start);
    names_t *names = names_detach_locked(arena);
    lock_release(&arena->lock);
    names_release(names);
}

void arena_reset(arena_t *arena)
{
    if (arena == NULL) {
        errno = EINVAL;
        return;
    }
    alloc_check_alive(arena, NULL);
    watch_span(arena, LOG_RESET, NULL, LOG_NONE);
    lock_acquire(&registry_lock);
    cachehook_forget(arena, true);
    lock_release(&registry_lock);
    if (arena->in_buffer) {
        reset_buffer(arena);
    } else {
        empty(arena, true);
    }
}

/* Of ARENA_SINGLE_THREAD arenas without a lock only those whose one region never changes: their thread may be inside. */
static bool may_ask_for_bounds(const arena_t *arena)
{
    return has_bounds(arena) && (arena->in_buffer || !arena->lock.off);
}

/* A buffer, hook memory that is not aligned, a break that moves by pages. */
static arena_t *owner_by_bounds(const void *block)
{
    arena_t *owner = NULL;
    lock_acquire(&registry_lock);
    for (arena_t *arena = registry_first_locked(); arena != NULL && owner == NULL; arena = arena->next_live) {
        if (may_ask_for_bounds(arena)) {
            lock_acquire(&arena->lock);
            if (region_by_bounds_locked(arena, block) != NULL) {
                misuse_t wrong = MISUSE_NONE;
                alloc_usable_locked(arena, block, &wrong);
                owner = wrong == MISUSE_NONE ? arena : NULL;
            }
            lock_release(&arena->lock);
        }
    }
    lock_release(&registry_lock);
    return owner;
}

arena_t *arena_of(const void *block)
{
    arena_t *inner =
        registry_has_bounded() ? owner_by_bounds(block) : NULL; /* may lie in an outer arena's block */
    uint32_t entry = pagemap_entry(block);
    if (inner != NULL || entry == 0) {
        return inner;
    }
    unsigned kind = entry & 0xff;
    bool own = false;
    if (kind <= SLAB_CLASSES) {
        own = slab_is_start(kind, block);
    } else if (kind == KIND_CHUNKS) {
        own = alloc_header_is_readable(block) && carve_validate(block) == MISUSE_NONE;
    } else if (kind == KIND_LARGE) {
        own = is_aligned(block, GRANULE);
    }
    return own ? registry_arena(entry >> 8) : NULL;
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const char *arena_version(void)
{
    return TEXT(ARENA_VERSION_MAJOR) "." TEXT(ARENA_VERSION_MINOR) "." TEXT(ARENA_VERSION_PATCH);
}
