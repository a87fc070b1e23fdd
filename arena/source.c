/* source.c: see source.h. */
#include "source.h"

#include "watch.h"

#include <errno.h>

static os_map_options_t map_options(const arena_t *arena)
{
    return (os_map_options_t){.prefault = (arena->flags & ARENA_PREFAULT) != 0,
                              .huge_pages = (arena->flags & ARENA_HUGE_PAGES) != 0};
}

/* The break, padded to the grain unless it is still where we left it. */
static bool span_from_break(const arena_t *arena, size_t bytes, span_t *span)
{
    char *now = os_break();
    if (now == NULL || bytes > PTRDIFF_MAX - GRANULE) {
        return false;
    }
    size_t pad = align_up((uintptr_t)now, source_grain(arena)) - (uintptr_t)now;
    char *old = os_break_move((intptr_t)(pad + bytes));
    if (old == NULL) {
        return false;
    }
    if (old != now) { /* another thread moved it in between: give up what we got, if we can */
        if (os_break() == old + pad + bytes) {
            os_break_move(-(intptr_t)(pad + bytes));
        }
        return false;
    }
    *span = (span_t){now + pad, bytes, (uint32_t)pad, ARENA_SOURCE_SBRK, KIND_FREE_ZERO, !arena->paged};
    return true;
}

void *source_map_by_hook(arena_t *arena, size_t bytes, size_t alignment, bool *zeroed)
{
    int saved = errno;
    *zeroed = false;
    lock_enter_hook(&arena->grow);
    void *start = arena->hooks.map(arena->hooks.context, bytes, alignment, zeroed);
    lock_leave_hook(&arena->grow);
    errno = saved;
    return start;
}

static bool span_from_hooks(arena_t *arena, size_t bytes, span_t *span)
{
    bool zeroed;
    char *start = source_map_by_hook(arena, bytes, GRANULE, &zeroed);
    if (start == NULL) {
        return false;
    }
    bool in_map =
        is_aligned(start, GRANULE) && pagemap_entry(start) == 0; /* not within another arena's block */
    *span = (span_t){start, bytes, 0, ARENA_SOURCE_HOOKS, zeroed ? KIND_FREE_ZERO : KIND_FREE_DIRTY, in_map};
    return true;
}

static bool span_from_mmap(arena_t *arena, size_t bytes, span_t *span)
{
    char *start = os_map(bytes, GRANULE, map_options(arena));
    uint32_t kind = (arena->flags & ARENA_PREFAULT) != 0 ? KIND_FREE_DIRTY : KIND_FREE_ZERO;
    *span = (span_t){start, bytes, 0, ARENA_SOURCE_MMAP, kind, true};
    return start != NULL;
}

bool source_get(arena_t *arena, size_t bytes, span_t *span)
{
    switch (arena->source) {
    case ARENA_SOURCE_SBRK:
        return span_from_break(arena, bytes, span) || (arena->spills && span_from_mmap(arena, bytes, span));
    case ARENA_SOURCE_HOOKS:
        return span_from_hooks(arena, bytes, span);
    case ARENA_SOURCE_MMAP:
        return span_from_mmap(arena, bytes, span);
    case ARENA_SOURCE_BUFFER:
        break;
    }
    return false;
}

static bool unmap_by_hook(arena_t *arena, void *start, size_t bytes)
{
    int saved = errno;
    lock_enter_hook(&arena->grow);
    bool gone = arena->hooks.unmap(arena->hooks.context, start, bytes);
    lock_leave_hook(&arena->grow);
    errno = saved;
    return gone;
}

bool source_return(arena_t *arena, arena_source_t source, char *start, size_t bytes)
{
    switch (source) {
    case ARENA_SOURCE_MMAP:
        return os_unmap(start, bytes);
    case ARENA_SOURCE_SBRK:
        return os_break() == start + bytes && os_break_move(-(intptr_t)bytes) == start + bytes;
    case ARENA_SOURCE_HOOKS:
        return unmap_by_hook(arena, start, bytes);
    case ARENA_SOURCE_BUFFER:
        break;
    }
    return false;
}

static bool purge_by_hook(arena_t *arena, void *start, size_t bytes)
{
    if (arena->hooks.purge == NULL) {
        return false;
    }
    int saved = errno;
    lock_enter_hook(&arena->grow);
    arena->hooks.purge(arena->hooks.context, start, bytes);
    lock_leave_hook(&arena->grow);
    errno = saved;
    return true;
}

static bool drop(arena_t *arena, void *start, size_t bytes)
{
    if (arena->source == ARENA_SOURCE_HOOKS) {
        return purge_by_hook(arena, start, bytes);
    }
    return arena->source != ARENA_SOURCE_BUFFER && os_purge(start, bytes);
}

bool source_drop(arena_t *arena, void *start, size_t bytes)
{
    bool done = drop(arena, start, bytes);
    if (done) {
        watch_span(arena, LOG_PURGE, start, bytes);
    }
    return done;
}
