/*
 * api.c: the public calls that stand on arena_alloc and arena_free, which fast.c (or uncached.c, in a
 * build without caches) defines.
 */
#include "alloc.h"
#include "cachehook.h"
#include "resize.h"
#include "sizeclass.h"
#include "want.h"
#include "watch.h"

#include <errno.h>
#include <string.h>

void *arena_calloc(arena_t *arena, size_t count, size_t size)
{
    size_t bytes;
    if (UNLIKELY(arena == NULL)) {
        errno = EINVAL;
        return NULL;
    }
    if (UNLIKELY(multiply_overflows(count, size, &bytes))) {
        errno = ENOMEM;
        return NULL;
    }
    bool zero = false;
    bool cached = cachehook_allowed(arena) && bytes <= LARGE_MIN_BYTES;
    void *block = !cached                  ? alloc_block(arena, bytes, 8, &zero)
                  : bytes < FILL_ONE_BYTES ? arena_alloc(arena, bytes)
                                           : cachehook_alloc(arena, bytes, &zero);
    if (block != NULL && !zero) {
        memset(block, 0, bytes);
    }
    bool watched = UNLIKELY(watch_each_call(arena)) && !cached;
    return watched ? watch_new(arena, block, bytes, LOG_CALLOC) : block;
}

void *arena_realloc(arena_t *arena, void *block, size_t size)
{
    if (UNLIKELY(arena == NULL)) {
        errno = EINVAL;
        return NULL;
    }
    if (block == NULL) {
        return arena_alloc(arena, size);
    }
    return resize_block(arena, block, alloc_usable(arena, block), size);
}

/*
 * A block of the class that is not aligned, as chunks may be: the caller never saw it. Above SMALL_MAX it goes home, as the
 * magazine would give it out again, and the class gets slabs.
 */
static void put_back_unaligned(arena_t *arena, unsigned class, void *block)
{
    if (class <= SMALL_CLASSES || class > GRANULE_CLASSES) {
        arena_free(arena, block);
    } else {
        alloc_free(arena, block);
        lock_acquire(&arena->lock);
        alloc_graduate_locked(arena, class);
        lock_release(&arena->lock);
    }
    alloc_count(arena, -1);
}

/* Without the arena's mutex; NULL: there is none. */
static void *aligned_from_cache(arena_t *arena, size_t alignment, size_t size)
{
    unsigned class = want_aligned_class(arena, size, alignment);
    if (class == 0 || (class > SMALL_CLASSES && !cachehook_earn_magazine(arena, class))) {
        return NULL;
    }
    int saved = errno;
    void *block = arena_alloc(arena, sizeclass_bytes[class]); /* it may be one of a few that are not */
    if (block == NULL) {
        errno = saved; /* there may be room for less */
        return NULL;
    }
    if (is_aligned(block, alignment)) {
        return block;
    }
    put_back_unaligned(arena, class, block);
    return NULL;
}

void *arena_aligned_alloc(arena_t *arena, size_t alignment, size_t size)
{
    if (UNLIKELY(arena == NULL || !is_power_of_two(alignment))) {
        errno = EINVAL;
        return NULL;
    }
    if (alignment <= 8 || (alignment <= arena->quantum && size <= PTRDIFF_MAX)) {
        size_t enough = max_size(size, min_size(alignment, 16));
        return LIKELY(!watch_each_call(arena))
                   ? arena_alloc(arena, enough)
                   : watch_new(arena, alloc_unwatched(arena, enough), size, LOG_ALIGNED);
    }
    void *cached = aligned_from_cache(arena, alignment, size);
    if (cached != NULL) {
        return cached;
    }
    bool zero = false;
    void *block = alloc_block(arena, size, alignment, &zero);
    if (block != NULL && (arena->flags & ARENA_ZERO) != 0 && !zero) {
        memset(block, 0, size);
    }
    bool watched = UNLIKELY(watch_each_call(arena));
    return watched ? watch_new(arena, block, size, LOG_ALIGNED) : block;
}

void arena_free_sized(arena_t *arena, void *block, size_t size)
{
    if (UNLIKELY(arena != NULL && block != NULL && size > alloc_usable(arena, block))) {
        misuse(MISUSE_WRONG_SIZE, arena, block);
    }
    arena_free(arena, block);
}

size_t arena_usable_size(arena_t *arena, const void *block)
{
    if (UNLIKELY(arena == NULL)) {
        errno = EINVAL;
        return 0;
    }
    return block == NULL ? 0 : alloc_usable(arena, block);
}

/* What no block can be longer than. */
static size_t bytes_at_most(const arena_t *arena)
{
    if (arena->in_buffer) {
        return arena->first_region.bytes;
    }
    return arena->limit_bytes == 0 ? PTRDIFF_MAX : arena->limit_bytes;
}

size_t arena_good_size(arena_t *arena, size_t size)
{
    if (UNLIKELY(arena == NULL)) {
        errno = EINVAL;
        return 0;
    }
    if (UNLIKELY(size > PTRDIFF_MAX - GRANULE || size > bytes_at_most(arena))) {
        errno = ENOMEM;
        return 0;
    }
    unsigned class = want_class(arena, size);
    if (size > SMALL_MAX && size <= CLASS_MAX && cachehook_has_magazine(arena, sizeclass_of(size))) {
        class = sizeclass_of(size);
    }
    if (class != 0) {
        return sizeclass_bytes[class];
    }
    return want_good_size(arena, size);
}

size_t arena_alloc_batch(arena_t *arena, size_t size, size_t count, void **out)
{
    size_t got = 0;
    while (got < count && (out[got] = arena_alloc(arena, size)) != NULL) {
        got++;
    }
    return got;
}

void arena_free_batch(arena_t *arena, void **blocks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        arena_free(arena, blocks[i]);
    }
}
