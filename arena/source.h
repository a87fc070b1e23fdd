/*
 * source.h: where an arena's address space comes from and goes to: mmap, the break, a buffer, or the user's
 * hooks. Knows nothing of what is in it. Caller holds grow, and not the arena's mutex, because the kernel or
 * the hooks are called.
 */
#ifndef ARENA_SOURCE_H
#define ARENA_SOURCE_H

#include "heap.h"
#include "os.h"

/* What is asked of it is a multiple of this. */
INLINE size_t source_grain(const arena_t *arena)
{
    return arena->paged ? os_page_bytes() : GRANULE;
}

/* What one request to the source brought. */
typedef struct {
    char *start;
    size_t bytes;
    uint32_t pad; /* less than a granule */
    arena_source_t source;
    uint32_t kind; /* KIND_FREE_* */
    bool in_map;
} span_t;

/* At least `bytes`, a multiple of the grain; false: there is none. */
HIDDEN bool source_get(arena_t *arena, size_t bytes, span_t *span);

/* The hook's memory, or NULL. As by all hooks, errno is as it was. */
HIDDEN void *source_map_by_hook(arena_t *arena, size_t bytes, size_t alignment, bool *zeroed);

/* To the source that it came from. False: that does not take it, it is still the arena's. */
HIDDEN bool source_return(arena_t *arena, arena_source_t source, char *start, size_t bytes);

/* Drops the contents by madvise or the hook; false: they stay. But for hooks the mutex may be held. */
HIDDEN bool source_drop(arena_t *arena, void *start, size_t bytes);

#endif
