/*
 * piece.h: blocks carved one after the other from a piece of a chunk run that the cache has to itself: those of a young
 * class, and plain ones up to PIECE_PLAIN_MAX, or an eighth of a piece, until this thread has freed one. What was carved is
 * counted for the arena in bulk: plain ones with each new piece, and all when a class has had its share or the cache is
 * stopped. A piece that has served nothing for a while is closed; a large one as soon as nothing plain is carved any more
 * and a request would have the arena grow.
 */
#ifndef ARENA_PIECE_H
#define ARENA_PIECE_H

#include "../arena/chunk.h"
#include "../arena/sizeclass.h"
#include "cache.h"

/* Whether the class has not had its share. */
INLINE bool piece_is_young(const cache_t *cache, size_t class)
{
    size_t size = sizeclass_chunk[class], carved = cache->carved[class] + size;
    return LIKELY(carved <= GRADUATE_BYTES) || carved <= alloc_chunk_share(cache->arena, size);
}

/*
 * Carves a chunk off the thread's piece: no lock, because the piece's header says OPEN and only
 * its owner writes it. The rest gets its header before the chunk loses OPEN: whoever frees it finds
 * a neighbour either way. NULL: no room.
 */
INLINE chunk_t *piece_cut(cache_t *cache, size_t size, unsigned mark)
{
    if (UNLIKELY(cache->piece_bytes < size + CHUNK_MIN)) {
        return NULL;
    }
    size_t rest = cache->piece_bytes - size;
    chunk_t *chunk = cache->piece;
    chunk_t *next = chunk_at(chunk, size);
    chunk_set(next, CHUNK_PIECE, rest, CHUNK_INUSE | CHUNK_PREV_INUSE | CHUNK_OPEN);
    chunk_set(chunk, mark, size, CHUNK_INUSE | CHUNK_PREV_INUSE);
    cache->piece = next;
    cache->piece_bytes = rest;
    return chunk;
}

/* A young block; NULL: no room, or the class has had its share. */
INLINE void *piece_carve(cache_t *cache, size_t class)
{
    size_t size = sizeclass_chunk[class];
    chunk_t *chunk = piece_is_young(cache, class) ? piece_cut(cache, size, (unsigned)class) : NULL;
    if (UNLIKELY(chunk == NULL)) {
        return NULL;
    }
    cache->carved[class] = (uint16_t)(cache->carved[class] + size);
    return chunk_block(chunk);
}

/* Whether a request of a class above SMALL_MAX is carved. Plain chunks that were freed are merged and in bins, and serve
 * the next: so it is not, once there are such. */
INLINE bool piece_serves_plain(const cache_t *cache, size_t class, size_t request)
{
    return request <= max_size(PIECE_PLAIN_MAX, cache->next_piece_bytes / 8) && !cache->plain_freed &&
           !cache_has_magazine(cache, (unsigned)class);
}

/* A chunk of just that size; NULL: no room. If there is, the class was used without a magazine. */
HIDDEN void *piece_carve_plain(cache_t *cache, unsigned class, size_t request);

/* The arena has grown: larger pieces pay, and larger requests are carved. The cache's mutex is held. */
HIDDEN void piece_note_growth(cache_t *cache);

/* A new piece with room for a request of the class, if that is still young or above SMALL_MAX, and the arena has room
 * without growing. The cache's mutex is held. */
HIDDEN void piece_open(cache_t *cache, unsigned class, size_t request);

/* Closes it; the cache is the caller's own or stopped, its mutex and the arena's are held. */
HIDDEN void piece_close_locked(cache_t *cache);

/* The same with the cache's mutex held, and the arena's not. */
HIDDEN void piece_close(cache_t *cache);

/* Tells the arena what was carved since the last time. The cache's mutex is held. */
HIDDEN void piece_count(cache_t *cache);

#endif
