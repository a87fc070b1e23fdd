/*
 * foreign_sbrk.c: others move the break between two moves of an arena that owns it. Their memory is never
 * touched, ours is never merged across it, and trimming resumes when the break is ours again.
 *
 * One thread only, as the contract of ARENA_SOURCE_SBRK asks.
 */
#define _GNU_SOURCE
#include "../unit/one_arena.h"

enum { MOST = 4000, MOST_FOREIGN = 64 };

typedef struct {
    char *start;
    size_t bytes;
} foreign_t;

static uint64_t seed;
static char *blocks[MOST];
static size_t sizes[MOST], held;
static foreign_t foreign[MOST_FOREIGN];
static size_t foreigners;

static int open_by_sbrk(void **state)
{
    const arena_options_t *options = *state;

    held = foreigners = 0;
    return (arena = arena_create(options)) == NULL;
}

static void take_foreign(size_t bytes)
{
    char *start = sbrk((intptr_t)bytes);

    must(start != (char *)-1 && foreigners < MOST_FOREIGN);
    fill(start, bytes, foreigners);
    foreign[foreigners++] = (foreign_t){start, bytes};
}

/* Gives back the last foreign piece; only where it ends at the break. */
static bool give_foreign(void)
{
    if (foreigners == 0 || foreign[foreigners - 1].start + foreign[foreigners - 1].bytes != (char *)sbrk(0))
        return false;
    must(sbrk(-(intptr_t)foreign[--foreigners].bytes) != (void *)-1);
    return true;
}

static void hold(size_t bytes)
{
    must(held < MOST);
    must((blocks[held] = arena_alloc(arena, bytes)) != NULL);
    fill(blocks[held], bytes, held);
    sizes[held++] = bytes;
}

static void free_range(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        must(blocks[i] == NULL || holds(blocks[i], sizes[i], i));
        arena_free(arena, blocks[i]);
        blocks[i] = NULL;
    }
}

static void everything_is_intact(void)
{
    arena_stats_t stats = stats_of(arena);

    for (size_t i = 0; i < foreigners; i++)
        assert_true(holds(foreign[i].start, foreign[i].bytes, i));
    for (size_t i = 0; i < held; i++)
        assert_true(blocks[i] == NULL || holds(blocks[i], sizes[i], i));
    assert_int_equal(arena_check(arena), 0);
    assert_true(stats_add_up(&stats));
}

static void foreign_memory_is_neither_touched_nor_given_back(void **state)
{
    (void)state;
    for (size_t round = 0; round < 10; round++) {
        for (size_t i = 0; i < 100; i++)
            hold(5000);
        take_foreign(5000 + round * 777);
        everything_is_intact();
    }
    free_range(0, held);
    arena_trim(arena, 0);
    everything_is_intact();
    assert_true((char *)sbrk(0) >= foreign[9].start + foreign[9].bytes);
    arena_reset(arena);
    held = 0;
    everything_is_intact();
    hold(100000);
    everything_is_intact();
}

static void trimming_resumes_when_the_break_is_ours_again(void **state)
{
    (void)state;
    hold(1000);
    char *low = sbrk(0);
    for (size_t i = 0; i < 800; i++)
        hold(10000);
    take_foreign(4096 * 3);
    for (size_t i = 0; i < 800; i++)
        hold(10000);
    char *high = sbrk(0);
    assert_true(high > foreign[0].start + 7 * MIB);
    free_range(1, held);
    arena_trim(arena, 0);
    everything_is_intact();
    char *fence = sbrk(0);
    assert_true(fence >= foreign[0].start + foreign[0].bytes);
    assert_true(fence < foreign[0].start + foreign[0].bytes + 256 * KIB);
    assert_true(give_foreign());
    for (size_t i = 0; i < 100; i++)
        hold(10000);
    free_range(1, held);
    arena_trim(arena, 0);
    everything_is_intact();
    assert_true((char *)sbrk(0) < low + 512 * KIB);
}

static void trim_itself_gives_the_tail_back_after_a_foreign_visit(void **state)
{
    (void)state;
    hold(1000);
    char *low = sbrk(0);
    for (size_t i = 0; i < 800; i++)
        hold(10000);
    take_foreign(100);
    assert_true(give_foreign());
    free_range(1, held);
    arena_trim(arena, 0);
    assert_true((char *)sbrk(0) < low + 512 * KIB);
    everything_is_intact();
}

static void a_foreign_pull_below_the_break_that_is_undone_is_harmless(void **state)
{
    (void)state;
    for (size_t round = 0; round < 50; round++) {
        hold(3000);
        take_foreign(64 + round);
        assert_true(give_foreign());
        hold(70000);
    }
    everything_is_intact();
}

static void random_moves_of_both_sides_agree(void **state)
{
    rng_t rng = {seed};
    double until = now_seconds() + test_seconds(1.0);

    (void)state;
    while (now_seconds() < until) {
        size_t choice = rng_below(&rng, 100);
        if (choice < 2 && foreigners < MOST_FOREIGN)
            take_foreign(1 + rng_size(&rng, 17));
        else if (choice < 6)
            give_foreign();
        else if (choice < 9)
            arena_trim(arena, rng_size(&rng, 22));
        else if (choice < 11)
            everything_is_intact();
        else if (held == MOST || choice < 15) {
            free_range(0, held);
            held = 0;
        } else if (choice < 50 && held > 0) {
            size_t i = rng_below(&rng, held);
            free_range(i, i + 1);
        } else
            hold(rng_size(&rng, rng_below(&rng, 8) ? 11 : 18));
    }
    everything_is_intact();
    while (give_foreign())
        ;
}

static arena_options_t granules = {.source = ARENA_SOURCE_SBRK};
static arena_options_t pages = {
    .source = ARENA_SOURCE_SBRK, .flags = ARENA_NO_CACHE | ARENA_NO_SLABS, .growth_bytes = 4096};

#define TEST_BY(options, name)                                             \
    {                                                                      \
#name " by " #options, name, open_by_sbrk, close_arena, &(options) \
    }
#define TEST(name) TEST_BY(granules, name), TEST_BY(pages, name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(foreign_memory_is_neither_touched_nor_given_back),
        TEST(trimming_resumes_when_the_break_is_ours_again),
        TEST(trim_itself_gives_the_tail_back_after_a_foreign_visit),
        TEST(a_foreign_pull_below_the_break_that_is_undone_is_harmless),
        TEST(random_moves_of_both_sides_agree),
    };

    seed = test_seed(4711);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
