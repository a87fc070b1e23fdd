/* test_calloc.c: what calloc need not clear it does not touch, and what it must it clears. */
#include "../../arena/stock.h"
#include "one_arena.h"

enum { BLOCKS = 200, SMALLEST = 20000, STEP = 1500 }; /* bytes: up to above LARGE_MIN_BYTES */

static char *blocks[BLOCKS];

static int open_large_arena(void **state)
{
    (void)state;
    stock_trim(0); /* used memory with which the next arena would begin */
    arena = arena_create(&(arena_options_t){.first_region_bytes = 64 * MIB}); /* it need not grow */
    return arena == NULL;
}

static size_t bytes_of(size_t block)
{
    return SMALLEST + block * STEP;
}

/* All of them, each zero; returns how many bytes that are. */
static size_t calloc_all(void)
{
    size_t total = 0;

    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = arena_calloc(arena, 1, bytes_of(i));
        assert_non_null(blocks[i]);
        total += bytes_of(i);
    }
    return total;
}

static size_t resident_bytes(void)
{
    return stats_of(arena).resident_bytes;
}

static void fresh_memory_is_not_touched(void **state)
{
    (void)state;
    size_t total = calloc_all();
    assert_true(resident_bytes() < total / 4);
    for (size_t i = 0; i < BLOCKS; i++)
        assert_true(all_zero(blocks[i], bytes_of(i)));
    assert_true(resident_bytes() >= total); /* so it is seen if it is touched */
}

static void used_memory_is_cleared(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        calloc_all();
        for (size_t i = 0; i < BLOCKS; i++) {
            assert_true(all_zero(blocks[i], bytes_of(i)));
            memset(blocks[i], 0xff, bytes_of(i));
        }
        for (size_t i = round == 1 ? 1 : 0; i < BLOCKS;
             i++) /* in one, a block stays between all that is free */
            arena_free(arena, blocks[i]);
    }
}

/* Once a thread has magazines of the class: blocks of the loaded one, and of full ones after a block that was fresh. */
static void cached_blocks_are_cleared(void **state)
{
    enum { HELD = 20 };
    const size_t bytes = bytes_of(0);

    (void)state;
    for (int round = 0; round < 20; round++) {
        assert_non_null(arena_calloc(arena, 1, 10 * bytes)); /* which stays */
        for (size_t i = 0; i < HELD; i++) {
            blocks[i] = arena_calloc(arena, 1, bytes);
            assert_true(all_zero(blocks[i], bytes));
            memset(blocks[i], 0xff, bytes);
        }
        for (size_t i = 0; i < HELD; i++)
            arena_free(arena, blocks[i]);
    }
}

#define in_large_arena(test) cmocka_unit_test_setup_teardown(test, open_large_arena, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_large_arena(fresh_memory_is_not_touched),
        in_large_arena(used_memory_is_cleared),
        in_large_arena(cached_blocks_are_cleared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
