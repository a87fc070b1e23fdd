/*
 * piece.h: a young class's blocks, carved one after the other from a piece of a chunk run that the cache has to
 * itself. What was carved is counted for the arena in bulk, when the piece is closed or the class has had its share.
 */
#ifndef ARENA_PIECE_H
#define ARENA_PIECE_H

#include "../arena/chunk.h"
#include "../arena/sizeclass.h"
#include "tcache.h"

/* Whether the class has not had its share. */
INLINE bool piece_is_young(const cache_t *cache, size_t class)
{
    return cache->carved[class] + (size_t)sizeclass_chunk[class] <= GRADUATE_BYTES;
}

/*
 * Carves one young block from the thread's piece: no lock, because the piece's header says OPEN and only
 * its owner writes it. The rest gets its header before the block loses OPEN: whoever frees the block finds
 * a neighbour either way. NULL: no room, or the class has had its share.
 */
INLINE void *piece_carve(cache_t *cache, size_t class)
{
    size_t size = sizeclass_chunk[class];
    if (UNLIKELY(cache->piece_bytes < size + CHUNK_MIN || !piece_is_young(cache, class))) {
        return NULL;
    }
    size_t rest = cache->piece_bytes - size;
    chunk_t *chunk = cache->piece;
    chunk_t *next = chunk_at(chunk, size);
    chunk_set(next, CHUNK_PIECE, rest, CHUNK_INUSE | CHUNK_PREV_INUSE | CHUNK_OPEN);
    chunk_set(chunk, (unsigned)class, size, CHUNK_INUSE | CHUNK_PREV_INUSE);
    cache->piece = next;
    cache->piece_bytes = rest;
    cache->carved[class] = (uint16_t)(cache->carved[class] + size);
    return chunk_block(chunk);
}

/* A new piece, if the class is still young and the arena has room without growing. The cache's mutex is held. */
HIDDEN void piece_open(cache_t *cache, unsigned class);

/* Closes it; the cache is the caller's own or stopped, its mutex and the arena's are held. */
HIDDEN void piece_close_locked(cache_t *cache);

/* Tells the arena what was carved since the last time. The cache's mutex is held. */
HIDDEN void piece_count(cache_t *cache);

#endif
