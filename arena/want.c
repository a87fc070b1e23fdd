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
    if (request <= SLAB_MAX && (cachehook_allowed(arena) || (arena->flags & ARENA_NO_SLABS) == 0)) {
        return sizeclass_of(request);
    }
    return 0;
}

size_t want_good_size(const arena_t *arena, size_t request)
{
    if (request >= LARGE_MIN_BYTES && !arena->in_buffer) {
        return large_good_size(arena, request);
    }
    return chunk_size_for(request, arena->quantum) - CHUNK_HEADER;
}

want_t want_of(const arena_t *arena, size_t request, size_t alignment)
{
    want_t want = {.request = request, .alignment = alignment, .class = want_class(arena, request)};
    size_t usable = want.class != 0 ? sizeclass_bytes[want.class] : want_good_size(arena, request);
    want.chunk = chunk_size_for(usable, arena->quantum);
    unsigned pad = (unsigned)(want.chunk - CHUNK_HEADER - usable) / 8;
    /* An aligned chunk goes home when freed: nothing aligned would ever be served from a magazine. */
    want.mark = want.class != 0 && !(alignment > arena->quantum && cachehook_allowed(arena))
                    ? want.class
                    : (unsigned)CHUNK_PLAIN + pad;
    return want;
}

want_t want_grown(const arena_t *arena, size_t request)
{
    bool rounds = cachehook_allowed(arena) && request > SLAB_MAX && request <= LARGE_MIN_BYTES;
    return want_of(arena, rounds ? sizeclass_bytes[sizeclass_of(request)] : request, arena->quantum);
}

want_t want_block_of(const arena_t *arena, unsigned class)
{
    want_t want = want_of(arena, sizeclass_bytes[class], arena->quantum);
    if (class > SLAB_CLASSES) {
        want.chunk = chunk_size_for(sizeclass_bytes[class], arena->quantum);
        want.class = want.mark = class;
    }
    return want;
}
