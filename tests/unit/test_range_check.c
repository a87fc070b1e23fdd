/*
 * test_range_check.c: each invariant of a range arena, broken once by hand: arena_range_check must report that number,
 * and no other, and nothing again once the damage is repaired.
 */
#define _GNU_SOURCE
#include "../../arena/rangecheck.h"

#include "../../arena/rangebin.h"
#include "../../arena/rangemap.h"
#include "../support.h"

enum { FIRST = INVARIANT_RANGE_MAP, LAST = INVARIANT_RANGE_TAIL };

/* [8 live][8 free][8 live][16 free][8 live][...free] in the break; a block is a quantum. */
static arena_range_t *range;
static uint64_t row[6];
static unsigned reported[LAST + 2]; /* by number; the last: what was not understood */

static void note(void *context, const char *message, const void *block)
{
    unsigned number = LAST + 1;

    (void)context;
    (void)block;
    if (sscanf(message, "libarena: broken invariant %u: block", &number) != 1 || number > LAST)
        number = LAST + 1;
    reported[number]++;
}

static int build(void **state)
{
    static const uint64_t sizes[] = {8, 8, 8, 16, 8, 8};

    (void)state;
    range = arena_range_create(
        &(arena_range_options_t){.source = ARENA_RANGE_SBRK, .flags = ARENA_RANGE_WITHIN_PAGES, .name = "r"});
    must(range != NULL);
    for (size_t i = 0; i < 6; i++)
        row[i] = (arena_range_alloc(range, sizes[i]) - range->origin) / 8;
    arena_range_free(range, range_address(range, row[1]));
    arena_range_free(range, range_address(range, row[3]));
    arena_set_error_handler(note, NULL);
    must(arena_range_check(range) == 0);
    return 0;
}

static int demolish(void **state)
{
    (void)state;
    arena_set_error_handler(NULL, NULL);
    arena_range_destroy(range);
    return 0;
}

static void expect_only(unsigned number)
{
    memset(reported, 0, sizeof reported);
    assert_true(arena_range_check(range) > 0);
    for (unsigned i = 0; i < LAST + 2; i++) {
        if ((reported[i] != 0) != (i == number))
            fail_msg("invariant %u was broken, %u reported %u times", number, i, reported[i]);
    }
}

static void expect_sound(void)
{
    assert_int_equal(arena_range_check(range), 0);
}

static void a_summary_that_denies_a_mark_is_noticed(void **state)
{
    range_leaf_t *leaf = range->map.root;

    (void)state;
    assert_int_equal(range->map.levels, 0);
    leaf->any ^= 1;
    expect_only(INVARIANT_RANGE_MAP);
    leaf->any ^= 1;
    expect_sound();
}

static void two_free_runs_side_by_side_are_noticed(void **state)
{
    range_run_t *run = rangemap_run(range, row[3]);
    range_run_t half = {.start = row[3] + 1, .count = 1};

    (void)state;
    rangebin_remove_locked(range, run);
    run->count = 1;
    rangebin_insert_locked(range, run, false);
    rangemap_set(range, row[3] + 1, RANGE_FREE);
    rangebin_insert_locked(range, &half, false);
    expect_only(INVARIANT_RANGE_MERGED);
    rangebin_remove_locked(range, &half);
    rangebin_insert_locked(range, &half, true); /* one that waits may lie beside another */
    expect_sound();
    rangebin_remove_locked(range, &half);
    rangemap_set(range, row[3] + 1, RANGE_INSIDE);
    rangebin_remove_locked(range, run);
    run->count = 2;
    rangebin_insert_locked(range, run, false);
    expect_sound();
}

static void a_descriptor_of_another_length_is_noticed(void **state)
{
    range_run_t *run = rangemap_run(range, row[3]);

    (void)state;
    run->count = 1;
    expect_only(INVARIANT_RANGE_RUNS);
    run->count = 2;
    range->totals.strays = 1;
    expect_only(INVARIANT_RANGE_RUNS);
    range->totals.strays = 0;
    expect_sound();
}

static void a_run_out_of_its_bin_is_noticed(void **state)
{
    unsigned bin = rangebin_index(2);
    range_run_t *head = range->bins.heads[bin];

    (void)state;
    assert_ptr_equal(head, rangemap_run(range, row[3]));
    range->bins.heads[bin] = rangemap_run(range, row[1]);
    expect_only(INVARIANT_RANGE_BINS);
    range->bins.heads[bin] = head;
    range->bins.used.steps[0] ^= 1u << 2;
    expect_only(INVARIANT_RANGE_BINS);
    range->bins.used.steps[0] ^= 1u << 2;
    expect_sound();
}

static void wrong_totals_are_noticed(void **state)
{
    (void)state;
    range->totals.live++;
    expect_only(INVARIANT_RANGE_TOTALS);
    range->totals.live--;
    range->totals.frees++;
    expect_only(INVARIANT_RANGE_TOTALS);
    range->totals.frees--;
    expect_sound();
}

static void a_block_across_a_page_is_noticed(void **state)
{
    uint64_t page = range->page;

    (void)state;
    range->page = 8; /* the free run at the end is longer */
    expect_only(INVARIANT_RANGE_PAGES);
    range->page = page;
    expect_sound();
}

static void a_tail_that_is_not_the_last_blocks_end_is_noticed(void **state)
{
    uint64_t tail = range->tail;

    (void)state;
    range->tail--;
    expect_only(INVARIANT_RANGE_TAIL);
    range->tail = tail + 1;
    expect_only(INVARIANT_RANGE_TAIL);
    range->tail = tail;
    expect_sound();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_summary_that_denies_a_mark_is_noticed, build, demolish),
        cmocka_unit_test_setup_teardown(two_free_runs_side_by_side_are_noticed, build, demolish),
        cmocka_unit_test_setup_teardown(a_descriptor_of_another_length_is_noticed, build, demolish),
        cmocka_unit_test_setup_teardown(a_run_out_of_its_bin_is_noticed, build, demolish),
        cmocka_unit_test_setup_teardown(wrong_totals_are_noticed, build, demolish),
        cmocka_unit_test_setup_teardown(a_block_across_a_page_is_noticed, build, demolish),
        cmocka_unit_test_setup_teardown(a_tail_that_is_not_the_last_blocks_end_is_noticed, build, demolish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
