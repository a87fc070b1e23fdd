/*
 * test_tcache_lines.c: false sharing. Blocks smaller than a cache line, which two threads write to: neither those that each
 * of them allocates nor those that one was passed and freed lie on a line of the other's.
 */
#define _GNU_SOURCE
#include "tcache_support.h"

enum { LINE = 64, PASSED = 2 * FIRST_FREES, TAKEN = 60 /* all of the first few refills */ };

static void *passed[PASSED];

static bool on_one_line(const void *one, const void *other)
{
    return (uintptr_t)one / LINE == (uintptr_t)other / LINE;
}

static bool share_lines(void *const *ones, void *const *others, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++)
            if (on_one_line(ones[i], others[j]))
                return true;
    return false;
}

/* --- blocks that were passed to a thread --- */

static void *free_then_take(void *taken)
{
    void **out = taken;

    for (size_t i = 0; i < PASSED / 2; i++)
        arena_free(arena, passed[2 * i]);
    must(own_cache() == NULL);
    for (size_t i = 0; i < PASSED / 2; i++)
        out[i] = take(16);
    must(own_cache() != NULL);
    return NULL;
}

static void what_a_thread_frees_first_is_not_what_it_is_given(void **state)
{
    void *kept[PASSED / 2], *taken[PASSED / 2];

    (void)state;
    for (size_t i = 0; i < PASSED; i++)
        passed[i] = take(16);
    for (size_t i = 0; i < PASSED / 2; i++)
        kept[i] = passed[2 * i + 1];
    run_thread(free_then_take, taken);
    assert_false(share_lines(kept, taken, PASSED / 2));
}

static void *only_free(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < FIRST_FREES; i++)
        arena_free(arena, passed[i]);
    must(own_cache() == NULL);
    arena_free(arena, passed[FIRST_FREES]);
    must(own_cache() != NULL);
    return NULL;
}

static void one_that_only_frees_has_a_cache_after_a_while(void **state)
{
    (void)state;
    must(arena_alloc_batch(arena, 64, PASSED, passed) == PASSED);
    run_thread(only_free, NULL);
}

static void *take_and_free(void *unused)
{
    arena_free(arena, take(2000));
    arena_free(arena, passed[0]);
    must(own_cache()->next[sizeclass_of(64)] == passed[0]);
    return unused;
}

static void one_that_allocates_caches_what_it_frees_at_once(void **state)
{
    (void)state;
    passed[0] = take(64);
    run_thread(take_and_free, NULL);
}

/* --- blocks that threads allocate --- */

typedef struct {
    pthread_barrier_t *taken;
    size_t size;
    void *blocks[TAKEN];
} taker_t;

static void *take_some(void *argument)
{
    taker_t *taker = argument;

    for (size_t i = 0; i < TAKEN; i++)
        taker->blocks[i] = take(taker->size);
    pthread_barrier_wait(taker->taken); /* or the second would have the cache of the first */
    return NULL;
}

static void two_threads_take_no_blocks_of_the_same_line(void **state)
{
    pthread_barrier_t taken;

    (void)state;
    must(pthread_barrier_init(&taken, NULL, 2) == 0);
    for (size_t size = 8; size < LINE; size += 8) {
        taker_t takers[2];
        pthread_t threads[2];
        churn(1, size);
        for (size_t bytes = 0; bytes < 2 * GRADUATE_BYTES || !is_in_slab(take(size)); bytes += size)
            take(size);
        for (size_t i = 0; i < 2; i++) {
            takers[i].taken = &taken;
            takers[i].size = size;
            must(pthread_create(&threads[i], NULL, take_some, &takers[i]) == 0);
        }
        for (size_t i = 0; i < 2; i++)
            must(pthread_join(threads[i], NULL) == 0);
        assert_true(is_in_slab(takers[0].blocks[0]) && is_in_slab(takers[1].blocks[0]));
        assert_false(share_lines(takers[0].blocks, takers[1].blocks, TAKEN));
        arena_reset(arena);
    }
    pthread_barrier_destroy(&taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_roomy_arena(what_a_thread_frees_first_is_not_what_it_is_given),
        in_roomy_arena(one_that_only_frees_has_a_cache_after_a_while),
        in_roomy_arena(one_that_allocates_caches_what_it_frees_at_once),
        in_roomy_arena(two_threads_take_no_blocks_of_the_same_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
