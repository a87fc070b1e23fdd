/*
 * threads_exit.c: what a thread holds comes back when it ends: its caches' blocks serve others, thousands of
 * short threads leave nothing behind, and destructors of the application that run after the library's may
 * still free and allocate.
 */
#define _GNU_SOURCE
#include "../../arena/pagemap.h"
#include "../unit/one_arena.h"

#include <stdatomic.h>

enum { ORPHANS = 16 }; /* caches of ended threads that may wait for others */

/* The arena may come to lie on both sides of a multiple of 4 GiB. */
static const size_t few_bytes = MIB + sizeof(pagemap_leaf_t);

static void *live_shortly(void *number)
{
    rng_t rng = {(uintptr_t)number};
    void *blocks[100];

    for (size_t i = 0; i < 100; i++)
        must((blocks[i] = arena_alloc(arena, rng_size(&rng, 13))) != NULL);
    arena_free_batch(arena, blocks, 100);
    return NULL;
}

static void thousands_of_short_threads_leave_nothing_behind(void **state)
{
    const size_t rounds = (size_t)(2500 * test_seconds(1.0)) / (SLOWNESS > 1 ? 5 : 1);
    arena_stats_t early = {0}, early_process = {0};

    (void)state;
    for (size_t round = 0; round < rounds; round++) {
        run_threads(4, live_shortly);
        if (round == rounds / 10) {
            early = stats_of(arena);
            early_process = stats_of(NULL);
        }
    }
    arena_stats_t late = stats_of(arena), late_process = stats_of(NULL);
    assert_int_equal(late.live_blocks, 0);
    assert_true(late.caches <= 1 + ORPHANS);
    assert_true(stats_add_up(&late));
    /* which is what caches that serve thread after thread come to hold */
    assert_true(late.mapped_bytes <= early.mapped_bytes + 8 * MIB);
    assert_true(late_process.process_metadata_bytes <= early_process.process_metadata_bytes + few_bytes);
}

static void *fill_a_cache_and_end(void *unused)
{
    static void *blocks[20000];

    for (size_t i = 0; i < 20000; i++)
        must((blocks[i] = arena_alloc(arena, 200)) != NULL);
    arena_free_batch(arena, blocks, 20000);
    return unused;
}

static void blocks_of_ended_threads_serve_others(void **state)
{
    (void)state;
    run_threads(1, fill_a_cache_and_end);
    size_t mapped = stats_of(arena).mapped_bytes;
    for (size_t i = 0; i < 50; i++)
        run_threads(1, fill_a_cache_and_end);
    assert_true(stats_of(arena).mapped_bytes <= mapped + MIB);
    fill_a_cache_and_end(NULL);
    assert_true(stats_of(arena).mapped_bytes <= mapped + MIB);
}

/* --- destructors of the application --- */

enum { KEYS = 3 };

static pthread_key_t keys[KEYS];
static _Atomic size_t destructor_calls;

/* Frees what the thread left, allocates and frees more, and asks to be called again, three times. */
static void free_late(void *block)
{
    size_t round = *(size_t *)block, key = ((size_t *)block)[1];

    destructor_calls++;
    arena_free(arena, block);
    for (size_t size = 16; size < 100000; size *= 3) {
        void *late = arena_alloc(arena, size);
        must(late != NULL);
        fill(late, size, round);
        must(holds(late, size, round));
        arena_free(arena, late);
    }
    if (round == 3)
        return;
    size_t *next = arena_alloc(arena, 50 * (round + 1));
    must(next != NULL);
    next[0] = round + 1;
    next[1] = key;
    pthread_setspecific(keys[key], next);
}

static void *leave_blocks_to_destructors(void *number)
{
    live_shortly(number);
    for (size_t key = 0; key < KEYS; key++) {
        size_t *block = arena_alloc(arena, 64);
        must(block != NULL);
        block[0] = 1;
        block[1] = key;
        must(pthread_setspecific(keys[key], block) == 0);
    }
    return NULL;
}

/* Some of the keys are older than the library's own, some younger: keys are destroyed by their number. */
static int create_keys_around_the_librarys(void **state)
{
    (void)state;
    must(pthread_key_create(&keys[0], free_late) == 0);
    arena = arena_create(NULL);
    arena_free(arena, arena_alloc(arena, 1));
    for (size_t key = 1; key < KEYS; key++)
        must(pthread_key_create(&keys[key], free_late) == 0);
    return arena == NULL;
}

static int delete_keys(void **state)
{
    for (size_t key = 0; key < KEYS; key++)
        must(pthread_key_delete(keys[key]) == 0);
    return close_arena(state);
}

static void destructors_may_free_and_allocate_in_every_round(void **state)
{
    const size_t rounds = (size_t)(300 * test_seconds(1.0)) / SLOWNESS + 10;
    size_t process = 0;

    (void)state;
    destructor_calls = 0;
    for (size_t round = 0; round < rounds; round++) {
        run_threads(8, leave_blocks_to_destructors);
        if (round == 5)
            process = stats_of(NULL).process_metadata_bytes;
    }
    assert_int_equal(destructor_calls, rounds * 8 * KEYS * 3);
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.live_blocks, 0);
    assert_true(stats.caches <= 1 + ORPHANS);
    assert_true(stats_add_up(&stats));
    assert_true(stats_of(NULL).process_metadata_bytes <= process + few_bytes);
}

/* --- a thread that ends while arenas that it used are being destroyed --- */

static arena_t *many[64];
static pthread_barrier_t used;

static void *use_many_and_end(void *number)
{
    for (size_t i = 0; i < 64; i++)
        for (size_t k = 0; k < 30; k++)
            arena_free(many[i], arena_alloc(many[i], 8 * k));
    pthread_barrier_wait(&used);
    return number;
}

static void threads_may_end_while_their_arenas_are_destroyed(void **state)
{
    const size_t rounds = (size_t)(150 * test_seconds(1.0)) / SLOWNESS + 10;

    (void)state;
    must(pthread_barrier_init(&used, NULL, 5) == 0);
    for (size_t round = 0; round < rounds; round++) {
        pthread_t threads[4];
        for (size_t i = 0; i < 64; i++)
            must((many[i] = arena_create(NULL)) != NULL);
        for (size_t i = 0; i < 4; i++)
            must(pthread_create(&threads[i], NULL, use_many_and_end, NULL) == 0);
        pthread_barrier_wait(&used);
        for (size_t i = 0; i < 64; i++)
            arena_destroy(many[i]);
        for (size_t i = 0; i < 4; i++)
            must(pthread_join(threads[i], NULL) == 0);
    }
    pthread_barrier_destroy(&used);
    assert_int_equal(stats_of(NULL).arenas, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(destructors_may_free_and_allocate_in_every_round,
                                        create_keys_around_the_librarys, delete_keys),
        in_arena(thousands_of_short_threads_leave_nothing_behind),
        in_arena(blocks_of_ended_threads_serve_others),
        in_arena(threads_may_end_while_their_arenas_are_destroyed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
