/* test_sweep.c: what a peak leaves of slabs, a few blocks in each, keeps the pages that it lies in and no others. */
#define _GNU_SOURCE
#include "../../arena/sweep.h"

#include "../../arena/alloc.h"
#include "../../arena/os.h"
#include "../../arena/slab.h"
#include "../support.h"

#include <limits.h>

enum {
    BYTES = 256,
    IN_SLAB = (int)(GRANULE / BYTES),
    SLABS = 400, /* more than one tick purges */
    COUNT = SLABS * IN_SLAB,
    PART = 256,
    SELDOM_MS = 1000000
};

static arena_t *arena;
static char *blocks[COUNT];

static bool is_kept(size_t i)
{
    return i % IN_SLAB == 7 || i % IN_SLAB == 100;
}

static bool is_resident(const void *block)
{
    unsigned char residence = 0;
    void *page = (void *)((uintptr_t)block / os_page_bytes() * os_page_bytes());

    return mincore(page, 1, &residence) == 0 && (residence & 1) != 0;
}

static size_t resident(void)
{
    size_t count = 0;

    for (size_t i = 0; i < COUNT; i++)
        count += i % (os_page_bytes() / BYTES) == 0 && is_resident(blocks[i]);
    return count * os_page_bytes();
}

static size_t kept_bytes(void)
{
    return SLABS * 2 * os_page_bytes();
}

/* A peak and its end. */
static void fill_and_free(arena_options_t options)
{
    options.flags |= ARENA_NO_CACHE;
    must((arena = arena_create(&options)) != NULL);
    for (size_t i = 0; i < COUNT; i++) {
        must((blocks[i] = arena_alloc(arena, BYTES)) != NULL);
        fill(blocks[i], BYTES, i);
    }
    for (size_t i = 0; i < COUNT; i++) {
        if (!is_kept(i))
            arena_free(arena, blocks[i]);
    }
}

static int peak(void **state)
{
    (void)state;
    fill_and_free((arena_options_t){.purge_delay_ms = SELDOM_MS});
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    int broken = arena_check(arena);
    arena_destroy(arena);
    return broken;
}

/* One that is due; no other ever is, however slow the machine. */
static void tick(void)
{
    if (arena->purge_delay_ms != UINT_MAX)
        arena->purge_delay_ms = 0;
    alloc_tick(arena);
    if (arena->purge_delay_ms != UINT_MAX)
        arena->purge_delay_ms = SELDOM_MS;
}

/* But for a page or two of the free runs. */
static void assert_as_before(size_t before)
{
    assert_in_range(resident(), before - GRANULE, before);
}

static void assert_kept(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (is_kept(i))
            assert_true(holds(blocks[i], BYTES, i));
    }
}

static void slabs_that_rest_keep_only_pages_in_use(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        tick();
    assert_in_range(resident(), kept_bytes() / 2,
                    kept_bytes() * 5 / 4); /* two blocks of a slab may share a page */
    assert_kept();
    arena_stats_t stats = stats_of(arena);
    assert_true(stats_add_up(&stats));
    assert_true(stats.purged_bytes > COUNT / 2 * BYTES);
}

static void the_first_tick_only_looks(void **state)
{
    (void)state;
    size_t before = resident();
    tick();
    assert_as_before(before);
}

static void the_work_of_a_walk_is_divided(void **state)
{
    (void)state;
    tick();
    size_t before = resident();
    tick();
    size_t between = resident();
    assert_in_range(before - between, PART * GRANULE / 2, PART * GRANULE);
    assert_int_not_equal(arena->granules->swept, 0);
    alloc_tick(arena); /* not due */
    assert_true(resident() < between);
    assert_int_equal(arena->granules->swept, 0);
}

static void slabs_that_move_keep_theirs(void **state)
{
    (void)state;
    tick();
    for (size_t i = 0; i < COUNT; i++) {
        if (i % IN_SLAB == 7)
            arena_free(arena, blocks[i]);
    }
    size_t before = resident();
    tick();
    tick();
    assert_true(before - resident() <= PART * GRANULE); /* only what rested from the second tick on */
}

static void nor_is_there_a_walk_while_slabs_fill(void **state)
{
    static char *more[4 * MIB / 1024];

    (void)state;
    tick();
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        must((more[i] = arena_alloc(arena, 1024)) != NULL);
    size_t before = resident();
    tick();
    assert_as_before(before);
    assert_int_equal(arena->granules->swept, 0);
    tick(); /* over */
    assert_true(resident() < before);
}

static void what_is_taken_again_is_counted(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        tick();
    assert_int_equal(arena->granules->retaken_bytes, 0);
    char *again = arena_alloc(arena, BYTES);
    assert_in_range(arena->granules->retaken_bytes, GRANULE / 2, GRANULE);
    size_t one = arena->granules->retaken_bytes;
    char *next = arena_alloc(arena, BYTES);
    assert_int_equal(slab_of(next)->granule, slab_of(again)->granule);
    assert_int_equal(arena->granules->retaken_bytes, one);
}

/* In demand: what is given back again and again, and taken again. */
static void then_the_ticks_let_them_be(void **state)
{
    (void)state;
    tick();
    arena->granules->retaken_bytes = 32 * MIB;
    size_t before = resident();
    tick();
    assert_as_before(before);
}

static void a_trim_takes_all_at_once(void **state)
{
    (void)state;
    assert_true(arena_trim(arena, 0) >= COUNT / 2 * BYTES);
    assert_in_range(resident(), kept_bytes() / 2, kept_bytes());
    assert_kept();
    assert_int_equal(sweep_all(arena), 0); /* nothing came back since */
}

static void not_where_pages_are_to_stay(void **state)
{
    static const arena_options_t options[] = {{.flags = ARENA_HUGE_PAGES, .purge_delay_ms = SELDOM_MS},
                                              {.purge_delay_ms = UINT_MAX}};

    (void)state;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        fill_and_free(options[i]);
        size_t before = resident();
        for (int j = 0; j < 4; j++)
            tick();
        assert_as_before(before);
        assert_int_equal(close_arena(NULL), 0);
    }
}

/* They are about to be taken: the fullest slabs serve first. */
static void nor_where_little_is_free(void **state)
{
    (void)state;
    arena_options_t options = {.flags = ARENA_NO_CACHE, .purge_delay_ms = SELDOM_MS};
    must((arena = arena_create(&options)) != NULL);
    for (size_t i = 0; i < COUNT; i++) {
        must((blocks[i] = arena_alloc(arena, BYTES)) != NULL);
        fill(blocks[i], BYTES, i);
    }
    for (size_t i = 0; i < COUNT / 12; i++) {
        if (!is_kept(i))
            arena_free(arena, blocks[i]);
    }
    assert_true(arena->totals.slab_free_usable > SWEEP_LEAST_BYTES);
    size_t before = resident();
    for (int i = 0; i < 4; i++)
        tick();
    assert_as_before(before);
}

/* Whoever allocates waits for it. */
static void free_granules_go_in_parts(void **state)
{
    enum { COUNT_OF_THESE = 900, EACH = 200000 };
    static void *large[COUNT_OF_THESE];

    (void)state;
    arena_options_t options = {
        .flags = ARENA_NO_CACHE, .purge_delay_ms = SELDOM_MS, .trim_threshold_bytes = SIZE_MAX};
    must((arena = arena_create(&options)) != NULL);
    must(arena_alloc_batch(arena, EACH, COUNT_OF_THESE, large) == COUNT_OF_THESE);
    for (size_t i = 0; i < COUNT_OF_THESE; i++)
        memset(large[i], 1, EACH);
    for (size_t i = 0; i < COUNT_OF_THESE; i++) /* no end of a region is free: that goes in one piece */
        if (i % 10 != 9)
            arena_free(arena, large[i]);
    tick(); /* no more stays than is in use */
    size_t before = arena->totals.dirty_bytes;
    assert_true(before > TICK_PURGE_BYTES + COUNT_OF_THESE / 9 * EACH);
    alloc_tick(arena); /* not due */
    assert_in_range(before - arena->totals.dirty_bytes, TICK_PURGE_BYTES, TICK_PURGE_BYTES + 3 * MIB);
    assert_int_not_equal(arena->granules->to_purge_bytes, 0);
    for (int i = 0; i < 3; i++) /* without caches, by the calls that come next: no tick does */
        arena_free(arena, arena_alloc(arena, 64));
    assert_int_equal(arena->granules->to_purge_bytes, 0);
}

#define after_peak(test) cmocka_unit_test_setup_teardown(test, peak, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        after_peak(slabs_that_rest_keep_only_pages_in_use),
        after_peak(the_first_tick_only_looks),
        after_peak(the_work_of_a_walk_is_divided),
        after_peak(slabs_that_move_keep_theirs),
        after_peak(nor_is_there_a_walk_while_slabs_fill),
        after_peak(what_is_taken_again_is_counted),
        after_peak(then_the_ticks_let_them_be),
        after_peak(a_trim_takes_all_at_once),
        cmocka_unit_test(not_where_pages_are_to_stay),
        cmocka_unit_test_teardown(free_granules_go_in_parts, close_arena),
        cmocka_unit_test_teardown(nor_where_little_is_free, close_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
