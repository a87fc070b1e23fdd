/*
 * api.c: the public calls that stand on arena_alloc and arena_free, which fast.c (or uncached.c, in a
 * build without caches) defines.
 */
#include "alloc.h"
#include "large.h"
#include "name.h"
#include "sizeclass.h"

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
    void *block =
        arena->cached && bytes <= CLASS_MAX ? arena_alloc(arena, bytes) : alloc_block(arena, bytes, 8, &zero);
    return block == NULL || zero ? block : memset(block, 0, bytes);
}

static void *move_block(arena_t *arena, void *block, size_t usable, size_t size)
{
    void *moved = size > usable ? alloc_roomy(arena, size) : NULL;
    moved = moved != NULL ? moved : arena_alloc(arena, size);
    if (moved == NULL) {
        return NULL;
    }
    memcpy(moved, block, min_size(usable, size));
    if (names_of(arena) != NULL) {
        lock_acquire(&arena->lock);
        names_move_locked(arena, block, moved);
        lock_release(&arena->lock);
    }
    arena_free(arena, block);
    return moved;
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
    size_t usable = alloc_usable(arena, block);
    if (size <= usable && size >= usable - usable / 4) {
        return block;
    }
    if (arena_good_size(arena, size) == usable) {
        return block;
    }
    int saved = errno;
    void *resized = alloc_resize(arena, block, size);
    if (resized == NULL) {
        resized = move_block(arena, block, usable, size);
    }
    if (resized == NULL && size <= usable) {
        errno = saved; /* shrinking never fails: it stays as large as it was */
        return block;
    }
    return resized;
}

void *arena_aligned_alloc(arena_t *arena, size_t alignment, size_t size)
{
    if (UNLIKELY(arena == NULL || !is_power_of_two(alignment))) {
        errno = EINVAL;
        return NULL;
    }
    if (alignment <= 8 || (alignment <= arena->quantum && size <= PTRDIFF_MAX)) {
        return arena_alloc(arena, max_size(size, min_size(alignment, 16)));
    }
    size_t rounded = align_up(max_size(size, 1), alignment);
    if (arena->cached && alignment <= SLAB_MAX && rounded <= SLAB_MAX && size <= rounded &&
        sizeclass_bytes[sizeclass_of(rounded)] % alignment == 0) {
        void *block = arena_alloc(arena, rounded); /* aligned if a slab backs it */
        if (block == NULL || is_aligned(block, alignment)) {
            return block;
        }
        arena_free(arena, block);
        alloc_uncount(arena);
    }
    bool zero = false;
    void *block = alloc_block(arena, size, alignment, &zero);
    if (block != NULL && (arena->flags & ARENA_ZERO) != 0 && !zero) {
        memset(block, 0, size);
    }
    return block;
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

size_t arena_good_size(arena_t *arena, size_t size)
{
    if (UNLIKELY(arena == NULL)) {
        errno = EINVAL;
        return 0;
    }
    if (UNLIKELY(size > PTRDIFF_MAX - GRANULE)) {
        errno = ENOMEM;
        return 0;
    }
    unsigned class = alloc_class(arena, size);
    if (class != 0) {
        return sizeclass_bytes[class];
    }
    return alloc_good_size(arena, size);
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
