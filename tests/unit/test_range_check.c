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

static void a_run_in_no_bin_is_noticed(void **state)
{
    range_run_t *run = rangemap_run(range, row[3]);

    (void)state;
    rangebin_remove_locked(range, run); /* and yet its leaf knows it, and it is counted */
    rangemap_add_run(range, run);
    range->totals.free_runs++;
    run->next = run->previous = run; /* a ring of its own that no bin leads to */
    expect_only(INVARIANT_RANGE_BINS);
    run->next = run->previous = NULL;
    expect_only(INVARIANT_RANGE_BINS);
    range->totals.free_runs--;
    rangemap_remove_run(range, run);
    rangebin_insert_locked(range, run, false);
    expect_sound();
}

static void runs_that_changed_bins_are_noticed(void **state)
{
    range_run_t **heads = range->bins.heads;
    range_run_t *one = heads[1], *two = heads[2];

    (void)state;
    assert_true(one == rangemap_run(range, row[1]) && two == rangemap_run(range, row[3]));
    heads[1] = two; /* each bin has as many as before */
    heads[2] = one;
    expect_only(INVARIANT_RANGE_BINS);
    heads[1] = one;
    heads[2] = two;
    expect_sound();
}

static void a_stranger_in_place_of_a_run_is_noticed(void **state)
{
    range_run_t *run = rangemap_run(range, row[3]), copy = *run;

    (void)state;
    copy.next = copy.previous = &copy;
    range->bins.heads[2] = &copy;
    expect_only(INVARIANT_RANGE_BINS);
    range->bins.heads[2] = run;
    expect_sound();
}

static void a_ring_that_does_not_close_is_noticed(void **state)
{
    range_run_t *run = rangemap_run(range, row[1]), knot = {.start = row[1], .count = 1};

    (void)state;
    knot.next = knot.previous = &knot;
    run->next = &knot;
    expect_only(INVARIANT_RANGE_BINS);
    run->next = run;
    run->previous = &knot;
    expect_only(INVARIANT_RANGE_BINS);
    run->previous = run;
    expect_sound();
}

static double seconds_of_check(size_t runs)
{
    arena_range_t *large = arena_range_create(&(arena_range_options_t){.bytes = runs * 16});
    double best = 1e9;

    must(large != NULL);
    for (size_t i = 0; i < 2 * runs; i++)
        must(arena_range_alloc(large, 8) == i * 8);
    for (size_t i = 0; i < runs; i++)
        arena_range_free(large, i * 16);
    for (size_t i = 0; i < 3; i++) {
        double start = now_seconds();
        must(arena_range_check(large) == 0);
        best = now_seconds() - start < best ? now_seconds() - start : best;
    }
    arena_range_destroy(large);
    return best;
}

/* All of them in one bin. 32 times as many take 32 times as long, or 1,024 times if each is looked for. */
static void a_check_takes_as_long_as_there_are_runs(void **state)
{
    (void)state;
    double few = seconds_of_check(2000), many = seconds_of_check(64000);
    if (many > 300 * few)
        fail_msg("2,000 runs: %g s, 64,000: %g s", few, many);
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

static void gaps_that_are_miscounted_are_noticed(void **state)
{
    (void)state;
    demolish(state);
    range = arena_range_create(
        &(arena_range_options_t){.bytes = MIB, .page_bytes = 4096, .flags = ARENA_RANGE_WITHIN_PAGES});
    must(range != NULL);
    arena_set_error_handler(note, NULL);
    assert_true(arena_range_aligned_alloc(range, MIB / 2, 8) == 0);
    assert_true(arena_range_alloc(range, 4096) == 4096);
    arena_range_free(range, 0);
    assert_true(arena_range_aligned_alloc(range, MIB / 4, 4096) == 0);
    assert_true(arena_range_aligned_alloc(range, MIB / 4, 4096) == MIB / 4);
    expect_sound();
    assert_int_equal(range->gaps, 2);
    range->gaps++;
    expect_only(INVARIANT_RANGE_TOTALS);
    range->gaps--;
    range->end = MIB / 4 / 8 + range->page;
    expect_only(INVARIANT_RANGE_TOTALS);
    range->end = 2 * range->page;
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
        cmocka_unit_test_setup_teardown(a_run_in_no_bin_is_noticed, build, demolish),
        cmocka_unit_test_setup_teardown(runs_that_changed_bins_are_noticed, build, demolish),
        cmocka_unit_test_setup_teardown(a_stranger_in_place_of_a_run_is_noticed, build, demolish),
        cmocka_unit_test_setup_teardown(a_ring_that_does_not_close_is_noticed, build, demolish),
        cmocka_unit_test(a_check_takes_as_long_as_there_are_runs),
        cmocka_unit_test_setup_teardown(wrong_totals_are_noticed, build, demolish),
        cmocka_unit_test_setup_teardown(gaps_that_are_miscounted_are_noticed, build, demolish),
        cmocka_unit_test_setup_teardown(a_block_across_a_page_is_noticed, build, demolish),
        cmocka_unit_test_setup_teardown(a_tail_that_is_not_the_last_blocks_end_is_noticed, build, demolish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
