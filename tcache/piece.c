/* piece.c: see piece.h. */
#include "piece.h"

#include "../arena/alloc.h"
#include "../arena/carve.h"
#include "../arena/want.h"

static void count_plain_locked(cache_t *cache)
{
    arena_t *arena = cache->arena;
    arena->totals.chunk_blocks += cache->plain_blocks;
    arena->totals.chunk_usable += cache->plain_usable;
    cache->plain_blocks = 0;
    cache->plain_usable = 0;
}

static void count_locked(cache_t *cache)
{
    arena_t *arena = cache->arena;
    count_plain_locked(cache);
    for (unsigned class = 1; class <= SMALL_CLASSES; class ++) {
        size_t bytes = cache->carved[class] - (size_t)cache->carved_noted[class];
        if (bytes != 0) {
            size_t count = bytes / sizeclass_chunk[class];
            size_t usable = count * sizeclass_bytes[class];
            arena->totals.chunk_blocks += count;
            arena->totals.chunk_usable += usable;
            arena->granules->chunk_bytes[class] += (ptrdiff_t)usable;
            cache->carved_noted[class] = cache->carved[class];
        }
    }
}

static void close_locked(cache_t *cache)
{
    if (cache->piece_bytes != 0) {
        chunk_set(cache->piece, CHUNK_PIECE, cache->piece_bytes, CHUNK_INUSE | CHUNK_PREV_INUSE);
        carve_put_locked(cache->arena, cache->piece);
    }
    cache->piece = NULL;
    cache->piece_bytes = 0;
    if (cache->arena->deferred != NULL && cache->arena->granules->deferred_turns-- == 0) {
        carve_put_deferred_locked(cache->arena);
    }
}

void piece_close_locked(cache_t *cache)
{
    count_locked(cache);
    close_locked(cache);
}

void piece_close(cache_t *cache)
{
    if (cache->piece != NULL) {
        lock_acquire(&cache->arena->lock);
        piece_close_locked(cache);
        lock_release(&cache->arena->lock);
    }
}

void *piece_carve_plain(cache_t *cache, unsigned class, size_t request)
{
    size_t size = want_chunk_size(cache->arena, request);
    chunk_t *chunk = piece_cut(cache, size, CHUNK_PLAIN);
    if (chunk == NULL) {
        return NULL;
    }
    cache->plain_usable += size - CHUNK_HEADER;
    cache->plain_blocks++;
    cache_count_miss(cache, class);
    return chunk_block(chunk);
}

/* The largest piece for such a request; a limit is no room for larger ones. */
static size_t most_bytes_locked(const cache_t *cache, size_t request)
{
    bool small = request <= PIECE_PLAIN_MAX || is_tight(cache->arena);
    size_t share = small ? 0 : cache->arena->totals.chunk_run_bytes / 8;
    return min_size(max_size(PIECE_MAX_BYTES, share), PIECE_GROWN_MAX);
}

void piece_note_growth(cache_t *cache)
{
    lock_acquire(&cache->arena->lock);
    size_t most = most_bytes_locked(cache, SIZE_MAX);
    lock_release(&cache->arena->lock);
    cache->next_piece_bytes = most > PIECE_MAX_BYTES ? most : cache->next_piece_bytes;
}

/* What is free serves first, down to `least` bytes where a search is short. */
static chunk_t *take_locked(arena_t *arena, size_t bytes, size_t least)
{
    bool zero;
    chunk_t *chunk = NULL;
    size_t most = arena->totals.free_chunk_bytes < least ? 0 : bytes;
    least = arena->fit == ARENA_FIT_GOOD ? least : bytes;
    for (; chunk == NULL && most >= least; most /= 2) {
        chunk = carve_take_locked(arena, most, CHUNK_PIECE, &zero);
    }
    if (chunk == NULL && carve_grow_locked(arena, bytes)) {
        chunk = carve_take_locked(arena, bytes, CHUNK_PIECE, &zero);
    }
    return chunk;
}

void piece_open(cache_t *cache, unsigned class, size_t request)
{
    arena_t *arena = cache->arena;
    lock_acquire(&arena->lock);
    count_plain_locked(cache); /* of small classes too few that who counts would miss them */
    close_locked(cache);
    size_t bytes = min_size(cache->next_piece_bytes, most_bytes_locked(cache, request));
    size_t need = want_chunk_size(arena, request) + CHUNK_MIN;
    bool young =
        class > SMALL_CLASSES || (piece_is_young(cache, class) && !alloc_wants_slab_locked(arena, class));
    if (bytes < need) { /* the arena has shrunk */
        cache->next_piece_bytes = bytes;
    } else if (young) {
        size_t least = max_size(need, max_size(bytes / 16, PIECE_LEAST_BYTES));
        chunk_t *chunk = take_locked(arena, bytes, least);
        if (chunk != NULL) {
            cache->piece = chunk;
            cache->piece_bytes = chunk_size(chunk);
            chunk_set(chunk, CHUNK_PIECE, cache->piece_bytes, CHUNK_INUSE | CHUNK_PREV_INUSE | CHUNK_OPEN);
            cache->next_piece_bytes = max_size(cache->next_piece_bytes, min_size(2 * bytes, PIECE_MAX_BYTES));
        } else if (request > PIECE_PLAIN_MAX) { /* till the arena grows: each such request would try again */
            cache->next_piece_bytes = PIECE_MAX_BYTES;
        }
    }
    lock_release(&arena->lock);
}

void piece_count(cache_t *cache)
{
    lock_acquire(&cache->arena->lock);
    count_locked(cache);
    lock_release(&cache->arena->lock);
}
