/* test_tcache_bound.c: what all caches together may keep from the rest: blocks that pin slabs, threads that only free. */
#define _GNU_SOURCE
#include "../../arena/cachehook.h"
#include "../../tcache/depot.h"
#include "tcache_support.h"

enum { PHASE_BYTES = 4 * 1024 * 1024, MOST_BLOCKS = PHASE_BYTES / 32 };

static void *blocks[MOST_BLOCKS];

/* Fills PHASE_BYTES with blocks of one size, and frees them in random order, but for the last one in each `kept`. */
static void phase(size_t size, size_t kept)
{
    rng_t rng = {size};
    size_t count = PHASE_BYTES / size;

    must(arena_alloc_batch(arena, size, count, blocks) == count);
    for (size_t i = count; i-- > 1;) {
        size_t j = rng_below(&rng, i + 1);
        void *swapped = blocks[i];
        blocks[i] = blocks[j];
        blocks[j] = swapped;
    }
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || i % kept != 0)
            arena_free(arena, blocks[i]);
}

/* A class's cached blocks, half a MB, lie in each of its slabs: none of them would ever be another class's. */
static void phases_of_one_size_each_take_turns_in_the_same_memory(void **state)
{
    static const size_t sizes[] = {32, 112, 320, 48, 1024, 768, 208, 4096, 64, 2560, 160, 896, 80, 1280};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        phase(sizes[i], 0);
    assert_true(stats_of(arena).peak_mapped_bytes <= 2 * PHASE_BYTES);
}

static void *free_at_random_and_sleep(void *barrier)
{
    phase(64, 0);
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return NULL;
}

static void so_do_those_of_a_thread_that_sleeps_now(void **state)
{
    pthread_t thread;
    pthread_barrier_t barrier;

    (void)state;
    must(pthread_barrier_init(&barrier, NULL, 2) == 0);
    start_thread(&thread, free_at_random_and_sleep, &barrier);
    pthread_barrier_wait(&barrier);
    size_t before = stats_of(arena).mapped_bytes;
    phase(1024, 0);
    assert_true(stats_of(arena).mapped_bytes <= before + PHASE_BYTES / 4);
    pthread_barrier_wait(&barrier);
    must(pthread_join(thread, NULL) == 0 && pthread_barrier_destroy(&barrier) == 0);
}

static void grow(void)
{
    size_t mapped = stats_of(arena).mapped_bytes;

    while (stats_of(arena).mapped_bytes == mapped)
        take(5000);
}

/* It is not tried again and again: what lives pins them all the same. */
static void caches_stay_where_what_lives_pins_the_slabs(void **state)
{
    enum { COUNT = 256 };

    (void)state;
    phase(64, 50);
    phase(96, 50);
    grow();
    must(arena_alloc_batch(arena, 256, COUNT, blocks) == COUNT);
    arena_free_batch(arena, blocks, COUNT);
    grow();
    take(16); /* so that the thread finds its cache again */
    unsigned class = sizeclass_of(256);
    assert_true(cache_held_bytes(own_cache(), class) - cache_held_bytes(own_cache(), class + 1) >=
                COUNT * 256 / 2);
}

/* Kept in full magazines, it would be given out again, and the slabs with few blocks would never be empty. */
static void what_comes_back_goes_home_where_slabs_have_much_room(void **state)
{
    enum { COUNT = 512, SIZE = 64 };
    unsigned class = sizeclass_of(SIZE);

    (void)state;
    phase(SIZE, 8);
    arena_trim(arena, SIZE_MAX);
    must(slab_is_sparse(arena, class));
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = take(SIZE);
    for (size_t i = 0; i < COUNT; i++)
        arena_free(arena, blocks[i]);
    assert_in_range(cache_held_bytes(own_cache(), class) - cache_held_bytes(own_cache(), class + 1), SIZE,
                    magazine_bytes(class));
    assert_true(depot_of(arena) == NULL || depot_held_bytes(depot_of(arena), 1) == 0);
}

static size_t held_of(size_t size)
{
    unsigned class = sizeclass_of(size);

    return cache_held_bytes(own_cache(), class) - cache_held_bytes(own_cache(), class + 1) +
           depot_held_bytes(depot_of(arena), class) - depot_held_bytes(depot_of(arena), class + 1);
}

/* What was kept before they had; of other classes not before it stood still from one decay to the next. */
static void there_the_first_decay_takes_all_home(void **state)
{
    enum { COUNT = 256, TRIES = 20 };
    size_t held = 0, tries = 0;

    (void)state;
    do { /* again if it was so slow that the decay came in between */
        arena_reset(arena);
        phase(64, 50);
        must(slab_is_sparse(arena, sizeclass_of(64)));
        must(arena_alloc_batch(arena, 256, COUNT, blocks) == COUNT);
        for (size_t i = 0; i < COUNT; i++)
            arena_free(arena, blocks[i]);
        held = held_of(256);
    } while ((held_of(64) <= 64 * KIB || held <= 16 * KIB) && ++tries < TRIES);
    assert_true(tries < TRIES);
    must(depot_of(arena)->held_bytes != 0);
    must(usleep((PURGE_DELAY_MS + 10) * 1000) == 0);
    churn(TICK_ALLOCATIONS + 1, 1024);
    assert_int_equal(held_of(64), 0);
    assert_int_equal(held_of(256), held);
}

static void *free_all_and_sleep(void *barrier)
{
    for (size_t i = 0; i < MOST_BLOCKS; i++)
        arena_free(arena, blocks[i]);
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return NULL;
}

static size_t held_by_others(void)
{
    size_t bytes = 0;

    for (const cache_t *cache = arena->caches; cache != NULL; cache = cache->next_in_arena)
        bytes += cache->thread->thread == &thread_self ? 0 : cache_held_bytes(cache, 1);
    return bytes;
}

/* It never takes back what it has: who allocates gets it from the depot. */
static void who_only_frees_keeps_little(void **state)
{
    pthread_t thread;
    pthread_barrier_t barrier;
    size_t most = CACHE_FIRST_BYTES;

    (void)state;
    for (size_t i = 0, size = 16; i < MOST_BLOCKS; i++, size = size < 1024 ? 17 * size / 16 : 16)
        must((blocks[i] = arena_alloc(arena, size)) != NULL);
    for (unsigned class = 1; class <= SMALL_CLASSES; class ++)
        most += magazine_bytes(class);
    must(pthread_barrier_init(&barrier, NULL, 2) == 0);
    start_thread(&thread, free_all_and_sleep, &barrier);
    pthread_barrier_wait(&barrier);
    assert_in_range(held_by_others(), 1, most);
    pthread_barrier_wait(&barrier);
    must(pthread_join(thread, NULL) == 0 && pthread_barrier_destroy(&barrier) == 0);
}

static void *stay_inside(void *barrier)
{
    void *block = take(64);

    arena_free(arena, block);
    cache_enter(&thread_self);
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    cache_leave(&thread_self);
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return NULL;
}

/* A thread that lost its CPU there may not get it back for long. */
static void growth_does_not_wait_for_who_is_inside(void **state)
{
    pthread_t thread;
    pthread_barrier_t barrier;
    double least = 1;

    (void)state;
    must(pthread_barrier_init(&barrier, NULL, 2) == 0);
    start_thread(&thread, stay_inside, &barrier);
    pthread_barrier_wait(&barrier);
    size_t held = held_by_others();
    assert_true(held >= 64);
    for (int i = 0; i < 5; i++) {
        void *culprit;
        double began = now_seconds();
        assert_int_equal(cachehook_reclaim(arena, REACH_IDLE, &culprit), MISUSE_NONE);
        double took = now_seconds() - began;
        least = took < least ? took : least;
        assert_int_equal(held_by_others(), held);
    }
    assert_true(least < REVOKE_POLL_MS / 2000.0);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    void *culprit;
    assert_int_equal(cachehook_reclaim(arena, REACH_IDLE, &culprit), MISUSE_NONE);
    assert_int_equal(held_by_others(), 0);
    pthread_barrier_wait(&barrier);
    must(pthread_join(thread, NULL) == 0 && pthread_barrier_destroy(&barrier) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_arena(phases_of_one_size_each_take_turns_in_the_same_memory),
        in_arena(so_do_those_of_a_thread_that_sleeps_now),
        in_arena(growth_does_not_wait_for_who_is_inside),
        in_arena(who_only_frees_keeps_little),
        in_arena(what_comes_back_goes_home_where_slabs_have_much_room),
        in_arena(there_the_first_decay_takes_all_home),
        in_arena(caches_stay_where_what_lives_pins_the_slabs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
