/* uncached.c: arena_alloc, arena_free and the hooks of caches in a build without tcache/. */
#include "alloc.h"
#include "cachehook.h"

void *arena_alloc(arena_t *arena, size_t size)
{
    return alloc_public(arena, size);
}

void arena_free(arena_t *arena, void *block)
{
    alloc_public_free(arena, block);
}

void arena_thread_flush(void) {}

void cachehook_stop(arena_t *arena)
{
    (void)arena;
}

void cachehook_evict(arena_t *arena)
{
    (void)arena;
}

void cachehook_resume(arena_t *arena)
{
    (void)arena;
}

void cachehook_count(arena_t *arena, cache_totals_t *totals)
{
    (void)arena;
    *totals = (cache_totals_t){0};
}

void cachehook_each_block(arena_t *arena, void (*visit)(void *context, void *block), void *context)
{
    (void)arena;
    (void)visit;
    (void)context;
}

misuse_t cachehook_drain_stopped(arena_t *arena, void **culprit)
{
    (void)arena;
    (void)culprit;
    return MISUSE_NONE;
}

bool cachehook_flow_one(arena_t *arena, size_t usable, misuse_t *wrong, void **culprit)
{
    (void)arena;
    (void)usable;
    (void)wrong;
    (void)culprit;
    return false;
}

void *cachehook_alloc(arena_t *arena, size_t size, bool *zero)
{
    *zero = false;
    return alloc_public(arena, size);
}

bool cachehook_has_magazine(const arena_t *arena, unsigned class)
{
    (void)arena;
    (void)class;
    return false;
}

bool cachehook_earn_magazine(arena_t *arena, unsigned class)
{
    (void)arena;
    (void)class;
    return false;
}

misuse_t cachehook_reclaim(arena_t *arena, reach_t reach, void **culprit)
{
    (void)arena;
    (void)reach;
    (void)culprit;
    return MISUSE_NONE;
}

misuse_t cachehook_flow_back(arena_t *arena, size_t least_bytes, size_t keep_bytes, void **culprit)
{
    (void)arena;
    (void)least_bytes;
    (void)keep_bytes;
    (void)culprit;
    return MISUSE_NONE;
}

void cachehook_forget(arena_t *arena, bool keep_own)
{
    (void)arena;
    (void)keep_own;
}

void cachehook_fork_prepare(void) {}

bool cachehook_fork_each_depot(bool (*act)(lock_t *lock))
{
    (void)act;
    return true;
}

void cachehook_fork_parent(void) {}

void cachehook_fork_child(void) {}

void cachehook_init(void) {}
