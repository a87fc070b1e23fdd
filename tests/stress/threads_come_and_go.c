/*
 * threads_come_and_go.c: threads that live for some hundred operations each leave their caches to those that follow,
 * while others look at the arenas, trim, check and walk them, fork, and destroy one arena after the other. Every block
 * keeps what was written into it, whichever thread frees it.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <stdatomic.h>

enum { STARTERS = 3, PASSED = 256, HELD = 60 };

static arena_t *shared;
static _Atomic bool stop;
static _Atomic(size_t *)
    passed[PASSED]; /* blocks of threads that have ended, perhaps; the first word is the size */
static _Atomic size_t lives;

static void *check_and_free(size_t *block)
{
    if (block != NULL) {
        size_t bytes = block[0];
        must(holds(block + 1, bytes - sizeof *block, bytes));
        arena_free(shared, block);
    }
    return NULL;
}

static void *live_shortly(void *number)
{
    rng_t rng = {(uintptr_t)number};
    size_t *blocks[HELD] = {NULL};
    arena_t *own = rng_below(&rng, 4) == 0 ? arena_create(NULL) : NULL;

    for (size_t turn = 0; turn < 600; turn++) {
        size_t i = rng_below(&rng, HELD), bytes = sizeof(size_t) + rng_size(&rng, turn % 50 ? 11 : 16);
        check_and_free(blocks[i]);
        must((blocks[i] = arena_alloc(shared, bytes)) != NULL);
        blocks[i][0] = bytes;
        fill(blocks[i] + 1, bytes - sizeof(size_t), bytes);
        if (turn % 5 == 0)
            blocks[i] = atomic_exchange(&passed[rng_below(&rng, PASSED)], blocks[i]);
        if (own != NULL)
            must(arena_alloc(own, bytes) != NULL);
    }
    for (size_t i = 0; i < HELD; i++)
        check_and_free(blocks[i]);
    if (own != NULL)
        arena_destroy(own);
    lives++;
    return NULL;
}

static void *start_one_after_the_other(void *number)
{
    for (size_t life = (uintptr_t)number; !atomic_load_explicit(&stop, memory_order_relaxed); life += 100)
        run_thread(live_shortly, (void *)life);
    return NULL;
}

static int count_live(void *count, const arena_block_t *block)
{
    *(size_t *)count += block->state == ARENA_BLOCK_LIVE;
    return 0;
}

/* The child goes on with the caches of threads that it does not have. */
static void fork_and_use(void)
{
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        for (size_t i = 0; i < PASSED; i++)
            check_and_free(atomic_exchange(&passed[i], NULL));
        for (size_t i = 0; i < 2000; i++)
            arena_free(shared, arena_alloc(shared, i));
        _exit(arena_check(shared) == 0 ? 0 : 1);
    }
    int status;
    must(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void each_cache_has_one_owner_at_a_time(void **state)
{
    pthread_t starters[STARTERS];
    const double seconds = test_seconds(2.0);
    struct timespec begun, now;

    (void)state;
    shared = arena_create(NULL);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (size_t i = 0; i < STARTERS; i++)
        must(pthread_create(&starters[i], NULL, start_one_after_the_other, (void *)(i + 1)) == 0);
    for (size_t round = 0;; round++) {
        size_t live = 0;
        assert_int_equal(arena_check(shared), 0);
        assert_true(stats_of(shared).caches <= STARTERS + 1 + 16);
        assert_int_equal(arena_walk(shared, count_live, &live), 0);
        if (round % 3 == 0)
            arena_trim(round % 2 ? NULL : shared, 0);
        if (round % 8 == 0)
            fork_and_use();
        usleep(2000);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((double)(now.tv_sec - begun.tv_sec) + 1e-9 * (double)(now.tv_nsec - begun.tv_nsec) > seconds)
            break;
    }
    stop = true;
    for (size_t i = 0; i < STARTERS; i++)
        must(pthread_join(starters[i], NULL) == 0);
    for (size_t i = 0; i < PASSED; i++)
        check_and_free(atomic_exchange(&passed[i], NULL));
    print_message("%zu threads\n", (size_t)lives);
    assert_true(lives > 10);
    assert_int_equal(stats_of(shared).live_blocks, 0);
    assert_int_equal(arena_check(shared), 0);
    arena_destroy(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_cache_has_one_owner_at_a_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
