/*
 * rangeapi.c: the public functions of range arenas but those that look around (rangecheck.c). Misuse is found under
 * the lock and reported without it.
 */
#include "check.h"
#include "fork.h"
#include "meta.h"
#include "os.h"
#include "range.h"
#include "rangemap.h"
#include "rangemeta.h"
#include "rangesource.h"
#include "registry.h"

#include <errno.h>
#include <string.h>

/* The least that is taken, and what any range can be described in while it is empty, which the header promises: two
 * ends, and nine levels of nodes above them that meet in the root. */
enum { LEAST_BUFFER = 8192, ENOUGH_BUFFER = 16384 };
_Static_assert(sizeof(arena_range_t) + 2 * sizeof(range_leaf_t) + 17 * sizeof(range_node_t) +
                       sizeof(range_run_t) <=
                   ENOUGH_BUFFER,
               "too large for what the header promises");

#define MOST_QUANTUM ((size_t)1 << 30)
#define MOST_PAGE ((size_t)1 << (sizeof(size_t) * 8 - 4))
#define MOST_QUANTA (RANGE_NOWHERE >> 5) /* that a range from the kernel counts; a given one: its own */

static bool reserved_are_zero(const arena_range_options_t *options)
{
    uint64_t any = 0;
    for (size_t i = 0; i < sizeof options->reserved / sizeof options->reserved[0]; i++) {
        any |= options->reserved[i];
    }
    return any == 0;
}

static size_t quantum_of(const arena_range_options_t *options)
{
    return options->quantum == 0 ? 8 : options->quantum;
}

static size_t page_of(const arena_range_options_t *options)
{
    return options->page_bytes == 0 ? max_size(os_page_bytes(), quantum_of(options)) : options->page_bytes;
}

static bool flags_are_valid(const arena_range_options_t *options)
{
    const unsigned known = ARENA_RANGE_WITHIN_PAGES | ARENA_RANGE_LIFO | ARENA_RANGE_FIFO |
                           ARENA_RANGE_SINGLE_THREAD | ARENA_RANGE_FIXED_METADATA | ARENA_RANGE_INSIDE;
    const unsigned orders = ARENA_RANGE_LIFO | ARENA_RANGE_FIFO;
    unsigned flags = options->flags;
    if ((flags & ~known) != 0 || (flags & orders) == orders) {
        return false;
    }
    if ((flags & ARENA_RANGE_FIXED_METADATA) != 0 && options->metadata == NULL) {
        return false;
    }
    return (flags & ARENA_RANGE_INSIDE) == 0 ||
           (options->source == ARENA_RANGE_SBRK && options->metadata == NULL);
}

static bool buffer_is_valid(const arena_range_options_t *options)
{
    uintptr_t start = (uintptr_t)options->metadata;
    size_t bytes = options->metadata_bytes;
    if (start == 0) {
        return bytes == 0;
    }
    return start % 8 == 0 && bytes >= LEAST_BUFFER && bytes <= UINTPTR_MAX - start;
}

static bool options_are_valid(const arena_range_options_t *options)
{
    size_t quantum = quantum_of(options), page = page_of(options);
    bool given = options->source == ARENA_RANGE_GIVEN;
    if ((unsigned)options->source > ARENA_RANGE_SBRK || (unsigned)options->fit > ARENA_FIT_NEXT ||
        !flags_are_valid(options) || !reserved_are_zero(options)) {
        return false;
    }
    if (!is_power_of_two(quantum) || quantum < 8 || quantum > MOST_QUANTUM || !is_power_of_two(page) ||
        page < quantum || page > MOST_PAGE || options->growth_bytes > MOST_PAGE) {
        return false;
    }
    if (given && (options->base % quantum != 0 || options->bytes < quantum ||
                  options->bytes > UINT64_MAX - options->base)) {
        return false;
    }
    return (given || page >= os_page_bytes()) && buffer_is_valid(options);
}

/* Everything but lock, place of metadata, and what the first growth sets. */
static void configure(arena_range_t *range, const arena_range_options_t *options)
{
    bool given = options->source == ARENA_RANGE_GIVEN;
    size_t length = options->name == NULL ? 0 : strnlen(options->name, sizeof range->name - 1);
    *range = (arena_range_t){.flags = options->flags, .source = options->source, .fit = options->fit};
    memcpy(range->name, options->name == NULL ? "" : options->name, length);
    range->quantum_log2 = floor_log2(quantum_of(options));
    range->page = page_of(options) >> range->quantum_log2;
    range->step = align_up(max_size(options->growth_bytes, 1), page_of(options)) >> range->quantum_log2;
    range->keep =
        options->keep_bytes == UINT64_MAX ? RANGE_NOWHERE : options->keep_bytes >> range->quantum_log2;
    range->waits = (options->flags & (ARENA_RANGE_LIFO | ARENA_RANGE_FIFO)) != 0;
    range->inside = (options->flags & ARENA_RANGE_INSIDE) != 0;
    range->limit = given ? RANGE_NOWHERE : MOST_QUANTA;
    if (options->limit_bytes != 0) {
        uint64_t limit = options->limit_bytes >> range->quantum_log2;
        range->limit = given ? limit : range_down_to_page(range, limit);
    }
    if (given) {
        uint64_t bytes = options->bytes >> range->quantum_log2;
        range->origin = options->base;
        range->limit = bytes < range->limit ? bytes : range->limit;
        range->gaps = range_in_pages(range);
    } else if (options->source == ARENA_RANGE_SBRK) {
        range->origin = align_up((uintptr_t)os_break(), page_of(options));
    }
}

/* A copy of `model` in the caller's buffer, in meta's memory, or in the break; NULL: no memory. */
static arena_range_t *place(const arena_range_t *model, void *buffer, size_t buffer_bytes)
{
    if (model->inside) {
        return rangesource_found(model);
    }
    arena_range_t *range = buffer != NULL ? buffer : meta_alloc(sizeof *range);
    if (range == NULL) {
        return NULL;
    }
    *range = *model;
    range->waiting.wait_next = range->waiting.wait_previous = &range->waiting;
    if (buffer != NULL) {
        range->meta.buffer = buffer;
        range->meta.buffer_bytes = buffer_bytes;
        range->meta.next = (char *)(range + 1);
        range->meta.end = (char *)buffer + buffer_bytes;
    }
    return range;
}

static void forget_runs(arena_range_t *range)
{
    for (unsigned bin = 0; bin < RANGE_BINS; bin++) {
        while (range->bins.heads[bin] != NULL) {
            range_run_t *run = range->bins.heads[bin];
            rangebin_remove_locked(range, run);
            rangemeta_put_locked(range, RANGE_OBJECT_RUN, run);
        }
    }
    if (range->meta.spare != NULL) {
        rangemeta_put_locked(range, RANGE_OBJECT_RUN, range->meta.spare);
    }
}

/* Gives everything back, `range` among it. Nobody uses it. */
static void dissolve(arena_range_t *range)
{
    bool elsewhere = !range->inside && range->meta.buffer == NULL;
    pthread_mutex_destroy(&range->lock.mutex);
    if (elsewhere) {
        forget_runs(range);
    }
    rangesource_close(range); /* needs the map */
    if (elsewhere) {
        rangemap_clear(range);
        meta_free(range);
    }
}

/* One range at most has the break; the registry knows it by this. */
static const char break_token;

/* Caller holds the registry lock. NULL: no memory. */
static arena_range_t *make_locked(const arena_range_options_t *options)
{
    arena_range_t model;
    configure(&model, options);
    arena_range_t *range = place(&model, options->metadata, options->metadata_bytes);
    if (range == NULL) {
        return NULL;
    }
    lock_init(&range->lock, RANK_RANGE, (options->flags & ARENA_RANGE_SINGLE_THREAD) != 0);
    if (range->source == ARENA_RANGE_GIVEN && !range_in_pages(range) &&
        !rangesource_grow_locked(range, (range_want_t){.count = 1})) {
        dissolve(range);
        return NULL;
    }
    range_add_live_locked(range);
    return range;
}

arena_range_t *arena_range_create(const arena_range_options_t *options)
{
    if (options == NULL || !options_are_valid(options)) {
        errno = EINVAL;
        return NULL;
    }
    bool breaks = options->source == ARENA_RANGE_SBRK;
    arena_range_t *range = NULL;
    int error = EBUSY;
    lock_acquire(&registry_lock);
    fork_init_locked();
    if (!breaks || registry_own_break_locked(&break_token)) {
        error = ENOMEM;
        range = make_locked(options);
        if (range == NULL && breaks) {
            registry_disown_break_locked(&break_token);
        }
    }
    lock_release(&registry_lock);
    errno = range == NULL ? error : errno;
    return range;
}

void arena_range_destroy(arena_range_t *range)
{
    if (range == NULL) {
        return;
    }
    bool breaks = range->source == ARENA_RANGE_SBRK;
    lock_acquire(&registry_lock);
    range_remove_live_locked(range);
    dissolve(range);
    if (breaks) {
        registry_disown_break_locked(&break_token);
    }
    lock_release(&registry_lock);
}

/* Quanta for `bytes`; 0: more than there can be. */
static uint64_t quanta_for(const arena_range_t *range, uint64_t bytes)
{
    uint64_t count = bytes == 0 ? 1 : ((bytes - 1) >> range->quantum_log2) + 1;
    uint64_t most = range->source == ARENA_RANGE_GIVEN ? range->limit : MOST_QUANTA;
    return count > most || (range_in_pages(range) && count > range->page) ? 0 : count;
}

static uint64_t take(arena_range_t *range, uint64_t alignment, uint64_t bytes)
{
    if (range == NULL) {
        errno = EINVAL;
        return ARENA_RANGE_NONE;
    }
    range_want_t want = {.count = quanta_for(range, bytes), .alignment = alignment >> range->quantum_log2};
    uint64_t address = ARENA_RANGE_NONE;
    if (want.count != 0) {
        lock_acquire(&range->lock);
        uint64_t index = range_take_locked(range, want);
        address = index == RANGE_NOWHERE ? ARENA_RANGE_NONE : range_address(range, index);
        lock_release(&range->lock);
    }
    if (address == ARENA_RANGE_NONE) {
        errno = ENOMEM;
    }
    return address;
}

uint64_t arena_range_alloc(arena_range_t *range, uint64_t bytes)
{
    return take(range, 1, bytes);
}

uint64_t arena_range_aligned_alloc(arena_range_t *range, uint64_t alignment, uint64_t bytes)
{
    if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
        errno = EINVAL;
        return ARENA_RANGE_NONE;
    }
    return take(range, alignment, bytes);
}

void arena_range_free(arena_range_t *range, uint64_t address)
{
    uint64_t index;
    if (address == ARENA_RANGE_NONE) {
        return;
    }
    if (range == NULL) {
        errno = EINVAL;
        return;
    }
    lock_acquire(&range->lock);
    misuse_t wrong = range_locate_locked(range, address, &index);
    if (wrong == MISUSE_NONE) {
        range_put_locked(range, index);
    }
    lock_release(&range->lock);
    if (wrong != MISUSE_NONE) {
        misuse_named(wrong, range->name, (void *)(uintptr_t)address);
    }
}

bool arena_range_resize(arena_range_t *range, uint64_t address, uint64_t bytes)
{
    uint64_t index;
    if (range == NULL) {
        errno = EINVAL;
        return false;
    }
    uint64_t count = quanta_for(range, bytes);
    lock_acquire(&range->lock);
    misuse_t wrong = range_locate_locked(range, address, &index);
    bool done = wrong == MISUSE_NONE && count != 0 && range_resize_locked(range, index, count);
    lock_release(&range->lock);
    if (wrong != MISUSE_NONE) {
        misuse_named(wrong, range->name, (void *)(uintptr_t)address);
    }
    if (!done) {
        errno = ENOMEM;
    }
    return done;
}

uint64_t arena_range_size(arena_range_t *range, uint64_t address)
{
    uint64_t index, bytes = 0;
    if (range != NULL) {
        lock_acquire(&range->lock);
        if (range_locate_locked(range, address, &index) == MISUSE_NONE) {
            bytes = (rangemap_next(range, index) - index) << range->quantum_log2;
        }
        lock_release(&range->lock);
    }
    if (bytes == 0) {
        errno = EINVAL;
    }
    return bytes;
}

/* Every page that is free, by address; where one goes, what follows it is looked at next. */
static uint64_t trim_pages_locked(arena_range_t *range)
{
    uint64_t given = 0, index = 0;
    range_merge_waiting_locked(range);
    while ((index = rangemap_next(range, index)) != RANGE_NOWHERE) {
        if (rangemap_get(range, index) == RANGE_FREE) {
            given += rangesource_unmap_pages_locked(range, index, 0);
        }
    }
    return given;
}

uint64_t arena_range_trim(arena_range_t *range)
{
    if (range == NULL) {
        errno = EINVAL;
        return 0;
    }
    uint64_t given = 0;
    lock_acquire(&range->lock);
    if (range->source == ARENA_RANGE_MMAP) {
        given = trim_pages_locked(range);
    } else if (range->source == ARENA_RANGE_SBRK) {
        given = rangesource_lower_break_locked(range, 0);
    }
    lock_release(&range->lock);
    return given << range->quantum_log2;
}
