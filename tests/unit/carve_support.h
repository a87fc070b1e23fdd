/*
 * carve_support.h: what the tests of chunk runs share: one region in which nothing else allocates, chunks of it and the
 * way back. arena_check goes over it after each test.
 */
#ifndef ARENA_TESTS_CARVE_SUPPORT_H
#define ARENA_TESTS_CARVE_SUPPORT_H

#include "../../arena/carve.h"
#include "layer.h"
#include "one_arena.h"

enum { GRANULES = 100 };

static int open_heap(void **state)
{
    (void)state;
    arena = layer_arena(ARENA_NO_SLABS, GRANULES);
    layer_region(arena, GRANULES);
    return 0;
}

#define in_heap(test) cmocka_unit_test_setup_teardown(test, open_heap, close_arena)

SUPPORT_UNUSED static chunk_t *take(size_t size)
{
    bool zero;
    chunk_t *chunk = carve_take_locked(arena, size, CHUNK_PLAIN, &zero);

    if (chunk == NULL && carve_grow_locked(arena, size))
        chunk = carve_take_locked(arena, size, CHUNK_PLAIN, &zero);
    return chunk;
}

SUPPORT_UNUSED static void put(chunk_t *chunk)
{
    assert_int_equal(carve_put_locked(arena, chunk), MISUSE_NONE);
}

SUPPORT_UNUSED static bool is_free_of_size(const chunk_t *chunk, size_t size)
{
    return chunk_class(chunk) == CHUNK_FREE && chunk_size(chunk) == size;
}

/* Chunks of 64 bytes in a row, the first of a fresh run. */
SUPPORT_UNUSED static void take_row(chunk_t **row, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        must((row[i] = take(64)) != NULL);
        must(i == 0 || row[i] == chunk_at(row[i - 1], 64));
    }
}

#endif
