/*
 * named_blocks.c: threads name, rename, resize and free blocks of shared slots, so that most are freed by another
 * thread than the one that named them, while one walks, checks and trims. No name outlives its block, none is
 * lost, and what a granule's mark costs nobody is correctness.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <stdatomic.h>

enum { THREADS = 4, SLOTS = 256 };

static arena_t *arena;
static _Atomic(uint64_t *) slots[SLOTS]; /* the block's first word says whether, and how, it is named */
static _Atomic bool stop;

static void expect_name(uint64_t *block)
{
    char expected[32];
    const char *name = arena_name_of(arena, block);

    if (*block == 0) {
        must(name == NULL);
        return;
    }
    snprintf(expected, sizeof expected, "name %llu", (unsigned long long)*block);
    must(name != NULL && strcmp(name, expected) == 0);
}

static void rename_block(uint64_t *block, uint64_t number)
{
    char name[32];

    snprintf(name, sizeof name, "name %llu", (unsigned long long)number);
    must(arena_set_name(arena, block, number == 0 ? NULL : name));
    *block = number;
}

static uint64_t *make(rng_t *rng)
{
    uint64_t *block =
        arena_alloc(arena, 8 + (rng_below(rng, 40) == 0 ? rng_size(rng, 19) : rng_size(rng, 9)));

    must(block != NULL && arena_name_of(arena, block) == NULL);
    *block = 0;
    if (rng_below(rng, 3) == 0)
        rename_block(block, 1 + rng_below(rng, 50));
    return block;
}

static void *hammer(void *number)
{
    rng_t rng = {(uintptr_t)number + 1};

    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t *block = atomic_exchange(&slots[rng_below(&rng, SLOTS)], NULL);
        if (block == NULL) {
            block = make(&rng);
        }
        expect_name(block);
        switch (rng_below(&rng, 4)) {
        case 0:
            rename_block(block, rng_below(&rng, 50));
            break;
        case 1:
            block = arena_realloc(arena, block, 8 + rng_size(&rng, 12));
            must(block != NULL);
            expect_name(block);
            break;
        default:
            arena_free(arena, block);
            block = make(&rng);
            break;
        }
        arena_free(arena, atomic_exchange(&slots[rng_below(&rng, SLOTS)], block));
    }
    return NULL;
}

static int count_named(void *context, const arena_block_t *block)
{
    if (block->name != NULL) {
        ++*(size_t *)context;
        must(block->state == ARENA_BLOCK_LIVE && strncmp(block->name, "name ", 5) == 0);
    }
    return 0;
}

static void *watch(void *unused)
{
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        size_t named = 0;
        must(arena_walk(arena, count_named, &named) == 0);
        must(arena_check(arena) == 0);
        arena_trim(arena, 0);
        usleep(1000);
    }
    return unused;
}

static void hammer_arena(unsigned flags)
{
    pthread_t threads[THREADS + 1];

    arena = arena_create(&(arena_options_t){.flags = flags});
    stop = false;
    for (size_t i = 0; i < THREADS; i++)
        start_thread(&threads[i], hammer, (void *)i);
    start_thread(&threads[THREADS], watch, NULL);
    double until = now_seconds() + test_seconds(1.5) / 2;
    while (now_seconds() < until)
        usleep(10000);
    stop = true;
    for (size_t i = 0; i <= THREADS; i++)
        must(pthread_join(threads[i], NULL) == 0);
    size_t expected = 0, named = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        uint64_t *block = slots[i];
        if (block != NULL)
            expect_name(block);
        expected += block != NULL && *block != 0;
    }
    must(arena_walk(arena, count_named, &named) == 0);
    assert_int_equal(named, expected);
    for (size_t i = 0; i < SLOTS; i++)
        arena_free(arena, atomic_exchange(&slots[i], NULL));
    named = 0;
    must(arena_walk(arena, count_named, &named) == 0);
    assert_int_equal(named, 0);
    assert_int_equal(arena_check(arena), 0);
    assert_int_equal(stats_of(arena).live_blocks, 0);
    arena_destroy(arena);
}

static void names_follow_their_blocks_from_thread_to_thread(void **state)
{
    (void)state;
    hammer_arena(0);
    hammer_arena(ARENA_NO_CACHE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_follow_their_blocks_from_thread_to_thread),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
