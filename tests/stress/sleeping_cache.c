/*
 * sleeping_cache.c: what lies in the cache of a thread that sleeps is counted by arena_stats and arena_walk,
 * reached by arena_trim, and the thread goes on unharmed when it wakes.
 */
#define _GNU_SOURCE
#include "../support.h"

#ifndef ARENA_TCACHE
#define ARENA_TCACHE 1
#endif

static arena_t *arena;
static pthread_barrier_t meeting;

static void meet(void)
{
    pthread_barrier_wait(&meeting);
}

/* Fills every class of its cache, sleeps, goes on; three times. */
static void *fill_and_sleep(void *unused)
{
    enum { BLOCKS = 30000 };
    static char *blocks[BLOCKS];
    rng_t rng = {1};

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            size_t bytes = 8 + rng_size(&rng, i % 10 ? 9 : 14);
            must((blocks[i] = arena_alloc(arena, bytes)) != NULL);
            memset(blocks[i], 1, bytes);
        }
        arena_free_batch(arena, (void **)blocks, BLOCKS);
        meet();
        meet();
    }
    return unused;
}

static int count_cached(void *context, const arena_block_t *block)
{
    *(size_t *)context += block->state == ARENA_BLOCK_CACHED;
    return 0;
}

static void a_sleeping_threads_cache_is_counted_and_reached(void **state)
{
    pthread_t thread;

    (void)state;
    arena = arena_create(NULL);
    must(pthread_barrier_init(&meeting, NULL, 2) == 0);
    must(pthread_create(&thread, NULL, fill_and_sleep, NULL) == 0);
    for (int round = 0; round < 3; round++) {
        size_t walked = 0;
        meet();
        arena_stats_t before = stats_of(arena);
        assert_int_equal(before.live_blocks, 0);
        assert_int_equal(before.skipped_caches, 0);
        assert_true(!ARENA_TCACHE || before.cached_bytes >= 32 * KIB);
        assert_true(stats_add_up(&before));
        assert_int_equal(arena_walk(arena, count_cached, &walked), 0);
        assert_int_equal(walked, before.cached_blocks);
        assert_int_equal(arena_check(arena), 0);
        assert_true(arena_trim(arena, 0) >= before.cached_bytes / 2);
        arena_stats_t after = stats_of(arena);
        assert_int_equal(after.cached_blocks, 0);
        assert_true(after.mapped_bytes <= 128 * KIB);
        assert_true(stats_add_up(&after));
        meet();
    }
    must(pthread_join(thread, NULL) == 0);
    pthread_barrier_destroy(&meeting);
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

static void a_trim_of_the_process_reaches_it_too(void **state)
{
    pthread_t thread;

    (void)state;
    arena = arena_create(NULL);
    must(pthread_barrier_init(&meeting, NULL, 2) == 0);
    must(pthread_create(&thread, NULL, fill_and_sleep, NULL) == 0);
    for (int round = 0; round < 3; round++) {
        meet();
        arena_trim(NULL, 0);
        arena_stats_t process = stats_of(NULL);
        assert_int_equal(process.cached_blocks, 0);
        assert_true(process.mapped_bytes <= 128 * KIB && process.stock_bytes == 0);
        meet();
    }
    must(pthread_join(thread, NULL) == 0);
    pthread_barrier_destroy(&meeting);
    arena_destroy(arena);
}

/* --- destroy and reset take a sleeper's cache back as well --- */

static arena_t *second;

static void *use_sleep_use(void *unused)
{
    for (size_t i = 0; i < 2000; i++)
        arena_free(arena, arena_alloc(arena, i));
    meet();
    meet();
    for (size_t i = 0; i < 2000; i++)
        arena_free(second, arena_alloc(second, i));
    return unused;
}

static void destroy_and_reset_take_back_a_sleepers_cache(void **state)
{
    (void)state;
    must(pthread_barrier_init(&meeting, NULL, 2) == 0);
    for (int round = 0; round < 100; round++) {
        pthread_t thread;
        must((arena = arena_create(NULL)) != NULL);
        must(pthread_create(&thread, NULL, use_sleep_use, NULL) == 0);
        meet();
        if (round % 2) {
            arena_reset(second = arena);
            assert_int_equal(stats_of(arena).cached_blocks, 0);
        } else {
            arena_destroy(arena);
            second = arena_create(NULL);
        }
        void *mine = arena_alloc(second, 100);
        fill(mine, 100, 1);
        meet();
        must(pthread_join(thread, NULL) == 0);
        assert_true(holds(mine, 100, 1));
        arena_stats_t stats = stats_of(second);
        assert_true(stats.live_blocks == 1 && stats_add_up(&stats));
        assert_int_equal(arena_check(second), 0);
        arena_destroy(second);
    }
    pthread_barrier_destroy(&meeting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sleeping_threads_cache_is_counted_and_reached),
        cmocka_unit_test(a_trim_of_the_process_reaches_it_too),
        cmocka_unit_test(destroy_and_reset_take_back_a_sleepers_cache),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
