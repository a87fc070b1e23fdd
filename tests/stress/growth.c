/*
 * growth.c: who makes an arena grow gets what it asked for at once, though others that want as much wait beside it and
 * what is free goes back to the kernel. Signals stop the threads for a moment anywhere, between growth and use too.
 */
#define _GNU_SOURCE
#include "../../arena/heap.h"
#include "../support.h"

#include <stdatomic.h>

enum { THREADS = 4, HELD = 8 };

static arena_t *arena;
static _Atomic bool stop;
static _Atomic size_t delays;

static void pause_a_moment(int signal_number)
{
    int saved = errno;

    (void)signal_number;
    nanosleep(&(struct timespec){0, 30 * 1000}, NULL); /* async-signal-safe */
    atomic_fetch_add_explicit(&delays, 1, memory_order_relaxed);
    errno = saved;
}

/* Just below what gets a mapping of its own, so that a region serves few. */
static void *allocate_and_free(void *number)
{
    rng_t rng = {(uintptr_t)number + 1};
    char *blocks[HELD];

    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        for (size_t i = 0; i < HELD; i++) {
            blocks[i] = arena_alloc(arena, MIB - 1 - rng_below(&rng, 100 * KIB));
            must(blocks[i] != NULL);
            *blocks[i] = 1;
        }
        for (size_t i = 0; i < HELD; i++)
            arena_free(arena, blocks[i]);
        arena_trim(arena, 0);
    }
    return NULL;
}

static void growth_is_for_who_asked(arena_source_t source)
{
    arena_options_t options = {.source = source, .flags = ARENA_NO_CACHE};
    pthread_t threads[THREADS];
    double until = now_seconds() + test_seconds(0.5);

    must((arena = arena_create(&options)) != NULL);
    stop = false;
    for (size_t i = 0; i < THREADS; i++)
        start_thread(&threads[i], allocate_and_free, (void *)i);
    for (size_t i = 0; now_seconds() < until || i < 100; i++) {
        must(pthread_kill(threads[i % THREADS], SIGUSR1) == 0);
        usleep(50);
    }
    stop = true;
    for (size_t i = 0; i < THREADS; i++)
        must(pthread_join(threads[i], NULL) == 0);
    assert_true(delays > 0);
    assert_int_equal(arena->failed_at_ms, 0); /* none failed at first, to be met by what a reclaim found */
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

static void regions_of_mmap_and_the_break(void **state)
{
    (void)state;
    must(sigaction(SIGUSR1, &(struct sigaction){.sa_handler = pause_a_moment, .sa_flags = SA_RESTART},
                   NULL) == 0);
    growth_is_for_who_asked(ARENA_SOURCE_MMAP);
    growth_is_for_who_asked(ARENA_SOURCE_SBRK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(regions_of_mmap_and_the_break)};

    alarm(150);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
