/*
 * log_threads.c: threads allocate, resize and free blocks of shared slots under a log: every line is whole, none is
 * lost, and in the order of their times they tell a story that can be true, up to what the arena then says it holds.
 * And logs, scribbling and caches come and go beside threads that use the arena.
 */
#define _GNU_SOURCE
#include "../../arena/watch.h"
#include "../log_support.h"

#include <stdatomic.h>

enum { THREADS = 4, SLOTS = 64, ROUNDS = 20000 / SLOWNESS };

static arena_t *arena;
static _Atomic(char *) slots[SLOTS];
static _Atomic bool stop;

static char *change(rng_t *rng, char *block)
{
    size_t size = rng_below(rng, 60) == 0 ? rng_size(rng, 20) : rng_size(rng, 12);

    switch (rng_below(rng, 5)) {
    case 0:
        block = arena_realloc(arena, block, size);
        break;
    case 1:
        arena_free(arena, block);
        block = arena_calloc(arena, 1, size);
        break;
    case 2:
        arena_free(arena, block);
        block = arena_alloc_named(arena, size, "named");
        break;
    default:
        arena_free(arena, block);
        block = rng_below(rng, 3) == 0 ? arena_aligned_alloc(arena, 64, size) : arena_alloc(arena, size);
        break;
    }
    must(block != NULL);
    return block;
}

static void turn(rng_t *rng)
{
    char *block = atomic_exchange(&slots[rng_below(rng, SLOTS)], NULL);

    block = block == NULL ? arena_alloc(arena, rng_size(rng, 12)) : change(rng, block);
    arena_free(arena, atomic_exchange(&slots[rng_below(rng, SLOTS)], block));
}

static void *rounds(void *number)
{
    rng_t rng = {(uintptr_t)number + 1};

    for (size_t i = 0; i < ROUNDS; i++)
        turn(&rng);
    return NULL;
}

static void the_log_tells_what_the_arena_holds(unsigned flags)
{
    arena = arena_create(&(arena_options_t){.flags = flags, .trim_threshold_bytes = MIB});
    must(arena_log_open(arena, fresh_log()));
    run_threads(THREADS, rounds);
    arena_stats_t stats = stats_of(arena);
    assert_true(arena_log_close(arena));
    entries_t log = read_log(log_path);
    replayed_t done = replay(&log, 0);
    assert_int_equal(done.live_blocks, stats.live_blocks);
    assert_int_equal(done.live_bytes, stats.live_bytes);
    assert_int_equal(done.allocations - done.frees, stats.live_blocks);
    assert_true(log.count > (size_t)THREADS * ROUNDS);
    end_log(&log);
    for (size_t i = 0; i < SLOTS; i++)
        arena_free(arena, atomic_exchange(&slots[i], NULL));
    assert_int_equal(stats_of(arena).live_blocks, 0);
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

static void lines_of_many_threads_are_whole_and_complete(void **state)
{
    (void)state;
    the_log_tells_what_the_arena_holds(0);
    the_log_tells_what_the_arena_holds(ARENA_NO_SLABS | ARENA_SCRIBBLE);
}

static void *until_stopped(void *number)
{
    rng_t rng = {(uintptr_t)number + 100};

    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        turn(&rng);
    return NULL;
}

static void logs_and_scribbling_come_and_go_beside_threads(void **state)
{
    pthread_t threads[THREADS];
    double until = now_seconds() + test_seconds(1.5);
    size_t logs = 0;

    (void)state;
    must((arena = arena_create(NULL)) != NULL);
    fresh_log();
    for (size_t i = 0; i < THREADS; i++)
        start_thread(&threads[i], until_stopped, (void *)i);
    for (; logs < 4 || now_seconds() < until; logs++) {
        must(truncate(log_path, 0) == 0);
        double began = now_seconds();
        must(arena_log_open(arena, log_path));
        /* A thread that was preempted inside a fast path is given up, and keeps what it has cached. */
        bool gave_up = now_seconds() - began > REVOKE_POLL_MS / 2000.0;
        usleep(1000);
        arena_stats_t stats = stats_of(arena); /* what was under way has filled no cache again */
        must(stats.cached_blocks == 0 || stats.skipped_caches != 0 || gave_up);
        watch_switch(arena, WATCH_SCRIBBLE, logs % 2 == 0);
        usleep(1000);
        must(arena_log_close(arena));
        usleep(1000);
        must(arena_check(arena) == 0);
        arena_trim(arena, 0);
    }
    stop = true;
    for (size_t i = 0; i < THREADS; i++)
        must(pthread_join(threads[i], NULL) == 0);
    entries_t log = read_log(log_path);
    end_log(&log);
    for (size_t i = 0; i < SLOTS; i++)
        arena_free(arena, atomic_exchange(&slots[i], NULL));
    arena_trim(arena, 0);
    assert_int_equal(stats_of(arena).live_blocks, 0);
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

static void *close_it(void *unused)
{
    while (!arena_log_close(arena))
        must(errno == EINVAL); /* it is not open yet */
    return unused;
}

/* An arena without a log may have caches, whoever closed it and when. */
static void closing_beside_opening_leaves_no_flag(void **state)
{
    double until = now_seconds() + test_seconds(0.5);

    (void)state;
    must((arena = arena_create(NULL)) != NULL);
    fresh_log();
    while (now_seconds() < until) {
        pthread_t thread;
        start_thread(&thread, close_it, NULL);
        must(arena_log_open(arena, log_path));
        must(pthread_join(thread, NULL) == 0);
        must((watch_of(arena) & WATCH_LOG) == 0);
    }
    unlink(log_path);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_many_threads_are_whole_and_complete),
        cmocka_unit_test(logs_and_scribbling_come_and_go_beside_threads),
        cmocka_unit_test(closing_beside_opening_leaves_no_flag),
    };

    alarm(150);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
