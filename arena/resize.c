/* resize.c: see resize.h. */
#include "resize.h"

#include "alloc.h"
#include "cachehook.h"
#include "carve.h"
#include "large.h"
#include "tiny.h"
#include "want.h"

/* The block's usable size is known to the caller and differs from what `request` would get. */
static void *resize_chunk(arena_t *arena, void *block, size_t request)
{
    if (want_class(arena, request) != 0 && !cachehook_allowed(arena)) {
        return NULL; /* a slab block is what the request gets */
    }
    bool grows = request > carve_usable(block, chunk_header(chunk_of(block)));
    want_t want = grows ? want_grown(arena, request) : want_of(arena, request, arena->quantum);
    lock_acquire(&arena->lock);
    alloc_count_chunk_locked(arena, chunk_class(chunk_of(block)), -1);
    bool done = carve_resize_locked(arena, chunk_of(block), want.chunk, want.mark);
    alloc_count_chunk_locked(arena, chunk_class(chunk_of(block)), 1);
    alloc_unlock(arena);
    return done ? block : NULL;
}

/* More is free between chunks than in use: room for growth that did not come. */
static bool is_spread_locked(const arena_t *arena)
{
    return arena->totals.free_chunk_bytes > arena->totals.chunk_usable + RETAIN_BYTES;
}

void *resize_roomy(arena_t *arena, size_t request)
{
    if (!cachehook_allowed(arena) || request > LARGE_MIN_BYTES) {
        return NULL;
    }
    want_t want = want_grown(arena, request);
    size_t room = max_size(2 * want.chunk, GRANULE / 2);
    chunk_t *chunk = NULL;
    bool spread = false;
    for (int attempt = 0; attempt < 2 && chunk == NULL && !spread; attempt++) {
        if (attempt != 0 && !alloc_make_room(arena, room)) {
            break;
        }
        lock_acquire(&arena->lock);
        spread = is_spread_locked(arena);
        chunk = spread ? NULL : carve_take_roomy_locked(arena, want.chunk, room, want.mark);
        arena->totals.allocations += chunk != NULL;
        lock_release(&arena->lock);
    }
    return chunk == NULL ? NULL : chunk_block(chunk);
}

void *resize_in_place(arena_t *arena, void *block, size_t request, uint64_t *when)
{
    uint32_t kind = pagemap_entry(block) ^ arena->tag;
    if (kind == KIND_LARGE) {
        void *resized = request >= LARGE_MIN_BYTES / 2 ? large_realloc(arena, block, request, when) : NULL;
        alloc_settle(arena);
        return resized;
    }
    bool in_slab = kind <= SLAB_CLASSES || (arena->tiny != NULL && tiny_holds(arena, block));
    return !in_slab && request <= PTRDIFF_MAX - GRANULE ? resize_chunk(arena, block, request) : NULL;
}
