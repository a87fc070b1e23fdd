/*
 * test_binmap.c: sizes and bins beside a table that the rule makes, and the bitmaps beside an array of booleans, in
 * every shape that a table of bins may have.
 */
#define _GNU_SOURCE
#include "../../arena/binmap.h"

#include "../support.h"

enum { STEPS_LOG2_MOST = 4, BINS_MOST = BINMAP_LEVELS << STEPS_LOG2_MOST };

static uint64_t lowest[BINS_MOST + 1]; /* the smallest size of each bin; of the first beyond, too */

/* The rule: a bin for each size below 2^steps_log2, then as many to each power of two. */
static unsigned derive(unsigned steps_log2, unsigned levels)
{
    unsigned bins = 0;

    for (uint64_t size = 0; size < 1u << steps_log2; size++)
        lowest[bins++] = size;
    for (unsigned level = 1; level < levels; level++) {
        uint64_t power = (uint64_t)1 << (steps_log2 + level - 1);
        for (unsigned step = 0; step < 1u << steps_log2; step++)
            lowest[bins++] = power + (power >> steps_log2) * step;
    }
    lowest[bins] = (uint64_t)1 << (steps_log2 + levels - 1);
    return bins;
}

static void the_bounds_of_each_bin_are_the_rules(void **state)
{
    (void)state;
    for (unsigned steps_log2 = 1; steps_log2 <= STEPS_LOG2_MOST; steps_log2++) {
        for (unsigned levels = 1; levels <= BINMAP_LEVELS; levels++) {
            unsigned bins = derive(steps_log2, levels);
            assert_int_equal(bins, levels << steps_log2);
            for (unsigned bin = 0; bin < bins; bin++) {
                assert_int_equal(binmap_index(lowest[bin], steps_log2, levels), bin);
                assert_int_equal(binmap_index(lowest[bin + 1] - 1, steps_log2, levels), bin);
            }
            for (uint64_t beyond = lowest[bins]; beyond != 0; beyond *= 2)
                assert_int_equal(binmap_index(beyond, steps_log2, levels), bins - 1);
        }
    }
}

static void the_bin_above_a_size_holds_nothing_smaller(void **state)
{
    (void)state;
    for (unsigned steps_log2 = 1; steps_log2 <= STEPS_LOG2_MOST; steps_log2++) {
        unsigned levels = 12, last = derive(steps_log2, levels) - 1;
        for (uint64_t size = 1; size < 2 * lowest[last + 1]; size++) {
            unsigned above = binmap_index_above(size, steps_log2, levels);
            assert_true(above == last || lowest[above] >= size);
            assert_true(above == 0 || lowest[above - 1] < size);
        }
    }
}

static unsigned naive_next(const bool *used, unsigned bin)
{
    while (bin < BINS_MOST && !used[bin])
        bin++;
    return bin < BINS_MOST ? bin : BINMAP_NONE;
}

static unsigned naive_last(const bool *used)
{
    unsigned bin = BINS_MOST;

    while (bin > 0 && !used[bin - 1])
        bin--;
    return bin > 0 ? bin - 1 : BINMAP_NONE;
}

static void check_map(const binmap_t *map, const bool *used, unsigned steps_log2)
{
    unsigned bins = (unsigned)BINMAP_LEVELS << steps_log2;

    assert_int_equal(binmap_last(map, steps_log2), naive_last(used));
    for (unsigned bin = 0; bin < bins; bin++) {
        assert_int_equal(binmap_next(map, bin, steps_log2), naive_next(used, bin));
        assert_true(binmap_agrees(map, bin, steps_log2, used[bin]));
        assert_false(binmap_agrees(map, bin, steps_log2, !used[bin]));
    }
    assert_int_equal(binmap_next(map, bins, steps_log2), BINMAP_NONE);
}

/* Few bins in use, so that whole levels come and go. */
static void the_bitmaps_say_what_an_array_says(void **state)
{
    rng_t rng = {test_seed(11)};

    (void)state;
    for (unsigned steps_log2 = 1; steps_log2 <= STEPS_LOG2_MOST; steps_log2++) {
        bool used[BINS_MOST] = {false};
        binmap_t map = {0};
        for (int round = 0; round < 1000 / SLOWNESS; round++) {
            unsigned bin = (unsigned)rng_below(&rng, (uint64_t)BINMAP_LEVELS << steps_log2);
            if (rng_below(&rng, 4) == 0) {
                binmap_set(&map, bin, steps_log2);
                used[bin] = true;
            } else if ((bin = naive_next(used, bin)) != BINMAP_NONE) {
                binmap_clear(&map, bin, steps_log2);
                used[bin] = false;
            }
            check_map(&map, used, steps_log2);
        }
    }
}

static void a_level_that_its_bins_contradict_is_noticed(void **state)
{
    binmap_t map = {0};

    (void)state;
    binmap_set(&map, 37, 4);
    assert_true(binmap_agrees(&map, 37, 4, true) && binmap_agrees(&map, 5, 4, false));
    map.levels = 1;
    assert_false(binmap_agrees(&map, 37, 4, true));
    assert_false(binmap_agrees(&map, 5, 4, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bounds_of_each_bin_are_the_rules),
        cmocka_unit_test(the_bin_above_a_size_holds_nothing_smaller),
        cmocka_unit_test(the_bitmaps_say_what_an_array_says),
        cmocka_unit_test(a_level_that_its_bins_contradict_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
