/* want.c: see want.h. */
#include "want.h"

#include "cachehook.h"
#include "chunk.h"
#include "large.h"
#include "sizeclass.h"
#include "tiny.h"

unsigned want_class(const arena_t *arena, size_t request)
{
    if (arena->in_buffer && (arena->tiny == NULL || request > TINY_CLASS_MAX)) {
        return 0; /* nothing rounds there but what must */
    }
    if (request <= SMALL_MAX && (cachehook_allowed(arena) || (arena->flags & ARENA_NO_SLABS) == 0)) {
        return sizeclass_of(request);
    }
    return 0;
}

size_t want_chunk_size(const arena_t *arena, size_t usable)
{
    size_t size = chunk_size_for(usable, arena->quantum);
    bool lines = size > CHUNK_LINES_MIN && cachehook_allowed(arena);
    return lines ? align_up(size, CHUNK_LINE) : size;
}

size_t want_good_size(const arena_t *arena, size_t request)
{
    if (request >= LARGE_MIN_BYTES && !arena->in_buffer) {
        return large_good_size(arena, request);
    }
    return want_chunk_size(arena, request) - CHUNK_HEADER;
}

unsigned want_aligned_class(const arena_t *arena, size_t request, size_t alignment)
{
    if (!cachehook_allowed(arena)) {
        return 0;
    }
    if (request > SLAB_MAX) {
        return alignment <= CHUNK_LINE && request <= CLASS_MAX ? sizeclass_of(request) : 0;
    }
    unsigned class = sizeclass_of_aligned(request, alignment);
    return class <= SMALL_CLASSES || may_have_slabs(arena, class) ? class : 0;
}

want_t want_of(arena_t *arena, size_t request, size_t alignment)
{
    want_t want = {.request = request, .alignment = alignment, .class = want_class(arena, request)};
    if (LIKELY(want.class != 0 && alignment <= arena->quantum && arena->quantum == 16)) {
        want.chunk = sizeclass_chunk[want.class]; /* what the rest comes to, */
        want.mark = want.class;
        return want;
    }
    if (LIKELY(request > SMALL_MAX && request < LARGE_MIN_BYTES && alignment <= arena->quantum)) {
        want.chunk = want_chunk_size(arena, request); /* and here */
        want.mark = CHUNK_PLAIN;
        return want;
    }
    bool aligned = alignment > arena->quantum && cachehook_allowed(arena);
    size_t usable = want.class != 0 ? sizeclass_bytes[want.class] : want_good_size(arena, request);
    want.chunk = want_chunk_size(arena, usable);
    unsigned pad = (unsigned)(want.chunk - CHUNK_HEADER - usable) / 8;
    /* An aligned chunk of a small class goes home when freed: nothing aligned would ever be served from a magazine. */
    want.mark = want.class != 0 && !aligned ? want.class : (unsigned)CHUNK_PLAIN + pad;
    return want;
}

want_t want_grown(arena_t *arena, size_t request)
{
    bool rounds = cachehook_allowed(arena) && request > SMALL_MAX && request <= LARGE_MIN_BYTES;
    return want_of(arena, rounds ? sizeclass_bytes[sizeclass_of(request)] : request, arena->quantum);
}

want_t want_block_of(arena_t *arena, unsigned class)
{
    want_t want = want_of(arena, sizeclass_bytes[class], arena->quantum);
    if (class > SMALL_CLASSES) {
        want.chunk = want_chunk_size(arena, sizeclass_bytes[class]);
        want.class = want.mark = class;
    }
    return want;
}
