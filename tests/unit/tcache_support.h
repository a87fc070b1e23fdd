/*
 * tcache_support.h: what the tests of the thread caches share: the arena of a test, blocks of it and where they lie, and
 * what the calling thread's cache of it holds.
 */
#ifndef ARENA_TESTS_TCACHE_SUPPORT_H
#define ARENA_TESTS_TCACHE_SUPPORT_H

#include "../../arena/chunk.h"
#include "../../arena/slab.h"
#include "../../tcache/cache.h"
#include "one_arena.h"

/* With a first region that has room for slabs: a class falls back on chunks rather than grow the arena. */
SUPPORT_UNUSED static int open_roomy_arena(void **state)
{
    (void)state;
    arena = arena_create(&(arena_options_t){.first_region_bytes = MIB});
    return arena == NULL;
}

SUPPORT_UNUSED static int open_without_slabs(void **state)
{
    (void)state;
    arena = arena_create(&(arena_options_t){.flags = ARENA_NO_SLABS, .fit = ARENA_FIT_BEST});
    return arena == NULL;
}

#define in_roomy_arena(test) cmocka_unit_test_setup_teardown(test, open_roomy_arena, close_arena)
#define without_slabs(test) cmocka_unit_test_setup_teardown(test, open_without_slabs, close_arena)

/* A block whose header may be looked at: the compiler does not know where it came from. */
SUPPORT_UNUSED static void *take(size_t size)
{
    void *block = any_size(arena_alloc(arena, size));

    must(block != NULL);
    return block;
}

/* One block at a time, freed at once. */
SUPPORT_UNUSED static void churn(size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++)
        arena_free(arena, take(size));
}

/* Uses of the class of `size` until it has a magazine. */
SUPPORT_UNUSED static unsigned uses_to_earn(size_t size)
{
    return cache_uses_to_earn(sizeclass_of(size));
}

/* Frees as well as allocations, as above SLAB_MAX both count. */
SUPPORT_UNUSED static void earn(size_t size)
{
    churn(uses_to_earn(size) + 1, size);
}

SUPPORT_UNUSED static size_t class_bytes(size_t size)
{
    return sizeclass_bytes[sizeclass_of(size)];
}

SUPPORT_UNUSED static bool is_in_slab(const void *block)
{
    return (pagemap_entry(block) ^ arena->tag) <= SLAB_CLASSES;
}

SUPPORT_UNUSED static bool is_chunk(const void *block)
{
    return (pagemap_entry(block) ^ arena->tag) == KIND_CHUNKS;
}

/* Until a class above SMALL_MAX is served by slabs: what lived in chunks goes home. */
SUPPORT_UNUSED static void graduate(size_t size)
{
    enum { MOST = 64 };
    void *blocks[MOST];
    size_t count = 0;

    earn(size);
    do
        blocks[count++] = take(size);
    while (!is_in_slab(blocks[count - 1]) && count < MOST);
    must(is_in_slab(blocks[count - 1]));
    arena_free_batch(arena, blocks, count);
}

SUPPORT_UNUSED static cache_t *own_cache(void)
{
    cache_t *cache = table_lookup(arena);

    return cache->arena == arena ? cache : NULL;
}

SUPPORT_UNUSED static void next_is_what_top_points_to(const cache_t *cache)
{
    for (unsigned class = 0; class <= CLASSES; class ++)
        assert_ptr_equal(cache->next[class], *cache->top[class]);
}

#endif
