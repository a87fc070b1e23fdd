/*
 * asymmetric.c: the shipped asymmetric lock of thread caches under injected delays. Owners allocate and free in tight
 * loops, in more arenas than share their tables without colliding; signals stop them anywhere, inside the fast paths
 * too, for a while that is sometimes longer than a revoker waits. Meanwhile others trim, count, check and walk all
 * arenas. Every block keeps its contents, no healthy arena is called broken, and in the end every block is accounted
 * for. tests/model/asymmetric.c explores the protocol itself.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <stdatomic.h>

enum { OWNERS = 3, REVOKERS = 2, ARENAS = 40, HELD = 48 };

static uint64_t seed;
static arena_t *arenas[ARENAS];
static pthread_t owners[OWNERS];
static _Atomic bool stop;
static _Atomic size_t rounds, revocations, delays;
static _Thread_local uint32_t delay_state;

/* Async-signal-safe: spins or sleeps, up to 100 microseconds, or 30 milliseconds once in 256 times. */
static void delay(int signal_number)
{
    int saved = errno;
    struct timespec pause = {0, 0};

    (void)signal_number;
    delay_state = delay_state * 1664525u + 1013904223u;
    unsigned kind = delay_state >> 24;
    if (kind == 0) {
        pause.tv_nsec = 30 * 1000 * 1000;
    } else if (kind < 128) {
        pause.tv_nsec = (long)(kind * 800);
    } else {
        for (volatile unsigned spin = 0; spin < kind * 16; spin++) {
        }
    }
    if (pause.tv_nsec != 0)
        nanosleep(&pause, NULL);
    atomic_fetch_add_explicit(&delays, 1, memory_order_relaxed);
    errno = saved;
}

/* Mostly one arena for a while, as programs do; at times one after the other, so that slots are evicted. */
static arena_t *choose_arena(rng_t *rng, arena_t *last)
{
    return last == NULL || rng_below(rng, 8) == 0 ? arenas[rng_below(rng, ARENAS)] : last;
}

typedef struct {
    arena_t *arena;
    char *block;
    size_t bytes;
} held_t;

static void drop(held_t *held, uint64_t tag)
{
    if (held->block != NULL) {
        must(holds(held->block, held->bytes, tag));
        arena_free(held->arena, held->block);
        held->block = NULL;
    }
}

static void *own(void *number)
{
    held_t held[HELD] = {{NULL, NULL, 0}};
    rng_t rng = {seed + (uintptr_t)number};
    uint64_t tag = ((uint64_t)(uintptr_t)number + 1) << 32;
    arena_t *arena = NULL;

    delay_state = (uint32_t)rng_next(&rng);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        arena = choose_arena(&rng, arena);
        for (int turn = 0; turn < 200; turn++) {
            size_t i = rng_below(&rng, HELD);
            drop(&held[i], tag + i);
            held[i] = (held_t){arena, NULL, rng_size(&rng, rng_below(&rng, 16) ? 8 : 13)};
            must((held[i].block = arena_alloc(arena, held[i].bytes)) != NULL);
            fill(held[i].block, held[i].bytes, tag + i);
            void *passing = arena_alloc(arena, 32);
            must(passing != NULL && passing != held[i].block);
            arena_free(arena, passing);
        }
        atomic_fetch_add_explicit(&rounds, 1, memory_order_relaxed);
    }
    for (size_t i = 0; i < HELD; i++)
        drop(&held[i], tag + i);
    return NULL;
}

static int count_block(void *context, const arena_block_t *block)
{
    *(size_t *)context += block->state == ARENA_BLOCK_LIVE;
    return 0;
}

static void *reach(void *number)
{
    rng_t rng = {seed + 1000 + (uintptr_t)number};

    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        arena_t *arena = arenas[rng_below(&rng, ARENAS)];
        size_t blocks = 0;
        arena_stats_t stats;
        switch (rng_below(&rng, 6)) {
        case 0:
            arena_trim(arena, 0);
            break;
        case 1:
            arena_trim(NULL, MIB);
            break;
        case 2:
            must(arena_walk(arena, count_block, &blocks) == 0);
            must(blocks <= OWNERS * (HELD + 1) + 100000); /* a skipped cache's blocks count as live */
            break;
        case 3:
            stats = stats_of(arena);
            must(stats_add_up(&stats));
            must(stats.skipped_caches != 0 || stats.live_blocks <= OWNERS * (HELD + 1));
            break;
        default:
            must(arena_check(arena) == 0);
        }
        atomic_fetch_add_explicit(&revocations, 1, memory_order_relaxed);
        struct timespec pause = {0, (long)rng_below(&rng, 500) * 1000};
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void *disturb(void *unused)
{
    rng_t rng = {seed + 2000};

    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        pthread_kill(owners[rng_below(&rng, OWNERS)], SIGUSR1);
        struct timespec pause = {0, (long)rng_below(&rng, 300) * 1000};
        nanosleep(&pause, NULL);
    }
    return unused;
}

static void owners_that_stop_anywhere_lose_nothing_to_revokers(void **state)
{
    pthread_t revokers[REVOKERS], disturber;
    struct sigaction action = {.sa_handler = delay, .sa_flags = SA_RESTART};

    (void)state;
    must(sigaction(SIGUSR1, &action, NULL) == 0);
    for (size_t i = 0; i < ARENAS; i++)
        must((arenas[i] = arena_create(NULL)) != NULL);
    for (size_t i = 0; i < OWNERS; i++)
        must(pthread_create(&owners[i], NULL, own, (void *)(uintptr_t)i) == 0);
    for (size_t i = 0; i < REVOKERS; i++)
        must(pthread_create(&revokers[i], NULL, reach, (void *)(uintptr_t)i) == 0);
    must(pthread_create(&disturber, NULL, disturb, NULL) == 0);
    double end = now_seconds() + test_seconds(2.0);
    while (now_seconds() < end)
        usleep(10000);
    atomic_store(&stop, true);
    must(pthread_join(disturber, NULL) == 0);
    for (size_t i = 0; i < OWNERS; i++)
        must(pthread_join(owners[i], NULL) == 0);
    for (size_t i = 0; i < REVOKERS; i++)
        must(pthread_join(revokers[i], NULL) == 0);
    print_message("%zu rounds of 200, %zu revocations, %zu delays\n", rounds, revocations, delays);
    assert_true(rounds != 0 && revocations != 0 && delays != 0);
    for (size_t i = 0; i < ARENAS; i++) {
        arena_stats_t stats = stats_of(arenas[i]);
        assert_int_equal(stats.live_blocks, 0);
        assert_int_equal(stats.allocations, stats.frees);
        assert_true(stats_add_up(&stats));
        assert_int_equal(arena_check(arenas[i]), 0);
        arena_destroy(arenas[i]);
    }
}

/* --- no delays at all: an owner and a revoker as fast as they can, so that the store buffer matters --- */

static void *own_one_arena(void *unused)
{
    enum { FEW = 4 };
    char *blocks[FEW];

    for (uint64_t turn = 0; !atomic_load_explicit(&stop, memory_order_relaxed); turn++) {
        for (size_t i = 0; i < FEW; i++) {
            must((blocks[i] = arena_alloc(arenas[0], 64)) != NULL);
            fill(blocks[i], 64, turn * FEW + i);
        }
        for (size_t i = 0; i < FEW; i++) {
            must(holds(blocks[i], 64, turn * FEW + i));
            arena_free(arenas[0], blocks[i]);
        }
    }
    return unused;
}

static void *drain_one_arena(void *unused)
{
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        arena_trim(arenas[0], SIZE_MAX);
        atomic_fetch_add_explicit(&revocations, 1, memory_order_relaxed);
    }
    return unused;
}

static void a_tight_owner_loses_nothing_to_a_tight_revoker(void **state)
{
    pthread_t owner, drainer;

    (void)state;
    atomic_store(&stop, false);
    atomic_store(&revocations, 0);
    must((arenas[0] = arena_create(NULL)) != NULL);
    must(pthread_create(&owner, NULL, own_one_arena, NULL) == 0);
    must(pthread_create(&drainer, NULL, drain_one_arena, NULL) == 0);
    double end = now_seconds() + test_seconds(0.5);
    while (now_seconds() < end)
        usleep(10000);
    atomic_store(&stop, true);
    must(pthread_join(owner, NULL) == 0);
    must(pthread_join(drainer, NULL) == 0);
    print_message("%zu revocations\n", revocations);
    assert_int_equal(stats_of(arenas[0]).live_blocks, 0);
    assert_int_equal(arena_check(arenas[0]), 0);
    arena_destroy(arenas[0]);
}

/* --- destroying an arena beside threads that use others through the same slot --- */

static arena_t *_Atomic common[8];

static void *use_common(void *number)
{
    rng_t rng = {seed + 3000 + (uintptr_t)number};
    uint64_t tag = ((uint64_t)(uintptr_t)number + 1) << 32;
    arena_t *own_arenas[24] = {NULL};

    delay_state = (uint32_t)rng_next(&rng);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        size_t i = rng_below(&rng, 24);
        arena_destroy(own_arenas[i]); /* its handle and its caches serve again */
        must((own_arenas[i] = arena_create(NULL)) != NULL);
        for (int turn = 0; turn < 20; turn++) {
            arena_t *arena = turn % 2 ? own_arenas[i] : atomic_load(&common[rng_below(&rng, 8)]);
            char *blocks[4];
            for (size_t k = 0; k < 4; k++) {
                must((blocks[k] = arena_alloc(arena, 16 + 16 * k)) != NULL);
                fill(blocks[k], 16 + 16 * k, tag + k);
            }
            for (size_t k = 0; k < 4; k++) {
                must(holds(blocks[k], 16 + 16 * k, tag + k));
                arena_free(arena, blocks[k]);
            }
        }
        atomic_fetch_add_explicit(&rounds, 1, memory_order_relaxed);
    }
    for (size_t i = 0; i < 24; i++)
        arena_destroy(own_arenas[i]);
    return NULL;
}

static void arenas_come_and_go_beside_the_use_of_others(void **state)
{
    pthread_t disturber;

    (void)state;
    atomic_store(&stop, false);
    atomic_store(&rounds, 0);
    for (size_t i = 0; i < 8; i++) {
        arena_t *created = arena_create(NULL);
        must(created != NULL);
        atomic_store(&common[i], created);
    }
    for (size_t i = 0; i < OWNERS; i++)
        must(pthread_create(&owners[i], NULL, use_common, (void *)(uintptr_t)i) == 0);
    must(pthread_create(&disturber, NULL, disturb, NULL) == 0);
    double end = now_seconds() + test_seconds(1.0);
    while (now_seconds() < end) {
        arena_trim(NULL, 0);
        usleep(5000);
    }
    atomic_store(&stop, true);
    must(pthread_join(disturber, NULL) == 0);
    for (size_t i = 0; i < OWNERS; i++)
        must(pthread_join(owners[i], NULL) == 0);
    assert_true(rounds != 0);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(stats_of(common[i]).live_blocks, 0);
        assert_int_equal(arena_check(common[i]), 0);
        arena_destroy(common[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owners_that_stop_anywhere_lose_nothing_to_revokers),
        cmocka_unit_test(a_tight_owner_loses_nothing_to_a_tight_revoker),
        cmocka_unit_test(arenas_come_and_go_beside_the_use_of_others),
    };

    seed = test_seed(17);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
