/*
 * test_bin.c: the bins of free chunks. A bin looks at headers and links only, so a chunk here may claim any
 * size while all of them lie close together in an array.
 */
#define _GNU_SOURCE
#include "../../arena/bin.h"

#include "layer.h"

enum { CHUNKS = 256, STRIDE = 32 };

static arena_t *arena;
static _Alignas(16) char memory[CHUNKS * STRIDE + 8];

static int open_bins(void **state)
{
    (void)state;
    arena = layer_arena(0, 2);
    return 0;
}

static int close_bins(void **state)
{
    (void)state;
    arena_destroy(arena);
    return 0;
}

static chunk_t *chunk_number(size_t i)
{
    return (chunk_t *)(memory + 8 + i * STRIDE);
}

static chunk_t *put(size_t i, size_t size)
{
    chunk_t *chunk = chunk_number(i);

    chunk_set(chunk, CHUNK_FREE, size, CHUNK_PREV_INUSE);
    bin_insert_locked(arena, chunk);
    return chunk;
}

static unsigned bins_in_all(void)
{
    return arena->bins.levels << arena->bins.steps_log2;
}

/* The smallest size whose bin this is; sizes are multiples of 8. */
static size_t lowest_of(const chunk_bins_t *bins, unsigned bin)
{
    size_t steps = (size_t)1 << bins->steps_log2;
    size_t level = bin >> bins->steps_log2, step = bin & (steps - 1);

    return 8 * (level == 0 ? step : (steps + step) << (level - 1));
}

static void every_size_maps_to_the_bin_that_the_rule_gives(void **state)
{
    const chunk_bins_t *bins = &arena->bins;
    unsigned bin = 0;

    (void)state;
    for (size_t size = CHUNK_MIN; size < MIB; size += 8) {
        while (lowest_of(bins, bin + 1) <= size)
            bin++;
        assert_int_equal(bin_index(bins, size), bin);
    }
    for (size_t size = MIB; size < LARGE_MAX_BYTES * 2; size += size / 64 / 8 * 8) {
        while (lowest_of(bins, bin + 1) <= size)
            bin++;
        assert_int_equal(bin_index(bins, size), bin);
        assert_int_equal(bin_index(bins, size - 8), size - 8 < lowest_of(bins, bin) ? bin - 1 : bin);
    }
}

static void a_bin_spans_at_most_a_sixteenth(void **state)
{
    const chunk_bins_t *bins = &arena->bins;

    (void)state;
    for (unsigned bin = bin_index(bins, CHUNK_MIN); bin + 1 < bins_in_all(); bin++) {
        size_t low = lowest_of(bins, bin), high = lowest_of(bins, bin + 1) - 8;
        assert_int_equal(bin_index(bins, low), bin);
        assert_int_equal(bin_index(bins, high), bin);
        assert_true((high - low) * 16 < low + 8 * 16);
    }
}

static void what_is_beyond_the_table_shares_the_last_bin(void **state)
{
    (void)state;
    for (size_t size = LARGE_MAX_BYTES * 4; size < CHUNK_SIZE_MASK / 2; size *= 2)
        assert_int_equal(bin_index(&arena->bins, size), bins_in_all() - 1);
}

/* A table for a buffer: heads fit what bin_table_bytes said, whatever the largest size is. */
static void a_table_has_room_for_its_heads(void **state)
{
    static _Alignas(16) char table[16 * KIB];

    (void)state;
    for (unsigned steps_log2 = 2; steps_log2 <= 4; steps_log2++) {
        for (size_t largest = 64; largest <= 64 * MIB; largest += largest / 3 / 8 * 8) {
            chunk_bins_t bins;
            size_t bytes = bin_table_bytes(largest, steps_log2);
            assert_true(bytes <= sizeof table);
            bin_table_init(&bins, table, largest, steps_log2);
            assert_true(bin_index(&bins, largest) < bins.levels << steps_log2);
            assert_true(bins.levels <= BINMAP_LEVELS);
            assert_true((char *)&bins.heads[bins.levels << steps_log2] <= table + bytes);
        }
    }
}

static void inserting_sets_both_bitmaps_and_removing_clears_them(void **state)
{
    const chunk_bins_t *bins = &arena->bins;
    static const size_t sizes[] = {32, 40, 128, 136, 1000, 65536, MIB, 40 * MIB, 1024 * MIB};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned bin = bin_index(bins, sizes[i]), level = bin >> bins->steps_log2;
        chunk_t *first = put(0, sizes[i]), *second = put(1, sizes[i]);
        assert_ptr_equal(bins->heads[bin], second);
        assert_int_equal(bins->used.levels, 1u << level);
        assert_int_equal(bins->used.steps[level], binmap_bit(bin, bins->steps_log2));
        assert_int_equal(arena->totals.free_chunk_bytes, 2 * sizes[i]);
        bin_remove_locked(arena, second);
        assert_ptr_equal(bins->heads[bin], first);
        assert_int_equal(bins->used.levels, 1u << level);
        bin_remove_locked(arena, first);
        assert_null(bins->heads[bin]);
        assert_int_equal(bins->used.levels, 0);
        assert_int_equal(bins->used.steps[level], 0);
        assert_int_equal(arena->totals.free_chunk_bytes, 0);
    }
}

static void a_level_stays_marked_while_another_step_of_it_is_used(void **state)
{
    const chunk_bins_t *bins = &arena->bins;

    (void)state;
    chunk_t *one = put(0, 256), *other = put(1, 272); /* the same power of two */
    must(bin_index(bins, 256) >> bins->steps_log2 == bin_index(bins, 272) >> bins->steps_log2);
    bin_remove_locked(arena, one);
    assert_int_not_equal(bins->used.levels, 0);
    assert_ptr_equal(bin_find_locked(arena, 200), other);
    bin_remove_locked(arena, other);
    assert_int_equal(bins->used.levels, 0);
}

static void removing_from_the_middle_keeps_the_others(void **state)
{
    (void)state;
    chunk_t *last = put(0, 512), *middle = put(1, 512), *head = put(2, 512);
    bin_remove_locked(arena, middle);
    assert_ptr_equal(head->next, last);
    assert_ptr_equal(last->previous, head);
    assert_null(last->next);
    bin_remove_locked(arena, last);
    assert_null(head->next);
    assert_ptr_equal(bin_find_locked(arena, 512), head);
}

/* `gap` bytes from the old one, over its links or not; the bytes of its header are not the bins' to write. */
static void replace_at(ptrdiff_t gap, size_t size)
{
    chunk_t *last = put(0, 512), *old = put(2, 512), *head = put(4, 512);
    chunk_t *chunk = (chunk_t *)((char *)old + gap);
    size_t before = arena->totals.free_chunk_bytes;

    bin_replace_locked(arena, old, chunk, size);
    chunk_set(chunk, CHUNK_FREE, size, CHUNK_PREV_INUSE);
    assert_int_equal(arena->totals.free_chunk_bytes, before - 512 + size);
    if (bin_index(&arena->bins, size) == bin_index(&arena->bins, 512)) {
        assert_ptr_equal(head->next, chunk);
        assert_ptr_equal(chunk->previous, head);
        assert_ptr_equal(chunk->next, last);
        assert_ptr_equal(last->previous, chunk);
    } else {
        assert_ptr_equal(head->next, last);
        assert_ptr_equal(last->previous, head);
        assert_ptr_equal(arena->bins.heads[bin_index(&arena->bins, size)], chunk);
        assert_null(chunk->next);
        assert_null(chunk->previous);
    }
    bin_remove_locked(arena, head);
    bin_remove_locked(arena, chunk);
    bin_remove_locked(arena, last);
    assert_int_equal(arena->bins.used.levels, 0);
    assert_int_equal(arena->totals.free_chunk_bytes, 0);
}

static void what_replaces_a_chunk_may_lie_over_it(void **state)
{
    static const size_t sizes[] = {64, 496, 512, 520, 2048};

    (void)state;
    for (ptrdiff_t gap = -24; gap <= 24; gap += 8) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            replace_at(gap, sizes[i]);
    }
}

static void the_only_one_of_a_bin_is_replaced(void **state)
{
    (void)state;
    chunk_t *old = put(0, 2 * GRANULE + 80), *chunk = chunk_number(1);
    bin_replace_locked(arena, old, chunk, 2 * GRANULE + 8);
    chunk_set(chunk, CHUNK_FREE, 2 * GRANULE + 8, CHUNK_PREV_INUSE);
    assert_ptr_equal(bin_find_locked(arena, GRANULE), chunk);
    assert_int_equal(arena->totals.wide_chunk_bytes, 2 * GRANULE + 8);
    bin_replace_locked(arena, chunk, chunk, GRANULE - 8);
    chunk_set(chunk, CHUNK_FREE, GRANULE - 8, CHUNK_PREV_INUSE);
    assert_null(bin_find_locked(arena, GRANULE));
    assert_ptr_equal(bin_find_locked(arena, GRANULE / 2), chunk);
    assert_int_equal(arena->totals.wide_chunk_bytes, 0);
    bin_remove_locked(arena, chunk);
    assert_int_equal(arena->bins.used.levels, 0);
}

static int remove_with_broken_links(void *links)
{
    (void)links;
    must(freopen("/dev/null", "w", stderr) != NULL);
    put(0, 512);
    chunk_t *chunk = put(1, 512);
    chunk->next = chunk_number(5); /* an overflow wrote it */
    memset(chunk_number(5), 0, STRIDE);
    bin_remove_locked(arena, chunk);
    return 0;
}

static int replace_with_broken_links(void *links)
{
    (void)links;
    must(freopen("/dev/null", "w", stderr) != NULL);
    chunk_t *first = put(0, 512);
    put(1, 512);
    first->previous = chunk_number(5);
    memset(chunk_number(5), 0, STRIDE);
    bin_replace_locked(arena, first, chunk_number(2), 512);
    return 0;
}

static void replacing_with_broken_links_ends_the_process(void **state)
{
    (void)state;
    int status = status_of_child(replace_with_broken_links, NULL, 10);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void removing_with_broken_links_ends_the_process(void **state)
{
    (void)state;
    int status = status_of_child(remove_with_broken_links, NULL, 10);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void clearing_forgets_every_chunk(void **state)
{
    (void)state;
    for (size_t i = 0; i < 60; i++)
        put(i, 32 + i * i * 64);
    bin_table_clear(&arena->bins);
    assert_int_equal(arena->bins.used.levels, 0);
    for (unsigned bin = 0; bin < bins_in_all(); bin++)
        assert_null(arena->bins.heads[bin]);
    assert_null(bin_find_locked(arena, 32));
}

static void nothing_fits_in_empty_bins(void **state)
{
    (void)state;
    for (arena_fit_t fit = ARENA_FIT_GOOD; fit <= ARENA_FIT_NEXT; fit++) {
        arena->fit = fit;
        assert_null(bin_find_locked(arena, 32));
        assert_null(bin_find_locked(arena, 1024 * MIB));
    }
}

static void good_fit_is_found_in_the_very_bin_and_in_the_next(void **state)
{
    (void)state;
    for (size_t size = 32; size < 100000; size += 8 + size / 100 / 8 * 8) {
        chunk_t *chunk = put(0, size);
        assert_ptr_equal(bin_find_locked(arena, size), chunk);
        assert_ptr_equal(bin_find_locked(arena, size - size / 4 / 8 * 8), chunk);
        assert_null(bin_find_locked(arena, size + 8));
        bin_remove_locked(arena, chunk);
    }
}

static void good_fit_takes_no_larger_bin_than_it_must(void **state)
{
    (void)state;
    chunk_t *near = put(0, 1088);
    put(1, 4096);
    put(2, 65536);
    assert_ptr_equal(bin_find_locked(arena, 1024), near);
}

static void the_last_bin_is_searched_for_one_that_fits(void **state)
{
    (void)state;
    for (arena_fit_t fit = ARENA_FIT_GOOD; fit <= ARENA_FIT_NEXT; fit++) {
        arena->fit = fit;
        chunk_t *large = put(0, 1000 * MIB), *small = put(1, 500 * MIB);
        assert_ptr_equal(bin_find_locked(arena, 900 * MIB), large);
        assert_null(bin_find_locked(arena, 1001 * MIB));
        bin_remove_locked(arena, large);
        assert_null(bin_find_locked(arena, 900 * MIB));
        bin_remove_locked(arena, small);
    }
}

/* --- all policies beside a naive search --- */

static size_t model[CHUNKS]; /* size, or 0: not in a bin */

static chunk_t *first_beyond(const char *from, size_t size)
{
    for (size_t i = 0; i < CHUNKS; i++) {
        if (model[i] >= size && (const char *)chunk_number(i) + model[i] > from)
            return chunk_number(i);
    }
    return NULL;
}

static chunk_t *naive_first(size_t size)
{
    return first_beyond(NULL, size);
}

static chunk_t *naive_best(size_t size)
{
    size_t best = CHUNKS;

    for (size_t i = 0; i < CHUNKS; i++) {
        if (model[i] >= size && (best == CHUNKS || model[i] < model[best]))
            best = i;
    }
    return best == CHUNKS ? NULL : chunk_number(best);
}

static size_t largest(void)
{
    size_t bytes = 0;

    for (size_t i = 0; i < CHUNKS; i++)
        bytes = model[i] > bytes ? model[i] : bytes;
    return bytes;
}

static size_t number_of(const chunk_t *chunk)
{
    return (size_t)((const char *)chunk - (const char *)chunk_number(0)) / STRIDE;
}

/* Whether the policy may answer `found`. */
static void check_answer(arena_fit_t fit, size_t size, chunk_t *found, const char **rover)
{
    chunk_t *best = naive_best(size);

    if (found != NULL)
        assert_true(model[number_of(found)] >= size && model[number_of(found)] == chunk_size(found));
    switch (fit) {
    case ARENA_FIT_GOOD: /* none may be overlooked in a bin that only holds fitting ones */
        if (best != NULL && bin_index(&arena->bins, chunk_size(best)) > bin_index(&arena->bins, size) + 1)
            assert_non_null(found);
        if (found != NULL)
            assert_true(bin_index(&arena->bins, chunk_size(found)) <=
                            bin_index(&arena->bins, chunk_size(best)) + 1 ||
                        bin_index(&arena->bins, chunk_size(best)) == bin_index(&arena->bins, size));
        break;
    case ARENA_FIT_FIRST:
        assert_ptr_equal(found, naive_first(size));
        break;
    case ARENA_FIT_BEST:
        assert_ptr_equal(found, best);
        break;
    case ARENA_FIT_WORST:
        assert_int_equal(found != NULL, largest() >= size);
        assert_true(found == NULL || chunk_size(found) == largest());
        break;
    case ARENA_FIT_NEXT: {
        chunk_t *expected = first_beyond(*rover, size);
        assert_ptr_equal(found, expected != NULL ? expected : naive_first(size));
        *rover = found != NULL ? (const char *)found + size : *rover;
        break;
    }
    }
}

static void every_policy_answers_as_a_naive_search_would(void **state)
{
    rng_t rng = {test_seed(5)};

    (void)state;
    for (arena_fit_t fit = ARENA_FIT_GOOD; fit <= ARENA_FIT_NEXT; fit++) {
        arena->fit = fit;
        const char *rover = NULL;
        memset(model, 0, sizeof model);
        for (int round = 0; round < 20000 / SLOWNESS; round++) {
            size_t i = rng_below(&rng, CHUNKS);
            if (model[i] != 0 && round % 2 == 0) {
                model[i] = align_up(32 + rng_below(&rng, 2 * model[i]), 8);
                bin_replace_locked(arena, chunk_number(i), chunk_number(i), model[i]);
                chunk_set(chunk_number(i), CHUNK_FREE, model[i], CHUNK_PREV_INUSE);
            } else if (model[i] != 0) {
                bin_remove_locked(arena, chunk_number(i));
                model[i] = 0;
            } else if (rng_below(&rng, 3) == 0) {
                model[i] = align_up(32 + rng_size(&rng, 18), 8);
                put(i, model[i]);
            }
            size_t size = align_up(32 + rng_size(&rng, 18), 8);
            check_answer(fit, size, bin_find_locked(arena, size), &rover);
        }
        for (size_t i = 0; i < CHUNKS; i++) {
            if (model[i] != 0)
                bin_remove_locked(arena, chunk_number(i));
        }
        assert_int_equal(arena->totals.free_chunk_bytes, 0);
        assert_int_equal(arena->bins.used.levels, 0);
    }
}

#define with_bins(test) cmocka_unit_test_setup_teardown(test, open_bins, close_bins)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_bins(every_size_maps_to_the_bin_that_the_rule_gives),
        with_bins(a_bin_spans_at_most_a_sixteenth),
        with_bins(what_is_beyond_the_table_shares_the_last_bin),
        with_bins(a_table_has_room_for_its_heads),
        with_bins(inserting_sets_both_bitmaps_and_removing_clears_them),
        with_bins(a_level_stays_marked_while_another_step_of_it_is_used),
        with_bins(removing_from_the_middle_keeps_the_others),
        with_bins(what_replaces_a_chunk_may_lie_over_it),
        with_bins(the_only_one_of_a_bin_is_replaced),
        with_bins(clearing_forgets_every_chunk),
        with_bins(nothing_fits_in_empty_bins),
        with_bins(good_fit_is_found_in_the_very_bin_and_in_the_next),
        with_bins(good_fit_takes_no_larger_bin_than_it_must),
        with_bins(the_last_bin_is_searched_for_one_that_fits),
        with_bins(every_policy_answers_as_a_naive_search_would),
        with_bins(removing_with_broken_links_ends_the_process),
        with_bins(replacing_with_broken_links_ends_the_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
