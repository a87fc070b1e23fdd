/*
 * test_tcache_life.c: how caches come and go with arenas and threads, and what of them another thread gets: the whole cache
 * of one that ended, full magazines by the depot.
 */
#define _GNU_SOURCE
#include "../../tcache/depot.h"
#include "tcache_support.h"

static void a_flush_sends_all_home_and_the_next_use_begins_anew(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        arena_free(arena, arena_alloc(arena, 16 + (size_t)i * 50));
    assert_true(stats_of(arena).cached_blocks != 0);
    arena_thread_flush();
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.caches, 0);
    assert_int_equal(stats.cached_blocks, 0);
    assert_int_equal(stats.allocations, 100);
    assert_null(own_cache());
    churn(1, 100);
    assert_int_equal(stats_of(arena).caches, 1);
}

static void a_reset_keeps_the_callers_cache_emptied(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        arena_free(arena, arena_alloc(arena, 16 + (size_t)i));
    cache_t *cache = arena->caches;
    arena_reset(arena);
    assert_ptr_equal(arena->caches, cache);
    assert_null(cache->piece);
    assert_int_equal(cache->full_bytes, 0);
    for (unsigned class = 1; class <= CLASSES; class ++)
        assert_null(*cache->top[class]);
    assert_int_equal(stats_of(arena).allocations, 1000);
}

static void an_arena_made_after_another_reuses_its_cache(void **state)
{
    (void)state;
    arena_alloc(arena, 100);
    cache_t *cache = own_cache();
    arena_destroy(arena);
    arena = arena_create(NULL);
    arena_alloc(arena, 100);
    assert_ptr_equal(own_cache(), cache);
    assert_int_equal(stats_of(arena).allocations, 1);
}

/* --- threads that end --- */

static void *use_and_leave(void *blocks)
{
    void **out = blocks;

    for (size_t i = 0; i < 50; i++)
        out[i] = take(64);
    for (size_t i = 0; i < 40; i++)
        arena_free(arena, out[i]);
    must(arena->cache_count == 1);
    return NULL;
}

static void *take_its_place(void *blocks)
{
    must(own_cache() == NULL);
    void *block = take(64);
    must(block == ((void **)blocks)[39]); /* the last that the other thread freed */
    must(arena->cache_count == 1 && arena->caches == own_cache());
    arena_free(arena, block);
    return NULL;
}

static void a_threads_cache_serves_the_next_thread(void **state)
{
    void *blocks[50];

    (void)state;
    run_thread(use_and_leave, blocks);
    assert_int_equal(arena->cache_count, 0); /* of living threads */
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.live_blocks, 10);
    assert_int_equal(stats.cached_blocks, 40);
    assert_int_equal(stats.caches, 1);
    assert_int_equal(stats.allocations, 50);
    assert_int_equal(arena_check(arena), 0);
    run_thread(take_its_place, blocks);
    assert_int_equal(arena->cache_count, 0);
    assert_int_equal(stats_of(arena).caches, 1);
    assert_int_equal(stats_of(arena).allocations, 51);
    arena_trim(arena, 0);
    assert_int_equal(stats_of(arena).cached_blocks, 0);
    arena_free_batch(arena, blocks + 40, 10);
}

static void a_cache_that_no_thread_takes_over_goes_after_a_while(void **state)
{
    void *blocks[50];

    (void)state;
    run_thread(use_and_leave, blocks);
    arena_t *other = arena_create(NULL); /* whose ticks look after it */
    must(usleep(1000 * PURGE_DELAY_MS + 10000) == 0);
    for (size_t i = 0; i < 2 * TICK_ALLOCATIONS; i++)
        arena_free(other, arena_alloc(other, 100));
    assert_null(arena->caches);
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.live_blocks, 10);
    assert_int_equal(stats.cached_blocks, 0);
    assert_int_equal(stats.allocations, 50);
    arena_destroy(other);
    arena_free_batch(arena, blocks + 40, 10);
}

/* So many sizes that the loaded magazines alone are much. */
static void *hold_much_and_leave(void *unused)
{
    enum { SIZES = 16, BLOCKS = 72 };
    static void *blocks[SIZES][BLOCKS];

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < SIZES; i++)
            for (size_t k = 0; k < BLOCKS; k++)
                blocks[i][k] = take(sizeclass_bytes[SMALL_CLASSES + 8 + i]);
        for (size_t i = 0; i < SIZES; i++)
            arena_free_batch(arena, blocks[i], BLOCKS);
    }
    must(cache_held_bytes(own_cache(), 1) - own_cache()->full_bytes >
         max_size(arena->totals.mapped_bytes / 16, 128 * KIB));
    return unused;
}

static void one_that_holds_too_much_goes_with_its_thread(void **state)
{
    (void)state;
    run_thread(hold_much_and_leave, NULL);
    assert_null(arena->caches);
}

/* --- the depot between two threads --- */

enum { PASSED = 20000 };
static void *passed[PASSED];

static void *free_passed(void *unused)
{
    for (size_t i = 0; i < PASSED; i++)
        arena_free(arena, passed[i]);
    return unused;
}

static void *free_passed_and_sleep(void *barrier)
{
    free_passed(NULL);
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return NULL;
}

static void a_depot_is_made_when_a_thread_has_more_than_it_keeps(void **state)
{
    const size_t kept = (CACHE_FIRST_BYTES / 4) / 64;

    (void)state;
    must(PASSED > 2 * kept && arena_alloc_batch(arena, 64, PASSED, passed) == PASSED);
    arena_free_batch(arena, passed, kept);
    assert_null(depot_of(arena));
    arena_free_batch(arena, passed + kept, PASSED - kept);
    assert_non_null(depot_of(arena));
    assert_true(depot_of(arena)->count[sizeclass_of(64)] != 0);
}

/* So that what caches hold does not add to the peak. */
static void a_depot_is_emptied_before_its_arena_grows(void **state)
{
    enum { LARGE = 1000, FREED = PASSED / 5 };
    static void *large[LARGE];
    size_t count = 0;

    (void)state;
    earn(9216);
    must(arena_alloc_batch(arena, 9216, FREED, passed) == FREED);
    arena_free_batch(arena, passed, FREED);
    must(depot_held_bytes(depot_of(arena), 1) > arena->totals.mapped_bytes / 32);
    size_t mapped = arena->totals.mapped_bytes;
    while (count < LARGE && arena->totals.mapped_bytes <= mapped)
        must((large[count++] = arena_alloc(arena, 200000)) != NULL);
    assert_true(count < LARGE);
    assert_true(depot_held_bytes(depot_of(arena), 1) <= mapped / 32);
    arena_free_batch(arena, large, count);
}

static void what_another_thread_frees_comes_back_by_the_depot(void **state)
{
    pthread_t thread;
    pthread_barrier_t barrier;

    (void)state;
    must(pthread_barrier_init(&barrier, NULL, 2) == 0);
    must(arena_alloc_batch(arena, 64, PASSED, passed) == PASSED);
    must(pthread_create(&thread, NULL, free_passed_and_sleep, &barrier) == 0);
    pthread_barrier_wait(&barrier);
    depot_t *depot = depot_of(arena);
    assert_non_null(depot);
    unsigned class = sizeclass_of(64);
    assert_true(depot->count[class] != 0);
    assert_true(depot->held_bytes <= DEPOT_HELD_BYTES);
    assert_true(depot->count[class] * magazine_bytes(class) < DEPOT_CLASS_BYTES + magazine_bytes(class));
    uint32_t count = depot->count[class];
    for (size_t i = 0; i < 2 * magazine_capacity(class); i++)
        must(arena_alloc(arena, 64) != NULL);
    assert_true(depot->count[class] < count);
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.live_blocks, 2 * magazine_capacity(class));
    assert_int_equal(stats.caches, 2);
    pthread_barrier_wait(&barrier);
    must(pthread_join(thread, NULL) == 0);
    pthread_barrier_destroy(&barrier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_roomy_arena(a_flush_sends_all_home_and_the_next_use_begins_anew),
        in_roomy_arena(a_reset_keeps_the_callers_cache_emptied),
        in_roomy_arena(an_arena_made_after_another_reuses_its_cache),
        in_roomy_arena(a_threads_cache_serves_the_next_thread),
        in_roomy_arena(a_cache_that_no_thread_takes_over_goes_after_a_while),
        in_roomy_arena(one_that_holds_too_much_goes_with_its_thread),
        in_roomy_arena(a_depot_is_made_when_a_thread_has_more_than_it_keeps),
        in_roomy_arena(a_depot_is_emptied_before_its_arena_grows),
        in_roomy_arena(what_another_thread_frees_comes_back_by_the_depot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
