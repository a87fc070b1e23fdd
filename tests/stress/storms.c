/*
 * storms.c: arenas are created, used and destroyed from 32 threads at once; arenas that one thread created
 * are used by many, reset, and destroyed by yet another, so that handles and caches are recycled.
 */
#define _GNU_SOURCE
#include "../support.h"

enum { THREADS = 32, SLOTS = 12 };

static double until;
static uint64_t seed;

/* Blocks of many sizes with contents, some freed in between. */
static void use(arena_t *arena, rng_t *rng, size_t count, bool free_all)
{
    enum { MOST = 64 };
    char *blocks[MOST];
    size_t bytes[MOST];

    must(count <= MOST);
    for (size_t i = 0; i < count; i++) {
        bytes[i] = rng_below(rng, 60) == 0 ? rng_size(rng, 20) : rng_size(rng, 10);
        must((blocks[i] = arena_alloc(arena, bytes[i])) != NULL);
        fill(blocks[i], bytes[i], i);
        if (i % 3 == 0) {
            size_t victim = rng_below(rng, i + 1);
            if (blocks[victim] != NULL)
                must(holds(blocks[victim], bytes[victim], victim));
            arena_free(arena, blocks[victim]);
            blocks[victim] = NULL;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (blocks[i] != NULL) {
            must(holds(blocks[i], bytes[i], i));
            must(arena_of(blocks[i]) == arena);
            if (free_all)
                arena_free(arena, blocks[i]);
        }
}

static void *create_use_destroy(void *number)
{
    rng_t rng = {seed + (uintptr_t)number};

    while (now_seconds() < until) {
        arena_t *arena = arena_create(&(arena_options_t){
            .fit = (arena_fit_t)rng_below(&rng, 5),
            .flags =
                rng_below(&rng, 4) == 0 ? (unsigned)rng_below(&rng, 128) & ~(unsigned)ARENA_PREFAULT : 0});
        must(arena != NULL);
        use(arena, &rng, rng_below(&rng, 64), false);
        if (rng_below(&rng, 3) == 0) {
            arena_reset(arena);
            must(stats_of(arena).live_blocks == 0);
            use(arena, &rng, 20, rng_below(&rng, 2));
        }
        arena_destroy(arena);
    }
    return NULL;
}

static void thirty_two_threads_create_use_and_destroy(void **state)
{
    (void)state;
    size_t before = stats_of(NULL).arenas;
    until = now_seconds() + test_seconds(1.0);
    run_threads(THREADS, create_use_destroy);
    assert_int_equal(stats_of(NULL).arenas, before);
}

/* An arena that many use, under a lock for the one promise that destroy and reset ask for. */
typedef struct {
    pthread_rwlock_t lock;
    arena_t *arena;
} slot_t;

static slot_t slots[SLOTS];

static void replace(slot_t *slot, rng_t *rng)
{
    must(pthread_rwlock_wrlock(&slot->lock) == 0);
    if (rng_below(rng, 3) == 0) {
        arena_reset(slot->arena);
        must(stats_of(slot->arena).live_blocks == 0);
    } else {
        must(rng_below(rng, 8) != 0 || arena_check(slot->arena) == 0);
        arena_destroy(slot->arena);
        must((slot->arena = arena_create(NULL)) != NULL);
    }
    must(pthread_rwlock_unlock(&slot->lock) == 0);
}

static void *share_and_replace(void *number)
{
    rng_t rng = {seed + 1000 + (uintptr_t)number};

    while (now_seconds() < until) {
        slot_t *slot = &slots[rng_below(&rng, SLOTS)];
        if (rng_below(&rng, 20) == 0) {
            replace(slot, &rng);
            continue;
        }
        must(pthread_rwlock_rdlock(&slot->lock) == 0);
        for (size_t k = rng_below(&rng, 6); k > 0; k--)
            use(slot->arena, &rng, rng_below(&rng, 64), rng_below(&rng, 2));
        must(pthread_rwlock_unlock(&slot->lock) == 0);
        if (rng_below(&rng, 100) == 0)
            arena_thread_flush();
    }
    return NULL;
}

static void arenas_created_here_are_used_there_and_destroyed_elsewhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < SLOTS; i++) {
        must(pthread_rwlock_init(&slots[i].lock, NULL) == 0);
        must((slots[i].arena = arena_create(NULL)) != NULL);
    }
    until = now_seconds() + test_seconds(1.5);
    run_threads(THREADS, share_and_replace);
    for (size_t i = 0; i < SLOTS; i++) {
        arena_stats_t stats = stats_of(slots[i].arena);
        assert_true(stats_add_up(&stats));
        assert_int_equal(arena_check(slots[i].arena), 0);
        arena_destroy(slots[i].arena);
        pthread_rwlock_destroy(&slots[i].lock);
    }
    assert_int_equal(stats_of(NULL).arenas, 0);
}

static void one_thread_may_have_thousands_of_arenas(void **state)
{
    enum { MANY = 5000 };
    static arena_t *arenas[MANY];
    rng_t rng = {seed};

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        must((arenas[i] = arena_create(NULL)) != NULL);
        use(arenas[i], &rng, 3, false);
    }
    assert_int_equal(stats_of(NULL).arenas, MANY);
    for (size_t i = 0; i < MANY; i += 50) {
        use(arenas[i], &rng, 50, false);
        assert_int_equal(arena_check(arenas[i]), 0);
    }
    for (size_t i = 0; i < MANY; i++)
        arena_destroy(arenas[i]);
    assert_int_equal(stats_of(NULL).arenas, 0);
    for (double end = now_seconds() + 20; stats_of(NULL).stock_bytes > 16 * MIB && now_seconds() < end;) {
        arena_t *one = arena_create(NULL); /* what they left goes as time does, where something is done */
        use(one, &rng, 3, false);
        arena_destroy(one);
        must(usleep(10000) == 0);
    }
    assert_true(stats_of(NULL).stock_bytes <= 16 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thirty_two_threads_create_use_and_destroy),
        cmocka_unit_test(arenas_created_here_are_used_there_and_destroyed_elsewhere),
        cmocka_unit_test(one_thread_may_have_thousands_of_arenas),
    };

    seed = test_seed(1231);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
