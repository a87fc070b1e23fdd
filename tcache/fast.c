/*
 * fast.c: arena_alloc and arena_free, when the thread's cache serves them. Everything else is a tail call.
 *
 * Nothing here may be inlined into, or push registers for, a slow path: a hit is some 20 instructions
 * for an allocation and some 30 for a free (bench/instructions counts them).
 */
#include "../arena/alloc.h"
#include "../arena/chunk.h"
#include "hit.h"

/* Inside; leaves. The table has another arena's cache, or none: a thread may use more arenas than that has slots. */
static NOINLINE void *alloc_beside(arena_t *arena, size_t size)
{
    cache_t *cache = arena == NULL ? NULL : record_lookup(arena->index);
    if (cache == NULL) {
        return cache_alloc_miss(arena, size);
    }
    return hit_alloc(cache, sizeclass_of(size), size, cache_alloc_empty, cache_alloc_tick);
}

INLINE void *alloc_of_class(arena_t *arena, size_t class, size_t size)
{
    cache_enter(&thread_self);
    cache_t *cache = table_lookup(arena);
    if (UNLIKELY(cache->arena != arena)) {
        return alloc_beside(arena, size);
    }
    return hit_alloc(cache, class, size, cache_alloc_empty, cache_alloc_tick);
}

/* A request above SLAB_MAX: the class takes a bit scan. */
static NOINLINE HIT void *alloc_wide(arena_t *arena, size_t size)
{
    return LIKELY(size <= CLASS_MAX) ? alloc_of_class(arena, sizeclass_of_wide(size), size)
                                     : alloc_public(arena, size);
}

static NOINLINE HIT void *alloc_medium(arena_t *arena, size_t size)
{
    return size <= SLAB_MAX ? alloc_of_class(arena, sizeclass_of_medium(size), size)
                            : alloc_wide(arena, size);
}

HIT void *arena_alloc(arena_t *arena, size_t size)
{
    return LIKELY(size <= SMALL_MAX) ? alloc_of_class(arena, sizeclass_small[size], size)
                                     : alloc_medium(arena, size);
}

HIT void cache_free_chunk(cache_t *cache, void *block)
{
    unsigned low = (unsigned)((uintptr_t)block & (GRANULE - 1));
    if (UNLIKELY(low == 0 || low % 8 != 0)) { /* the word before it may not be readable, or not be one */
        cache_free_other(cache->arena, block);
        return;
    }
    uint64_t header = chunk_header(chunk_of(block));
    unsigned class = chunk_class_of(block, header);
    if (UNLIKELY(!chunk_is_classed(class) || !chunk_size_fits_class(header, class))) {
        if (chunk_is_plain(class)) {
            cache_free_plain(cache, block);
            return;
        }
        cache_free_other(cache->arena, block);
        return;
    }
    if (UNLIKELY(class <= GRANULE_CLASSES && (cache->graduated >> class & 1) != 0)) {
        cache_free_home(cache, block);
        return;
    }
    hit_free(cache, class, block);
}

/* As alloc_beside. Looks the entry up again: a third argument would cost every hit an instruction. */
static NOINLINE void free_beside(arena_t *arena, void *block)
{
    cache_t *cache = arena == NULL ? NULL : record_lookup(arena->index);
    if (cache == NULL) {
        cache_free_other(arena, block);
        return;
    }
    hit_free_any(cache, block, pagemap_entry_marked(block));
}

HIT void arena_free(arena_t *arena, void *block)
{
    uint32_t entry = pagemap_entry_marked(block); /* a granule with names: goes slow */
    cache_enter(&thread_self);
    cache_t *cache = table_lookup(arena);
    if (UNLIKELY(cache->arena != arena)) {
        free_beside(arena, block);
        return;
    }
    hit_free_any(cache, block, entry);
}
