/*
 * tcache_plain.c: blocks whose class has no magazine yet are allocated outside of the cache's lock, and noted in the cache
 * afterwards, which another thread may be looking into by then: none of them is lost from the counts.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <stdatomic.h>

enum { WORKERS = 2, SIZES = 40, TURNS = 30 }; /* fewer than what earns a magazine */

static arena_t *arena;
static atomic_int working;

/* Each from another class, above what is carved from a piece. */
static size_t size_of(size_t i)
{
    return 4200 + i * i * 40;
}

static void *use_without_magazines(void *number)
{
    void *blocks[SIZES];

    for (size_t turn = 0; turn < TURNS; turn++) {
        for (size_t i = 0; i < SIZES; i++) {
            must((blocks[i] = arena_alloc(arena, size_of(i))) != NULL);
            fill(blocks[i], 64, i);
        }
        for (size_t i = 0; i < SIZES; i++) {
            must(holds(blocks[i], 64, i));
            arena_free(arena, blocks[i]);
        }
    }
    atomic_fetch_sub(&working, 1);
    return number;
}

/* Beside threads that look into their caches. */
static bool all_are_counted(size_t *looks)
{
    pthread_t threads[WORKERS];

    must((arena = arena_create(NULL)) != NULL);
    working = WORKERS;
    for (size_t i = 0; i < WORKERS; i++)
        start_thread(&threads[i], use_without_magazines, NULL);
    while (working != 0) {
        arena_stats_t stats = stats_of(arena);
        must(stats_add_up(&stats));
        ++*looks;
    }
    for (size_t i = 0; i < WORKERS; i++)
        must(pthread_join(threads[i], NULL) == 0);
    arena_stats_t stats = stats_of(arena);
    must(stats.live_blocks == 0 && arena_check(arena) == 0);
    arena_destroy(arena);
    return stats.allocations == (uint64_t)WORKERS * TURNS * SIZES;
}

static void what_is_noted_late_is_noted(void **state)
{
    size_t rounds = 0, looks = 0;

    (void)state;
    for (double until = now_seconds() + test_seconds(1.0); now_seconds() < until; rounds++)
        assert_true(all_are_counted(&looks));
    printf("%zu rounds, %zu looks\n", rounds, looks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_noted_late_is_noted)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
