/*
 * test_run.c: free runs of granules: merging, splitting, the two sets of bins. The granules are addresses far
 * from everything mapped: nothing here may touch the memory that runs describe.
 */
#define _GNU_SOURCE
#include "../../arena/run.h"

#include "layer.h"

enum { SPAN = 512, ONE = 1, TWO = 2 }; /* granules of the span; ids of regions */

static arena_t *arena;
static granule_t base; /* first granule of the span; those before and behind it are nobody's */

static int open_span(void **state)
{
    (void)state;
    arena = layer_arena(0, 2);
    base =
        granule_of((void *)(uintptr_t)((uint64_t)0x1000 << 32)) + 0xff80; /* across two leaves of the map */
    must(pagemap_ensure(granule_start(base - 1), (SPAN + 2) * GRANULE));
    return 0;
}

static int close_span(void **state)
{
    (void)state;
    pagemap_set(base, SPAN, 0);
    for (uint32_t i = 0; i < SPAN; i++)
        *pagemap_tag(base + i) = (run_tag_t){0};
    arena_destroy(arena);
    return 0;
}

static granule_t put(uint32_t from, uint32_t length, uint32_t region, uint32_t kind)
{
    return run_put_locked(arena, base + from, length, region, kind) - base;
}

static uint32_t length_at(uint32_t from)
{
    const run_tag_t *head = pagemap_tag(base + from);
    const run_tag_t *tail = pagemap_tag(base + from + head->length - 1);

    assert_int_equal(tail->length, head->length);
    assert_int_equal(tail->region, head->region);
    return head->length;
}

static bool is_in_dirty_bins(uint32_t from)
{
    return (pagemap_tag(base + from)->region & RUN_DIRTY) != 0;
}

static void a_run_put_alone_keeps_its_length_and_region(void **state)
{
    (void)state;
    assert_int_equal(put(10, 5, ONE, KIND_FREE_ZERO), 10);
    assert_int_equal(length_at(10), 5);
    assert_int_equal(pagemap_tag(base + 14)->region & ~RUN_DIRTY, ONE);
    for (uint32_t i = 10; i < 15; i++)
        assert_int_equal(run_kind(arena, base + i), KIND_FREE_ZERO);
    assert_int_equal(run_kind(arena, base + 9), 0);
    assert_int_equal(run_kind(arena, base + 15), 0);
    assert_int_equal(arena->totals.free_run_bytes, 5 * GRANULE);
}

static void put_merges_with_the_run_before(void **state)
{
    (void)state;
    put(10, 5, ONE, KIND_FREE_ZERO);
    assert_int_equal(put(15, 3, ONE, KIND_FREE_ZERO), 10);
    assert_int_equal(length_at(10), 8);
}

static void put_merges_with_the_run_behind(void **state)
{
    (void)state;
    put(10, 5, ONE, KIND_FREE_ZERO);
    assert_int_equal(put(7, 3, ONE, KIND_FREE_ZERO), 7);
    assert_int_equal(length_at(7), 8);
}

static void put_merges_with_both_neighbours(void **state)
{
    (void)state;
    put(10, 5, ONE, KIND_FREE_ZERO);
    put(20, 5, ONE, KIND_FREE_ZERO);
    assert_int_equal(put(15, 5, ONE, KIND_FREE_ZERO), 10);
    assert_int_equal(length_at(10), 15);
    assert_int_equal(arena->totals.free_run_bytes, 15 * GRANULE);
    assert_int_equal(run_find_locked(arena, 15), base + 10);
    assert_int_equal(run_find_locked(arena, 16), 0);
}

static void put_does_not_merge_across_regions(void **state)
{
    (void)state;
    put(10, 5, ONE, KIND_FREE_ZERO);
    put(20, 5, TWO, KIND_FREE_ZERO);
    assert_int_equal(put(15, 5, TWO, KIND_FREE_ZERO), 15);
    assert_int_equal(length_at(10), 5);
    assert_int_equal(length_at(15), 10);
    assert_int_equal(run_find_locked(arena, 11), 0);
}

static void put_does_not_merge_with_what_is_in_use(void **state)
{
    bool zero;

    (void)state;
    put(10, 10, ONE, KIND_FREE_ZERO);
    assert_true(run_take_at_locked(arena, base + 10, 5, KIND_CHUNKS, &zero));
    assert_int_equal(put(5, 5, ONE, KIND_FREE_ZERO), 5);
    assert_int_equal(length_at(5), 5);
    assert_int_equal(length_at(10), 5);
    assert_int_equal(length_at(15), 5);
}

static void put_does_not_merge_with_another_arenas_run(void **state)
{
    arena_t *other = layer_arena(0, 2);

    (void)state;
    run_put_locked(other, base + 10, 5, ONE, KIND_FREE_ZERO);
    assert_int_equal(put(15, 5, ONE, KIND_FREE_ZERO), 15);
    assert_int_equal(length_at(15), 5);
    arena_destroy(other);
}

static void take_splits_off_the_front(void **state)
{
    bool zero = false;

    (void)state;
    put(10, 20, ONE, KIND_FREE_ZERO);
    assert_int_equal(run_take_locked(arena, 7, KIND_CHUNKS, &zero), base + 10);
    assert_true(zero);
    assert_int_equal(length_at(10), 7);
    assert_int_equal(length_at(17), 13);
    assert_int_equal(run_kind(arena, base + 16), KIND_CHUNKS);
    assert_int_equal(run_kind(arena, base + 17), KIND_FREE_ZERO);
    assert_int_equal(arena->totals.free_run_bytes, 13 * GRANULE);
}

static void take_of_a_whole_run_leaves_nothing(void **state)
{
    bool zero;

    (void)state;
    put(10, 20, ONE, KIND_FREE_ZERO);
    assert_int_equal(run_take_locked(arena, 20, KIND_CHUNKS, &zero), base + 10);
    assert_int_equal(run_take_locked(arena, 1, KIND_CHUNKS, &zero), 0);
    assert_int_equal(arena->totals.free_run_bytes, 0);
    assert_int_equal(arena->granules->clean_runs.used.levels, 0);
}

static void the_shortest_that_fits_is_cut(void **state)
{
    bool zero;

    (void)state;
    put(10, 23, ONE, KIND_FREE_DIRTY);
    put(50, 21, ONE, KIND_FREE_DIRTY);
    put(100, 22, ONE, KIND_FREE_DIRTY);
    put(150, 40, ONE, KIND_FREE_DIRTY);
    put(200, 39, ONE, KIND_FREE_DIRTY);
    put(250, 38, ONE, KIND_FREE_ZERO);
    assert_int_equal(run_take_locked(arena, 21, KIND_CHUNKS, &zero), base + 50);
    assert_int_equal(run_take_locked(arena, 21, KIND_CHUNKS, &zero), base + 100);
    assert_int_equal(run_take_locked(arena, 24, KIND_CHUNKS, &zero),
                     base + 200); /* of the next bin that holds one */
    assert_int_equal(run_take_locked(arena, 41, KIND_CHUNKS, &zero), 0);
}

static void resident_runs_serve_before_purged_ones(void **state)
{
    bool zero;

    (void)state;
    put(10, 4, ONE, KIND_FREE_ZERO);
    put(20, 400, ONE, KIND_FREE_DIRTY);
    assert_int_equal(run_take_locked(arena, 4, KIND_CHUNKS, &zero), base + 20);
    assert_false(zero);
    assert_int_equal(arena->totals.dirty_bytes, 396 * GRANULE);
}

static void dirt_is_a_granules_and_a_merged_run_forgets_none(void **state)
{
    bool zero = true;

    (void)state;
    put(10, 4, ONE, KIND_FREE_ZERO);
    put(14, 2, ONE, KIND_FREE_DIRTY);
    put(16, 4, ONE, KIND_FREE_PURGED);
    assert_int_equal(length_at(10), 10);
    assert_true(is_in_dirty_bins(10));
    assert_int_equal(arena->totals.dirty_bytes, 2 * GRANULE);
    for (uint32_t i = 10; i < 20; i++)
        assert_int_equal(run_kind(arena, base + i), i < 14   ? KIND_FREE_ZERO
                                                    : i < 16 ? KIND_FREE_DIRTY
                                                             : KIND_FREE_PURGED);
    assert_int_equal(run_take_locked(arena, 4, KIND_CHUNKS, &zero), base + 10);
    assert_true(zero); /* the four zero granules in front */
    assert_int_equal(arena->totals.dirty_bytes, 2 * GRANULE);
    assert_true(is_in_dirty_bins(14));
}

static void what_was_purged_without_zeroes_is_not_zero(void **state)
{
    bool zero = true;

    (void)state;
    put(10, 4, ONE, KIND_FREE_PURGED);
    assert_false(is_in_dirty_bins(10));
    assert_int_equal(run_take_locked(arena, 4, KIND_CHUNKS, &zero), base + 10);
    assert_false(zero);
}

static void one_dirty_granule_makes_a_run_not_zero(void **state)
{
    bool zero = true;

    (void)state;
    put(10, 4, ONE, KIND_FREE_ZERO);
    put(14, 1, ONE, KIND_FREE_DIRTY);
    assert_int_equal(run_take_locked(arena, 5, KIND_CHUNKS, &zero), base + 10);
    assert_false(zero);
}

static void take_at_takes_the_front_of_the_run_that_begins_there(void **state)
{
    bool zero = false;

    (void)state;
    put(10, 4, ONE, KIND_FREE_ZERO);
    put(30, 9, ONE, KIND_FREE_ZERO);
    assert_true(run_take_at_locked(arena, base + 30, 5, KIND_BUSY, &zero));
    assert_true(zero);
    assert_int_equal(length_at(30), 5);
    assert_int_equal(length_at(35), 4);
    assert_int_equal(length_at(10), 4);
}

static void take_at_refuses_what_does_not_begin_there_or_is_too_short(void **state)
{
    bool zero;

    (void)state;
    put(10, 8, ONE, KIND_FREE_ZERO);
    assert_false(run_take_at_locked(arena, base + 10, 9, KIND_BUSY, &zero));
    assert_false(run_take_at_locked(arena, base + 12, 2, KIND_BUSY, &zero));
    assert_false(run_take_at_locked(arena, base + 17, 1, KIND_BUSY, &zero));
    assert_false(run_take_at_locked(arena, base + 9, 1, KIND_BUSY, &zero));
    assert_false(run_take_at_locked(arena, base + 18, 1, KIND_BUSY, &zero));
    assert_int_equal(length_at(10), 8);
    assert_int_equal(arena->totals.free_run_bytes, 8 * GRANULE);
}

static void a_removed_run_can_be_put_back_in_parts(void **state)
{
    (void)state;
    put(10, 12, ONE, KIND_FREE_DIRTY);
    uint32_t region = pagemap_tag(base + 10)->region;
    assert_int_equal(run_remove_locked(arena, base + 10), 12);
    assert_int_equal(arena->totals.free_run_bytes, 0);
    assert_int_equal(run_find_locked(arena, 1), 0);
    run_restore_locked(arena, base + 16, 6, region);
    assert_int_equal(length_at(16), 6);
    assert_true(is_in_dirty_bins(16));
    assert_int_equal(arena->totals.free_run_bytes, 6 * GRANULE);
    assert_int_equal(run_find_locked(arena, 6), base + 16);
    assert_int_equal(arena->totals.dirty_bytes, 12 * GRANULE); /* restoring is no statement on residence */
}

static void the_longest_is_found_in_its_own_bins(void **state)
{
    (void)state;
    assert_int_equal(run_find_long_locked(&arena->granules->dirty_runs), 0);
    put(10, 3, ONE, KIND_FREE_DIRTY);
    put(20, 40, ONE, KIND_FREE_DIRTY);
    put(100, 200, ONE, KIND_FREE_ZERO);
    assert_int_equal(run_find_long_locked(&arena->granules->dirty_runs), base + 20);
    assert_int_equal(run_find_long_locked(&arena->granules->clean_runs), base + 100);
}

static void kinds_that_are_free_are_those_three(void **state)
{
    (void)state;
    for (uint32_t kind = 0; kind <= 0xff; kind++)
        assert_int_equal(run_kind_is_free(kind),
                         kind == KIND_FREE_DIRTY || kind == KIND_FREE_PURGED || kind == KIND_FREE_ZERO);
}

/* Each length is served exactly when a run of it is there, wherever its bin is. */
static void a_run_is_found_if_and_only_if_one_is_long_enough(void **state)
{
    (void)state;
    for (uint32_t length = 1; length < SPAN; length++) {
        put(0, length, ONE, KIND_FREE_ZERO);
        for (uint32_t wanted = length > 8 ? length - 8 : 1; wanted <= length + 8; wanted++)
            assert_int_equal(run_find_locked(arena, wanted) != 0, wanted <= length);
        run_remove_locked(arena, base);
        pagemap_set(base, length, 0);
    }
}

/* --- beside a naive model: what each granule is --- */

static uint32_t model[SPAN + 1]; /* kind; KIND_BUSY: taken; the last entry is an end */
static uint32_t taken_length[SPAN];

static uint32_t longest_free(void)
{
    uint32_t longest = 0, length = 0;

    for (uint32_t i = 0; i < SPAN; i++) {
        length = run_kind_is_free(model[i]) ? length + 1 : 0;
        longest = length > longest ? length : longest;
    }
    return longest;
}

static void compare_with_model(void)
{
    size_t free = 0, dirty = 0;

    for (uint32_t i = 0; i < SPAN; i++) {
        assert_int_equal(run_kind(arena, base + i), model[i]);
        free += run_kind_is_free(model[i]);
        dirty += model[i] == KIND_FREE_DIRTY;
        bool begins = run_kind_is_free(model[i]) && (i == 0 || !run_kind_is_free(model[i - 1]));
        if (begins) {
            uint32_t end = i;
            bool any_dirt = false;
            for (; run_kind_is_free(model[end]); end++)
                any_dirt |= model[end] == KIND_FREE_DIRTY;
            assert_int_equal(length_at(i), end - i);
            assert_true(is_in_dirty_bins(i) || !any_dirt);
        }
    }
    assert_int_equal(arena->totals.free_run_bytes, free * GRANULE);
    assert_int_equal(arena->totals.dirty_bytes, dirty * GRANULE);
}

static void model_set(uint32_t from, uint32_t length, uint32_t kind)
{
    for (uint32_t i = from; i < from + length; i++)
        model[i] = kind;
}

static void random_puts_and_takes_agree_with_a_naive_model(void **state)
{
    rng_t rng = {test_seed(11)};

    (void)state;
    put(0, SPAN, ONE, KIND_FREE_ZERO);
    model_set(0, SPAN, KIND_FREE_ZERO);
    model[SPAN] = 0;
    memset(taken_length, 0, sizeof taken_length);
    for (int round = 0; round < 6000 / SLOWNESS; round++) {
        uint32_t at_random = (uint32_t)rng_below(&rng, SPAN);
        if (taken_length[at_random] != 0) {
            uint32_t kind = KIND_FREE_DIRTY + (uint32_t)rng_below(&rng, 3);
            put(at_random, taken_length[at_random], ONE, kind);
            model_set(at_random, taken_length[at_random], kind);
            taken_length[at_random] = 0;
        } else {
            bool zero;
            uint32_t length = 1 + (uint32_t)rng_size(&rng, 6);
            granule_t first = run_take_locked(arena, length, KIND_BUSY, &zero);
            assert_int_equal(first != 0, length <= longest_free());
            bool really = true;
            for (uint32_t i = 0; first != 0 && i < length; i++)
                really &= model[first - base + i] == KIND_FREE_ZERO;
            if (first != 0) {
                assert_int_equal(zero, really);
                model_set(first - base, length, KIND_BUSY);
                taken_length[first - base] = length;
            }
        }
        if (round % 16 == 0)
            compare_with_model();
    }
    compare_with_model();
}

#define in_span(test) cmocka_unit_test_setup_teardown(test, open_span, close_span)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_span(a_run_put_alone_keeps_its_length_and_region),
        in_span(put_merges_with_the_run_before),
        in_span(put_merges_with_the_run_behind),
        in_span(put_merges_with_both_neighbours),
        in_span(put_does_not_merge_across_regions),
        in_span(put_does_not_merge_with_what_is_in_use),
        in_span(put_does_not_merge_with_another_arenas_run),
        in_span(take_splits_off_the_front),
        in_span(take_of_a_whole_run_leaves_nothing),
        in_span(the_shortest_that_fits_is_cut),
        in_span(resident_runs_serve_before_purged_ones),
        in_span(dirt_is_a_granules_and_a_merged_run_forgets_none),
        in_span(what_was_purged_without_zeroes_is_not_zero),
        in_span(one_dirty_granule_makes_a_run_not_zero),
        in_span(take_at_takes_the_front_of_the_run_that_begins_there),
        in_span(take_at_refuses_what_does_not_begin_there_or_is_too_short),
        in_span(a_removed_run_can_be_put_back_in_parts),
        in_span(the_longest_is_found_in_its_own_bins),
        in_span(kinds_that_are_free_are_those_three),
        in_span(a_run_is_found_if_and_only_if_one_is_long_enough),
        in_span(random_puts_and_takes_agree_with_a_naive_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
