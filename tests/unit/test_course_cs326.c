/*
 * test_course_cs326.c: the allocator of CS 326's project 3, as a configuration of an arena: a struct in front of each
 * block, a list of free ones, three ways to search it, names, a log, and a print of each block. The policies are
 * tried on the same row of holes, in an arena that has no other free memory.
 */
#define _GNU_SOURCE
#include "../log_support.h"

enum { HOLES = 5, BUFFER_BYTES = 16 * 1024 };

/* In address order. A request of 100 fits all but the second. */
static const size_t hole_sizes[HOLES] = {300, 60, 150, 700, 110};
static const char *const names[HOLES] = {"300", "60", "150", "700", "110"};

typedef struct {
    arena_t *arena;
    char *holes[HOLES];
} row_t;

static row_t make_row(arena_fit_t fit)
{
    static char buffer[BUFFER_BYTES] __attribute__((aligned(16)));
    row_t row = {.arena = arena_create(&(arena_options_t){.source = ARENA_SOURCE_BUFFER,
                                                          .fit = fit,
                                                          .flags = ARENA_NO_SLABS,
                                                          .buffer = buffer,
                                                          .buffer_bytes = sizeof buffer})};

    must(row.arena != NULL);
    for (size_t i = 0; i < HOLES; i++) {
        must((row.holes[i] = arena_alloc_named(row.arena, hole_sizes[i], names[i])) != NULL);
        must(arena_alloc(row.arena, 16) != NULL); /* a wall: freed neighbours would merge */
    }
    for (size_t size = BUFFER_BYTES; size != 0; size /= 2) {
        while (arena_alloc(row.arena, size) != NULL) {
        }
    }
    for (size_t i = 0; i < HOLES; i++)
        arena_free(row.arena, row.holes[i]);
    return row;
}

/* Which hole served: 0 to HOLES - 1. */
static size_t hole_of(const row_t *row, const char *block)
{
    size_t hole = 0;

    must(block != NULL);
    while (hole < HOLES && (block < row->holes[hole] || block >= row->holes[hole] + hole_sizes[hole]))
        hole++;
    must(hole < HOLES);
    return hole;
}

/* The holes that serve four requests of 100 in a row; the digits of `expected`, 9: NULL. */
static void expect_holes(arena_fit_t fit, unsigned expected)
{
    row_t row = make_row(fit);

    for (unsigned digit = 1000; digit != 0; digit /= 10) {
        char *block = arena_alloc(row.arena, 100);
        assert_int_equal(hole_of(&row, block), expected / digit % 10);
    }
    assert_int_equal(arena_check(row.arena), 0);
    arena_destroy(row.arena);
}

static void first_fit_takes_the_lowest_hole_and_splits_it(void **state)
{
    (void)state;
    expect_holes(ARENA_FIT_FIRST, 23); /* 0 0 2 3: twice in 300, then 150, then 700 */
}

static void best_fit_takes_the_tightest_hole(void **state)
{
    (void)state;
    expect_holes(ARENA_FIT_BEST, 4200); /* 110, 150, then what is smaller: 300, twice */
}

static void worst_fit_takes_the_largest_rest(void **state)
{
    (void)state;
    expect_holes(ARENA_FIT_WORST, 3333); /* 700, and its rest is the largest until about 300 */
}

static void next_fit_goes_on_behind_the_last(void **state)
{
    row_t row = make_row(ARENA_FIT_NEXT);
    size_t last = hole_of(&row, arena_alloc(row.arena, 100));

    (void)state;
    for (size_t i = 0; i < 5; i++) { /* round about: never back, but from the last hole to the first */
        char *block = arena_alloc(row.arena, 100);
        size_t hole = hole_of(&row, block);
        assert_true(hole >= last || last == HOLES - 1 || (last == 3 && hole == 0));
        last = hole;
    }
    arena_destroy(row.arena);
}

static void good_fit_takes_one_that_fits_without_a_search(void **state)
{
    (void)state;
    row_t row = make_row(ARENA_FIT_GOOD);
    assert_int_equal(hole_of(&row, arena_alloc(row.arena, 100)), 4); /* the smallest size that surely fits */
    arena_destroy(row.arena);
}

/* --- all of memory, searched as a student would write it --- */

enum { SLOTS = 400 };

typedef struct {
    char *start;
    size_t usable;
} hole_t;

typedef struct {
    hole_t holes[2 * SLOTS];
    size_t count;
} list_t;

/* Every free chunk. Whole granules that are free are no part of the list. */
static int note_hole(void *context, const arena_block_t *block)
{
    list_t *list = context;
    bool is_run = (uintptr_t)block->start % GRANULE == 0 && block->usable % GRANULE == 0;

    if (block->state != ARENA_BLOCK_FREE || is_run)
        return 0;
    must(list->count < 2 * SLOTS);
    list->holes[list->count++] = (hole_t){block->start, block->usable};
    return 0;
}

/* The hole that the policy asks for, the lowest among equals; NULL: none is large enough. The first, best or worst of
 * those that reach beyond `from`. */
static const hole_t *hole_beyond(arena_fit_t fit, const list_t *list, size_t request, const char *from)
{
    const hole_t *best = NULL;

    for (const hole_t *hole = list->holes; hole < list->holes + list->count; hole++)
        if (hole->usable >= request && hole->start + hole->usable > from &&
            (best == NULL || (fit == ARENA_FIT_FIRST  ? hole->start < best->start
                              : fit == ARENA_FIT_BEST ? hole->usable < best->usable
                                                      : hole->usable > best->usable)))
            best = hole;
    return best;
}

/* `last` is the end of the block that was given out last. */
static const hole_t *hole_by(arena_fit_t fit, const list_t *list, size_t request, const char *last)
{
    const hole_t *behind = fit == ARENA_FIT_NEXT ? hole_beyond(ARENA_FIT_FIRST, list, request, last) : NULL;

    if (behind != NULL)
        return behind;
    return hole_beyond(fit == ARENA_FIT_NEXT ? ARENA_FIT_FIRST : fit, list, request, NULL);
}

static const hole_t *hole_around(const list_t *list, const char *block)
{
    const hole_t *hole = list->holes;

    while (hole < list->holes + list->count && (block < hole->start || block >= hole->start + hole->usable))
        hole++;
    return hole < list->holes + list->count ? hole : NULL;
}

/* Returns how often a hole served. */
static size_t compare_with_search(arena_fit_t fit, size_t most)
{
    static char *blocks[SLOTS];
    rng_t rng = {fit + most};
    size_t served = 0;
    const char *last = NULL;
    arena_t *arena = arena_create(&(arena_options_t){
        .fit = fit, .flags = ARENA_NO_SLABS | ARENA_NO_CACHE, .first_region_bytes = 8 * MIB});

    memset(blocks, 0, sizeof blocks);
    must(arena != NULL);
    for (size_t i = 0; i < 4000 / SLOWNESS; i++) {
        char **block = &blocks[rng_below(&rng, SLOTS)];
        if (*block != NULL) {
            arena_free(arena, *block);
            *block = NULL;
            continue;
        }
        size_t request = 1 + rng_below(&rng, most);
        list_t list = {.count = 0};
        must(arena_walk(arena, note_hole, &list) == 0);
        const hole_t *wanted = hole_by(fit, &list, request, last);
        must((*block = arena_alloc(arena, request)) != NULL);
        const hole_t *given = hole_around(&list, *block);
        last = *block + (request < 24 ? 24 : (request + 7) / 16 * 16 + 8); /* as chunks are cut */
        if (wanted == NULL)
            continue;
        served++;
        assert_non_null(given);
        if (fit == ARENA_FIT_WORST) /* any of the largest */
            assert_int_equal(given->usable, wanted->usable);
        else
            assert_ptr_equal(given->start, wanted->start);
    }
    arena_destroy(arena);
    return served;
}

static void policies_choose_as_a_search_through_memory_does(void **state)
{
    static const arena_fit_t fits[] = {ARENA_FIT_FIRST, ARENA_FIT_BEST, ARENA_FIT_WORST, ARENA_FIT_NEXT};
    static const size_t most[] = {100, 3000, 50000};

    (void)state;
    for (size_t i = 0; i < 12; i++)
        assert_true(compare_with_search(fits[i / 3], most[i % 3]) > 500 / SLOWNESS);
}

/* What no hole can hold, two freed neighbours can: free space is merged. */
static void freed_neighbours_are_one_hole(void **state)
{
    arena_t *arena =
        arena_create(&(arena_options_t){.flags = ARENA_NO_SLABS | ARENA_NO_CACHE, .fit = ARENA_FIT_FIRST});
    char *a = arena_alloc(arena, 1000), *b = arena_alloc(arena, 1000), *wall = arena_alloc(arena, 16);

    (void)state;
    arena_free(arena, a);
    arena_free(arena, b);
    assert_ptr_equal(arena_alloc(arena, 2000), a);
    assert_true(wall > b);
    arena_destroy(arena);
}

/* A struct in front of each block says how large it is, which is what munmap wants to know and free is not told. */
static void the_size_stands_before_the_block(void **state)
{
    arena_t *arena =
        arena_create(&(arena_options_t){.flags = ARENA_NO_SLABS | ARENA_NO_CACHE, .fit = ARENA_FIT_FIRST});
    char *a = arena_alloc(arena, 1000), *b = arena_alloc(arena, 1000);
    uint64_t header;

    (void)state;
    memcpy(&header, (char *)any_size(a) - 8, 8);
    assert_int_equal(header & 0xffffffffffe0u, (uint64_t)(b - a) & 0xffffffffffe0u);
    arena_trim(arena, 0); /* or the large block takes the place of what is idle */
    size_t mapped = stats_of(arena).mapped_bytes;
    char *large = arena_alloc(arena, 10 * MIB);
    assert_true(stats_of(arena).mapped_bytes >= mapped + 10 * MIB);
    arena_free(arena, large);
    assert_int_equal(stats_of(arena).mapped_bytes, mapped);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_fit_takes_the_lowest_hole_and_splits_it),
        cmocka_unit_test(best_fit_takes_the_tightest_hole),
        cmocka_unit_test(worst_fit_takes_the_largest_rest),
        cmocka_unit_test(next_fit_goes_on_behind_the_last),
        cmocka_unit_test(policies_choose_as_a_search_through_memory_does),
        cmocka_unit_test(good_fit_takes_one_that_fits_without_a_search),
        cmocka_unit_test(freed_neighbours_are_one_hole),
        cmocka_unit_test(the_size_stands_before_the_block),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
