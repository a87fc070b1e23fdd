/* test_large_aligned.c: requests with an alignment of a granule and more: which are chunks, which are mappings. */
#define _GNU_SOURCE
#include "../../arena/alloc.h"
#include "../../arena/chunk.h"
#include "../../arena/large.h"
#include "../../arena/pagemap.h"
#include "../../arena/stock.h"
#include "one_arena.h"

#include <limits.h>

/* What idle memory is purged of is no matter here. */
static int open_keeping(void **state)
{
    (void)state;
    arena = arena_create(&(arena_options_t){.trim_threshold_bytes = SIZE_MAX, .purge_delay_ms = UINT_MAX});
    return arena == NULL;
}

static char *take(size_t alignment, size_t size)
{
    char *block = arena_aligned_alloc(arena, alignment, size);
    must(block != NULL && is_aligned(block, alignment));
    must(arena_usable_size(arena, block) >= size);
    return block;
}

static bool is_large(const void *block)
{
    return pagemap_entry(block) == (arena->tag | KIND_LARGE);
}

/* Blocks that replace one another, filled; returns the kernel's calls of the second half. */
static size_t calls_of_turns(size_t alignment, size_t size)
{
    enum { LIVE = 8, TURNS = 400 };
    char *blocks[LIVE] = {0};
    size_t before = 0;

    for (size_t i = 0; i < TURNS; i++) {
        char **place = &blocks[i % LIVE];
        before = i == TURNS / 2 ? arena->totals.kernel_calls : before;
        if (*place != NULL)
            must(holds(*place, size, i - LIVE));
        arena_free(arena, *place);
        *place = take(alignment, size);
        fill(*place, size, i);
        must(i % 50 != 0 || arena_check(arena) == 0);
    }
    size_t calls = arena->totals.kernel_calls - before;
    for (size_t i = 0; i < LIVE; i++)
        arena_free(arena, blocks[i]);
    return calls;
}

static void what_comes_and_goes_makes_no_calls(void **state)
{
    static const size_t wanted[][2] = {
        {GRANULE, 100},       {GRANULE, GRANULE}, {GRANULE, 200000},
        {GRANULE, 1000000},   {2 * GRANULE, 100}, {4 * GRANULE, 100000},
        {4 * GRANULE, 40000}, {MIB, 300000},      {2 * MIB, 2 * MIB},
    };

    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        assert_int_equal(calls_of_turns(wanted[i][0], wanted[i][1]), 0); /* about 400, were each a mapping */
}

static void a_block_may_be_reallocated(void **state)
{
    (void)state;
    for (size_t alignment = GRANULE; alignment <= 2 * MIB; alignment *= 2) {
        size_t size = max_size(alignment / 2, 100000);
        arena_free(arena, take(alignment, size)); /* the threshold rises */
        char *block = take(alignment, size);
        assert_false(is_large(block));
        fill(block, size, alignment);
        block = arena_realloc(arena, block, 3 * size);
        assert_true(block != NULL && holds(block, size, alignment));
        block = arena_realloc(arena, block, size / 5);
        assert_true(block != NULL && holds(block, size / 5, alignment));
        assert_int_equal(arena_check(arena), 0);
        arena_free(arena, block);
    }
}

/* The addresses between such blocks would be as many as the alignment. */
static void what_is_hardly_anything_but_alignment_is_mapped(void **state)
{
    (void)state;
    for (size_t alignment = LARGE_MIN_BYTES; alignment <= 16 * MIB; alignment *= 2) {
        for (int i = 0; i < 3; i++) {
            size_t mapped = arena->totals.mapped_bytes;
            char *block = take(alignment, 100);
            assert_true(is_large(block));
            assert_true(arena->totals.mapped_bytes - mapped <= arena_usable_size(arena, block));
            arena_free(arena, block);
        }
    }
    assert_int_equal(arena->large_threshold, LARGE_MIN_BYTES);
}

static void the_threshold_counts_the_alignment(void **state)
{
    (void)state;
    char *first = take(MIB, MIB), *second = take(MIB, MIB);
    assert_true(is_large(first) && is_large(second));
    arena_free(arena, first);
    assert_int_equal(arena->large_threshold, 2 * MIB + 1);
    first = take(MIB, MIB);
    assert_false(is_large(first));
    char *beyond = take(16 * MIB, LARGE_MAX_BYTES - 8 * MIB);
    assert_true(is_large(beyond));
    arena_free(arena, beyond);
    assert_int_equal(arena->large_threshold, 2 * MIB + 1);
    arena_free(arena, first);
    arena_free(arena, second);
}

/* A page of it, where a chunk has the alignment to be searched in. */
static void under_a_limit_a_mapping_is_tried_too(void **state)
{
    size_t blocks = 0;

    (void)state;
    arena_t *limited = arena_create(&(arena_options_t){.limit_bytes = 3 * GRANULE, .flags = ARENA_NO_SLABS});
    for (void *block; (block = arena_aligned_alloc(limited, GRANULE, 100)) != NULL; blocks++)
        assert_true(is_aligned(block, GRANULE));
    assert_true(blocks > 10); /* one, were they chunks only */
    arena_stats_t stats = stats_of(limited);
    assert_true(stats_add_up(&stats) && stats.mapped_bytes <= 3 * GRANULE);
    assert_int_equal(arena_check(limited), 0);
    arena_destroy(limited);
}

/* So that a table of zeros with an alignment does not become resident as a whole. */
static void what_was_never_written_stays_known_as_zero(void **state)
{
    bool zero = false;

    (void)state;
    stock_trim(0);
    arena_t *fresh = arena_create(&(arena_options_t){.first_region_bytes = 8 * MIB});
    void *small = arena_alloc(fresh, 5000); /* now there is a region */
    char *first = alloc_block(fresh, 300000, 4 * GRANULE, &zero);
    assert_int_equal(pagemap_entry(first), fresh->tag | KIND_CHUNKS);
    assert_true(first != NULL && zero);
    for (size_t i = 0; i < 300000; i++)
        assert_int_equal(first[i], 0);
    const chunk_t *chunk = chunk_of(first), *next = chunk_next(chunk);
    assert_true(!chunk_is_inuse(next) && chunk_has_flag(next, CHUNK_ZERO));
    assert_true(!chunk_prev_is_inuse(chunk) && chunk_has_flag(chunk_prev(chunk), CHUNK_ZERO));
    arena_free(fresh, small);
    assert_int_equal(arena_check(fresh), 0);
    arena_destroy(fresh);
}

#define in_keeping(test) cmocka_unit_test_setup_teardown(test, open_keeping, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_keeping(what_comes_and_goes_makes_no_calls),
        in_keeping(a_block_may_be_reallocated),
        in_keeping(what_is_hardly_anything_but_alignment_is_mapped),
        in_keeping(the_threshold_counts_the_alignment),
        cmocka_unit_test(under_a_limit_a_mapping_is_tried_too),
        cmocka_unit_test(what_was_never_written_stays_known_as_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
