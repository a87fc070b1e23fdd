/* test_cycles.c: arenas that follow one another, each with the work of the one before: its memory is there already. */
#define _GNU_SOURCE
#include "../support.h"

#include "../../arena/util.h"

#include <sys/resource.h>

enum { CYCLES = 6 };

typedef struct {
    size_t count, bytes;
} work_t;

static size_t faults(void)
{
    struct rusage usage;

    must(getrusage(RUSAGE_SELF, &usage) == 0);
    return (size_t)usage.ru_minflt;
}

/* Allocates, writes all of it, and destroys; returns the faults. */
static size_t cycle(const work_t *work)
{
    size_t before = faults();
    arena_t *arena = arena_create(NULL);

    must(arena != NULL);
    for (size_t i = 0; i < work->count; i++) {
        char *block = any_size(arena_alloc(arena, work->bytes));
        must(block != NULL);
        memset(block, 1, work->bytes);
    }
    must(arena_check(arena) == 0);
    arena_destroy(arena);
    return faults() - before;
}

/* The least faults of those behind the first: between two some may go, if the machine was busy for long. */
static size_t least_of_cycles(const work_t *work, size_t *first)
{
    size_t least = SIZE_MAX;

    *first = cycle(work);
    for (int i = 1; i < CYCLES; i++) {
        size_t now = cycle(work);
        least = now < least ? now : least;
    }
    return least;
}

static void what_an_arena_had_is_there_for_the_next(void **state)
{
    static const work_t works[] = {{400, 1000},  {40000, 1000}, {4000, 10000},
                                   {600, 70000}, {40, 1000000}, {12, 5 * MIB}};

    (void)state;
    for (size_t i = 0; i < sizeof works / sizeof works[0]; i++) {
        must(drop_what_is_warm(NULL) == 0);
        size_t first, least = least_of_cycles(&works[i], &first);
        assert_in_range(least, 0, first / 3);
    }
}

static void and_goes_when_no_next_one_comes(void **state)
{
    size_t first;

    (void)state;
    least_of_cycles(&(work_t){40000, 1000}, &first);
    assert_true(stats_of(NULL).stock_bytes > 30 * MIB);
    arena_t *other = arena_create(NULL);
    for (double until = now_seconds() + 60; stats_of(NULL).stock_bytes > MIB; usleep(10000)) {
        must(now_seconds() < until);
        for (int i = 0; i < 1000; i++)
            arena_free(other, arena_alloc(other, 64));
        if (!ARENA_TCACHE)
            cycle(&(work_t){1, 100}); /* without caches time is looked at by who destroys an arena */
    }
    arena_destroy(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        from_cold(what_an_arena_had_is_there_for_the_next),
        from_cold(and_goes_when_no_next_one_comes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
