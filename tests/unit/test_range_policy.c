/*
 * test_range_policy.c: which free run of a range arena serves, by each policy, compared with a search through all of
 * them as arena_range_walk tells of them; and that a request that fits never fails.
 */
#define _GNU_SOURCE
#include "../support.h"

enum { SLOTS = 300, QUANTUM = 8, BASE = 4096 };

typedef struct {
    uint64_t start, bytes;
} run_t;

typedef struct {
    run_t runs[SLOTS + 1];
    size_t count;
} runs_t;

static int note_run(void *context, const arena_range_block_t *block)
{
    runs_t *runs = context;

    if (block->state == ARENA_BLOCK_FREE)
        runs->runs[runs->count++] = (run_t){block->address, block->bytes};
    return 0;
}

/* The run that the policy asks for, of those that reach beyond `from`; NULL: none. */
static const run_t *run_beyond(arena_fit_t fit, const runs_t *runs, uint64_t bytes, uint64_t from)
{
    const run_t *best = NULL;

    for (const run_t *run = runs->runs; run < runs->runs + runs->count; run++)
        if (run->bytes >= bytes && run->start + run->bytes > from &&
            (best == NULL || (fit == ARENA_FIT_BEST && run->bytes < best->bytes) ||
             (fit == ARENA_FIT_WORST && run->bytes > best->bytes)))
            best = run;
    return best;
}

/* Returns how many requests found no run. */
static size_t compare_with_search(arena_fit_t fit, uint64_t most)
{
    uint64_t blocks[SLOTS], last = 0;
    rng_t rng = {fit + most};
    size_t refused = 0;
    arena_range_t *range = arena_range_create(
        &(arena_range_options_t){.fit = fit, .base = BASE, .bytes = most * SLOTS / 8, .quantum = QUANTUM});

    must(range != NULL);
    for (size_t i = 0; i < SLOTS; i++)
        blocks[i] = ARENA_RANGE_NONE;
    for (size_t i = 0; i < 500 + 6000 / SLOWNESS; i++) {
        uint64_t *block = &blocks[rng_below(&rng, SLOTS)];
        if (*block != ARENA_RANGE_NONE) {
            arena_range_free(range, *block);
            *block = ARENA_RANGE_NONE;
            continue;
        }
        uint64_t bytes = (1 + rng_below(&rng, most) + QUANTUM - 1) / QUANTUM * QUANTUM;
        runs_t runs = {.count = 0};
        must(arena_range_walk(range, note_run, &runs) == 0);
        const run_t *wanted = run_beyond(fit, &runs, bytes, fit == ARENA_FIT_NEXT ? last : 0);
        wanted = wanted != NULL ? wanted : run_beyond(fit, &runs, bytes, 0);
        *block = arena_range_alloc(range, bytes);
        assert_int_equal(*block == ARENA_RANGE_NONE, wanted == NULL);
        refused += wanted == NULL;
        if (wanted == NULL)
            continue;
        if (fit != ARENA_FIT_GOOD) /* which promises no particular one */
            assert_int_equal(*block, wanted->start);
        last = *block + bytes;
    }
    assert_int_equal(arena_range_check(range), 0);
    arena_range_destroy(range);
    return refused;
}

static void a_run_is_chosen_as_a_search_would(void **state)
{
    static const uint64_t most[] = {64, 1000, 100000};

    (void)state;
    for (arena_fit_t fit = ARENA_FIT_GOOD; fit <= ARENA_FIT_NEXT; fit++)
        for (size_t i = 0; i < 3; i++)
            assert_true(compare_with_search(fit, most[i]) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_run_is_chosen_as_a_search_would)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
