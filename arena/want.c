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
    return cachehook_allowed(arena) && request <= CLASS_MAX ? sizeclass_of(request) : 0;
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
    want.mark = want.class != 0 && !(alignment > arena->quantum && arena->cached)
                    ? want.class
                    : (unsigned)CHUNK_PLAIN + pad;
    return want;
}

want_t want_grown(const arena_t *arena, size_t request)
{
    want_t want = want_of(arena, request, arena->quantum);
    if (want.class > SLAB_CLASSES) {
        want.mark = (unsigned)(CHUNK_PLAIN + (want.chunk - CHUNK_HEADER - sizeclass_bytes[want.class]) / 8);
        want.class = 0;
    }
    return want;
}
