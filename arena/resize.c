/* resize.c: see resize.h. */
#include "resize.h"

#include "alloc.h"
#include "cachehook.h"
#include "carve.h"
#include "large.h"
#include "os.h"
#include "region.h"
#include "run.h"
#include "tiny.h"
#include "want.h"

/* Whether a chunk may take granules, or pages of the break, from behind its run. From the threshold on a large block,
 * which moves for nothing, is better. */
static bool may_extend_locked(const arena_t *arena, const want_t *want)
{
    return (want->chunk >= GRANULE || arena->paged) && want->request < arena->large_threshold;
}

/* The break moves up if that is what the chunk needs to grow in place. */
static bool move_break_behind(arena_t *arena, chunk_t *chunk, const want_t *want)
{
    if (arena->source != ARENA_SOURCE_SBRK) {
        return false;
    }
    char *behind = NULL;
    lock_acquire(&arena->grow);
    lock_acquire(&arena->lock);
    bool may = may_extend_locked(arena, want);
    size_t lacks = may ? carve_wants_behind_locked(arena, chunk, want->chunk, &behind) : 0;
    if (lacks != 0 && run_kind_is_free(run_kind(arena, granule_of(behind)))) {
        behind += (size_t)pagemap_tag(granule_of(behind))->length << GRANULE_LOG2;
    }
    lock_release(&arena->lock);
    bool moved = lacks != 0 && behind == os_break() && region_grow_unlocked(arena, lacks);
    alloc_adopt_raw(arena);
    lock_release(&arena->grow);
    return moved;
}

/* The chunk becomes what is wanted, where it lies: what is behind it joins, or its end goes. */
static bool resize_by(arena_t *arena, chunk_t *chunk, const want_t *want)
{
    lock_acquire(&arena->lock);
    alloc_count_chunk_locked(arena, chunk_class(chunk), -1);
    bool done = carve_resize_locked(arena, chunk, want->chunk, want->mark) ||
                (may_extend_locked(arena, want) && carve_extend_locked(arena, chunk, want->chunk) &&
                 carve_resize_locked(arena, chunk, want->chunk, want->mark));
    alloc_count_chunk_locked(arena, chunk_class(chunk), 1);
    alloc_unlock(arena);
    return done;
}

static void *resize_chunk(arena_t *arena, void *block, size_t request)
{
    if (want_class(arena, request) != 0 && !cachehook_allowed(arena)) {
        return NULL; /* a slab block is what the request gets */
    }
    bool grows = request > carve_usable(block, chunk_header(chunk_of(block)));
    want_t want = grows ? want_grown(arena, request) : want_of(arena, request, arena->quantum);
    chunk_t *chunk = chunk_of(block);
    bool done = resize_by(arena, chunk, &want);
    if (!done && grows && move_break_behind(arena, chunk, &want)) {
        done = resize_by(arena, chunk, &want);
    }
    return done ? block : NULL;
}

/* Much is free between chunks: room for growth that did not come. */
static bool is_spread_locked(const arena_t *arena)
{
    return arena->totals.free_chunk_bytes > arena->totals.chunk_usable / 8 + RETAIN_BYTES;
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
