/*
 * fork_handlers_first.c: handlers for fork that were registered before the library's, by a constructor of the program's that is
 * earlier still: they run between ours, with every lock held and every cache stopped, and may call anything all the same.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <pthread.h>

enum { THREADS = 3, CACHED = 50 };

static arena_t *arena;
static pthread_barrier_t cached, forked;

static void use_everything(void)
{
    static const size_t sizes[] = {100, 5000, 100000, 1000000};
    arena_stats_t stats;

    if (arena == NULL)
        return;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = arena_alloc(arena, sizes[i]);
        must(block != NULL);
        arena_free(arena, block);
    }
    arena_destroy(arena_create(NULL));
    must(arena_check(arena) == 0);
    arena_stats(NULL, &stats, sizeof stats);
    must(stats_of(arena).live_blocks == 0 && stats_of(arena).skipped_caches == 0);
    arena_trim(arena, 0);
    arena_thread_flush();
}

__attribute__((constructor(101))) static void register_first(void)
{
    must(pthread_atfork(use_everything, use_everything, use_everything) == 0);
}

/* Sleeps through the fork with blocks in its cache. */
static void *cache_blocks(void *unused)
{
    void *blocks[CACHED];

    for (size_t i = 0; i < CACHED; i++)
        must((blocks[i] = arena_alloc(arena, 200)) != NULL);
    for (size_t i = 0; i < CACHED; i++)
        arena_free(arena, blocks[i]);
    pthread_barrier_wait(&cached);
    pthread_barrier_wait(&forked);
    arena_free(arena, arena_alloc(arena, 200));
    return unused;
}

static int use_it(void *unused)
{
    (void)unused;
    use_everything();
    return 0;
}

/* What was taken for the fork has been given back: another can be made. */
static int fork_again(void *unused)
{
    (void)unused;
    use_everything();
    must_end_well(status_of_child(use_it, NULL, 20));
    return 0;
}

static void handlers_that_run_between_ours_may_call_anything(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    arena = arena_create(NULL);
    must(arena != NULL && pthread_barrier_init(&cached, NULL, THREADS + 1) == 0 &&
         pthread_barrier_init(&forked, NULL, THREADS + 1) == 0);
    for (size_t i = 0; i < THREADS; i++)
        start_thread(&threads[i], cache_blocks, NULL);
    pthread_barrier_wait(&cached);
    must_end_well(status_of_child(fork_again, NULL, 30));
    use_everything();
    pthread_barrier_wait(&forked);
    for (size_t i = 0; i < THREADS; i++)
        must(pthread_join(threads[i], NULL) == 0);
    must_end_well(status_of_child(fork_again, NULL, 30));
    arena_destroy(arena);
    arena = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handlers_that_run_between_ours_may_call_anything),
    };

    alarm(60); /* an end to every deadlock */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
