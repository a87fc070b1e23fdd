/*
 * test_slab.c: granules cut into equal blocks: the order in which blocks and slabs serve, the bitmap's view of
 * misuse, and the way back to the runs.
 */
#define _GNU_SOURCE
#include "../../arena/slab.h"

#include "../../arena/os.h"
#include "../../arena/run.h"
#include "layer.h"
#include "one_arena.h"

enum { GRANULES = 16, CLASS = 33, PER_SLAB = 64 }; /* 1,024-byte blocks: 64 a slab */

static granule_t base;

static int open_heap(void **state)
{
    (void)state;
    must(sizeclass_bytes[CLASS] == GRANULE / PER_SLAB);
    arena = layer_arena(0, GRANULES);
    base = layer_region(arena, GRANULES);
    return 0;
}

static char *take_one(unsigned class)
{
    void *block = NULL;

    return slab_take_locked(arena, class, &block, 1) == 1 ? block : NULL;
}

static void take_slab(char **blocks)
{
    assert_int_equal(slab_take_locked(arena, CLASS, (void **)blocks, PER_SLAB), PER_SLAB);
    assert_int_equal(granule_of(blocks[0]), granule_of(blocks[PER_SLAB - 1]));
}

static void put(void *block)
{
    assert_int_equal(put_back(arena, block), MISUSE_NONE);
}

/* --- arithmetic --- */

static void the_reciprocal_is_the_smallest_above_the_quotient(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= SLAB_CLASSES; class ++) {
        uint64_t bytes = sizeclass_bytes[class];
        assert_int_equal(slab_reciprocal[class], (((uint64_t)1 << 40) + bytes - 1) / bytes);
    }
}

static void the_index_is_the_quotient_for_every_offset_and_class(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= SLAB_CLASSES; class ++) {
        size_t bytes = sizeclass_bytes[class], wrong = 0;
        for (size_t offset = 0; offset < slab_granules(class) * GRANULE; offset++)
            wrong += slab_index(class, offset) != offset / bytes;
        assert_int_equal(wrong, 0);
    }
}

/* --- order --- */

static void fresh_blocks_come_in_address_order(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= SLAB_CLASSES; class += 8) {
        char *last = take_one(class);
        assert_true(is_aligned(last, GRANULE));
        size_t blocks = slab_granules(class) * GRANULE / sizeclass_bytes[class];
        for (size_t i = 1; i < min_size(blocks, 40); i++) {
            char *next = take_one(class);
            assert_ptr_equal(next, last + sizeclass_bytes[class]);
            last = next;
        }
    }
}

static void freed_blocks_come_lowest_first_before_fresh_ones(void **state)
{
    char *blocks[20];

    (void)state;
    must(slab_take_locked(arena, 2, (void **)blocks, 20) == 20);
    put(blocks[15]);
    put(blocks[3]);
    put(blocks[9]);
    assert_ptr_equal(take_one(2), blocks[3]);
    assert_ptr_equal(take_one(2), blocks[9]);
    assert_ptr_equal(take_one(2), blocks[15]);
    assert_ptr_equal(take_one(2), blocks[19] + 16);
}

/* Bits in several words of the bitmap, freed downwards and upwards. */
static void a_whole_slab_comes_back_in_address_order(void **state)
{
    static char *blocks[4096], *again[4096];

    (void)state;
    for (int down = 0; down <= 1; down++) {
        must(slab_take_locked(arena, 2, (void **)blocks, 4096) == 4096);
        for (size_t i = 0; i < 4096; i++) {
            size_t k = down ? 4095 - i : i;
            if (k != 2000)
                put(blocks[k]);
        }
        assert_int_equal(slab_take_locked(arena, 2, (void **)again, 4095), 4095);
        for (size_t i = 0; i < 4095; i++)
            assert_ptr_equal(again[i], blocks[i < 2000 ? i : i + 1]);
        for (size_t i = 0; i < 4096; i++)
            put(blocks[i]);
    }
}

static void a_batch_goes_on_in_the_next_slab(void **state)
{
    char *blocks[3 * PER_SLAB];

    (void)state;
    assert_int_equal(slab_take_locked(arena, CLASS, (void **)blocks, 3 * PER_SLAB - 5), 3 * PER_SLAB - 5);
    assert_int_equal(arena->totals.slabs, 3);
    assert_int_equal(arena->totals.slab_blocks, 3 * PER_SLAB - 5);
    for (size_t i = 0; i < 3 * PER_SLAB - 5; i++) {
        fill(blocks[i], 1024, i);
        assert_int_equal(slab_validate_locked(blocks[i]), MISUSE_NONE);
    }
    for (size_t i = 0; i < 3 * PER_SLAB - 5; i++)
        assert_true(holds(blocks[i], 1024, i));
}

static void the_fullest_slab_serves_first(void **state)
{
    char *first[PER_SLAB], *second[PER_SLAB], *third[PER_SLAB];

    (void)state;
    take_slab(first);
    take_slab(second);
    take_slab(third);
    for (int i = 0; i < 40; i++) /* a quarter is left of the first, most of the second, half of the third */
        put(first[i]);
    for (int i = 0; i < 4; i++)
        put(second[i]);
    for (int i = 0; i < 24; i++)
        put(third[i]);
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(take_one(CLASS), second[i]);
    assert_ptr_equal(take_one(CLASS), third[0]);
}

static void a_slab_that_was_full_serves_again(void **state)
{
    char *blocks[PER_SLAB];

    (void)state;
    take_slab(blocks);
    put(blocks[17]);
    assert_ptr_equal(take_one(CLASS), blocks[17]);
    assert_int_not_equal(granule_of(take_one(CLASS)), granule_of(blocks[0]));
}

/* --- back to the runs --- */

static void an_empty_slab_goes_back_unless_it_is_the_last(void **state)
{
    char *first[PER_SLAB], *second[PER_SLAB];

    (void)state;
    take_slab(first);
    take_slab(second);
    size_t free_before = arena->totals.free_run_bytes;
    for (int i = 0; i < PER_SLAB; i++)
        put(first[i]);
    assert_int_equal(arena->totals.slabs, 1);
    assert_int_equal(arena->totals.free_run_bytes, free_before + GRANULE);
    assert_int_equal(run_kind(arena, granule_of(first[0])), KIND_FREE_DIRTY);
    for (int i = 0; i < PER_SLAB; i++)
        put(second[i]);
    assert_int_equal(arena->totals.slabs, 1);
    assert_int_equal(arena->totals.slab_free_usable, GRANULE);
}

static void an_empty_slab_goes_back_when_it_is_asked_for(void **state)
{
    (void)state;
    put(take_one(CLASS));
    put(take_one(2));
    char *kept = take_one(4);
    slab_release_empty_locked(arena);
    assert_int_equal(arena->totals.slabs, 1);
    assert_int_equal(arena->totals.slab_bytes, GRANULE);
    put(kept);
}

static void with_no_granule_left_nothing_is_taken(void **state)
{
    static char *blocks[GRANULES * PER_SLAB + 1];

    (void)state;
    assert_int_equal(slab_take_locked(arena, CLASS, (void **)blocks, GRANULES * PER_SLAB + 1),
                     GRANULES * PER_SLAB);
    assert_null(take_one(CLASS));
    assert_null(take_one(2));
    assert_int_equal(arena->totals.slabs, GRANULES);
}

/* Of the slab's 16 pages all but those of the two kept blocks can go. */
static void a_purge_drops_free_pages_and_keeps_the_others(void **state)
{
    char *blocks[PER_SLAB];

    (void)state;
    take_slab(blocks);
    for (size_t i = 0; i < PER_SLAB; i++)
        fill(blocks[i], 1024, i);
    assert_false(slab_of(blocks[0])->freed);
    for (size_t i = 0; i < PER_SLAB; i++) {
        if (i != 5 && i != 40)
            put(blocks[i]);
    }
    size_t purged = slab_purge_locked(arena, slab_of(blocks[0]));
    assert_true(purged >= GRANULE / 2 && purged < GRANULE);
    assert_true(holds(blocks[5], 1024, 5) && holds(blocks[40], 1024, 40));
    assert_true(all_zero(blocks[20], 1024));
    assert_false(slab_of(blocks[5])->freed);
    put(blocks[5]);
    assert_true(slab_of(blocks[5])->freed);
    assert_true(slab_purge_locked(arena, slab_of(blocks[0])) != 0);
    assert_true(holds(blocks[40], 1024, 40));
}

/* What was given back already is not counted again. */
static void purges_of_one_slab_add_up(void **state)
{
    char *blocks[PER_SLAB];
    size_t purged = 0, per_page = os_page_bytes() / 1024;

    (void)state;
    take_slab(blocks);
    for (size_t i = 0; i < PER_SLAB - 1; i++) {
        put(blocks[i]);
        if (i % per_page == per_page - 1)
            purged += slab_purge_locked(arena, slab_of(blocks[0]));
    }
    assert_int_equal(purged, GRANULE - os_page_bytes());
    assert_int_equal(arena->totals.purged_bytes, purged);
    must(take_one(CLASS) != NULL);
    assert_int_equal(arena->granules->retaken_bytes, purged);
}

/* A page that a block of 1,024 - 128 bytes begins before and ends in. */
static void a_purge_spares_blocks_that_reach_into_a_page(void **state)
{
    unsigned class = sizeclass_of(896);
    char *blocks[GRANULE / 896];

    (void)state;
    must(slab_take_locked(arena, class, (void **)blocks, GRANULE / 896) == GRANULE / 896);
    for (size_t i = 0; i < GRANULE / 896; i++)
        fill(blocks[i], 896, i);
    for (size_t i = 0; i < GRANULE / 896; i++) {
        if (i % 9 != 4)
            put(blocks[i]);
    }
    assert_true(slab_purge_locked(arena, slab_of(blocks[0])) != 0);
    for (size_t i = 4; i < GRANULE / 896; i += 9)
        assert_true(holds(blocks[i], 896, i));
}

/* --- several granules --- */

enum { WIDE = SLAB_CLASSES, WIDE_GRANULES = 4, PER_WIDE = 4 }; /* 64 KiB blocks */

static void a_large_class_has_slabs_of_several_granules(void **state)
{
    char *blocks[PER_WIDE];

    (void)state;
    must(sizeclass_bytes[WIDE] * PER_WIDE == slab_granules(WIDE) * GRANULE &&
         slab_granules(WIDE) == WIDE_GRANULES);
    assert_int_equal(slab_take_locked(arena, WIDE, (void **)blocks, PER_WIDE), PER_WIDE);
    assert_int_equal(arena->totals.slabs, 1);
    assert_int_equal(arena->totals.slab_bytes, WIDE_GRANULES * GRANULE);
    for (size_t i = 0; i < PER_WIDE; i++) {
        assert_ptr_equal(blocks[i], blocks[0] + i * sizeclass_bytes[WIDE]);
        assert_ptr_equal(slab_of(blocks[i] + 100), slab_of(blocks[0]));
        assert_int_equal(run_kind(arena, granule_of(blocks[i])), WIDE);
        assert_int_equal(slab_validate_locked(blocks[i]), MISUSE_NONE);
        fill(blocks[i], sizeclass_bytes[WIDE], i);
    }
    for (size_t i = 0; i < PER_WIDE; i++)
        assert_true(holds(blocks[i], sizeclass_bytes[WIDE], i));
    assert_int_equal(arena_check(arena), 0);
}

/* A granule of a slab begins inside a block, or with one of the slab's. */
static void a_granules_start_is_no_block_of_its_own(void **state)
{
    unsigned class = WIDE - 1;
    size_t bytes = sizeclass_bytes[class];
    char *blocks[4];

    (void)state;
    must(slab_take_locked(arena, class, (void **)blocks, 4) == 4 && slab_granules(class) == WIDE_GRANULES);
    for (size_t offset = 1; offset < WIDE_GRANULES * GRANULE;
         offset += offset % GRANULE == GRANULE - 1 ? 1 : GRANULE / 64 - 1) {
        misuse_t expected = offset % bytes != 0  ? MISUSE_INTERIOR
                            : offset / bytes < 4 ? MISUSE_NONE
                                                 : MISUSE_FOREIGN;
        assert_int_equal(slab_is_start(class, blocks[0] + offset), offset % bytes == 0);
        assert_int_equal(slab_validate_locked(blocks[0] + offset), expected);
    }
    put(blocks[2]);
    assert_int_equal(put_back(arena, blocks[2]), MISUSE_DOUBLE_FREE);
}

static void it_goes_back_whole_even_the_last_of_its_class(void **state)
{
    (void)state;
    size_t free_before = arena->totals.free_run_bytes;
    char *first = take_one(WIDE), *second = take_one(WIDE);
    assert_int_equal(arena->totals.free_run_bytes, free_before - WIDE_GRANULES * GRANULE);
    put(first);
    assert_int_equal(arena->totals.slabs, 1);
    put(second);
    assert_int_equal(arena->totals.slabs, 0);
    assert_int_equal(arena->totals.slab_bytes, 0);
    assert_int_equal(arena->totals.slab_free_usable, 0);
    assert_int_equal(arena->totals.free_run_bytes, free_before);
    for (granule_t i = 0; i < WIDE_GRANULES; i++)
        assert_int_equal(run_kind(arena, granule_of(first) + i), KIND_FREE_DIRTY);
}

static void put_granule(granule_t granule)
{
    run_put_locked(arena, granule, 1, pagemap_tag(granule)->region, KIND_FREE_DIRTY);
}

static void it_needs_granules_in_a_row(void **state)
{
    bool zero;

    (void)state;
    for (granule_t i = 0; i < GRANULES; i++)
        must(run_take_locked(arena, 1, KIND_BUSY, &zero) == base + i);
    for (granule_t i = 0; i < GRANULES; i++) {
        if (i % 4 != 3)
            put_granule(base + i); /* three free ones between any two */
    }
    assert_null(take_one(WIDE));
    assert_int_equal(arena->totals.slabs, 0);
    assert_non_null(take_one(GRANULE_CLASSES + 1)); /* two do */
    for (granule_t i = 3; i < GRANULES; i += 4)
        put_granule(base + i);
}

static void a_purge_reaches_all_its_granules(void **state)
{
    char *blocks[PER_WIDE];

    (void)state;
    must(slab_take_locked(arena, WIDE, (void **)blocks, PER_WIDE) == PER_WIDE);
    for (size_t i = 0; i < PER_WIDE; i++)
        fill(blocks[i], sizeclass_bytes[WIDE], i);
    put(blocks[3]);
    put(blocks[1]);
    assert_int_equal(slab_purge_locked(arena, slab_of(blocks[0])), 2 * sizeclass_bytes[WIDE]);
    assert_true(all_zero(blocks[3], sizeclass_bytes[WIDE]) && all_zero(blocks[1], sizeclass_bytes[WIDE]));
    assert_true(holds(blocks[0], sizeclass_bytes[WIDE], 0) && holds(blocks[2], sizeclass_bytes[WIDE], 2));
}

/* --- what reads as zero --- */

static void a_block_never_given_out_of_zero_granules_is_known_as_zero(void **state)
{
    bool zero = false;

    (void)state;
    char *first = slab_take_one_locked(arena, CLASS, &zero);
    assert_true(zero);
    char *second = slab_take_one_locked(arena, CLASS, &zero);
    assert_true(zero);
    put(first);
    assert_ptr_equal(slab_take_one_locked(arena, CLASS, &zero), first);
    assert_false(zero); /* it may have been written to */
    put(first);
    put(second);
    slab_release_empty_locked(arena);
    must(run_kind(arena, granule_of(first)) == KIND_FREE_DIRTY);
    assert_ptr_equal(slab_take_one_locked(arena, CLASS, &zero),
                     first); /* dirty granules serve before clean ones */
    assert_false(zero);
}

static void as_do_those_of_one_class(void **state)
{
    char *first[PER_SLAB], *second[PER_SLAB];
    misuse_t wrong = MISUSE_NONE;

    (void)state;
    take_slab(first);
    take_slab(second);
    void *order[] = {first[3], first[9], second[0], first[4], second[7]};
    assert_int_equal(slab_put_locked(arena, order, 5, &wrong), 5);
    assert_int_equal(wrong, MISUSE_NONE);
    assert_int_equal(slab_of(first[0])->used, PER_SLAB - 3);
    assert_int_equal(slab_of(second[0])->used, PER_SLAB - 2);
    assert_int_equal(arena->totals.slab_blocks, 2 * PER_SLAB - 5);
    assert_int_equal(slab_put_locked(arena, (void *const *)second + 1, 6, &wrong), 6);
    assert_int_equal(slab_of(second[0])->used, PER_SLAB - 8);
}

static void blocks_of_one_slab_go_back_together(void **state)
{
    char *a[5], *b[2];
    misuse_t wrong = MISUSE_NONE;

    (void)state;
    must(slab_take_locked(arena, 2, (void **)a, 5) == 5 &&
         slab_take_locked(arena, CLASS, (void **)b, 2) == 2);
    void *order[] = {a[3], a[1], b[1], a[2], a[2], b[0], b[0] + 8, a[0], a[4]};
    size_t steps[] = {2, 1, 1, 1, 1, 1, 2};
    misuse_t expected[] = {MISUSE_NONE, MISUSE_NONE,     MISUSE_NONE, MISUSE_DOUBLE_FREE,
                           MISUSE_NONE, MISUSE_INTERIOR, MISUSE_NONE};
    for (size_t i = 0, at = 0; i < sizeof steps / sizeof steps[0]; at += steps[i++]) {
        wrong = MISUSE_NONE;
        assert_int_equal(slab_put_locked(arena, &order[at], sizeof order / sizeof order[0] - at, &wrong),
                         steps[i]);
        assert_int_equal(wrong, expected[i]);
    }
    assert_int_equal(arena->totals.slab_blocks, 0);
    assert_int_equal(arena->totals.slab_usable, 0);
    assert_ptr_equal(take_one(2), a[0]); /* the lowest address first */
}

/* --- misuse --- */

static void a_double_free_is_found_by_the_bitmap(void **state)
{
    char *blocks[10];

    (void)state;
    must(slab_take_locked(arena, 2, (void **)blocks, 10) == 10);
    put(blocks[4]);
    totals_t totals = arena->totals;
    assert_int_equal(put_back(arena, blocks[4]), MISUSE_DOUBLE_FREE);
    assert_int_equal(slab_validate_locked(blocks[4]), MISUSE_DOUBLE_FREE);
    assert_memory_equal(&totals, &arena->totals, sizeof totals);
}

static void an_interior_pointer_is_found_at_every_offset(void **state)
{
    char *block;

    (void)state;
    for (unsigned class = 1; class <= SLAB_CLASSES; class += 8) {
        take_one(class);
        must((block = take_one(class)) != NULL);
        for (size_t offset = 1; offset < sizeclass_bytes[class]; offset++)
            assert_int_equal(put_back(arena, block + offset), MISUSE_INTERIOR);
        assert_int_equal(slab_validate_locked(block), MISUSE_NONE);
    }
}

static void a_block_never_given_out_is_foreign(void **state)
{
    (void)state;
    char *block = take_one(2);
    assert_int_equal(put_back(arena, block + 16), MISUSE_FOREIGN);
    assert_int_equal(put_back(arena, block + GRANULE - 16), MISUSE_FOREIGN);
}

/* 65,536 / 1,152... classes that do not divide a granule leave a tail that holds no block. */
static void the_tail_behind_the_last_block_is_no_block(void **state)
{
    static const size_t sizes[] = {960, 9344, 52224}; /* all leave room for no more */

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned class = sizeclass_of(sizes[i]);
        size_t bytes = sizeclass_bytes[class], capacity = slab_granules(class) * GRANULE / bytes;
        char *first = take_one(class);
        assert_true(capacity * bytes < slab_granules(class) * GRANULE);
        assert_int_equal(slab_of(first)->capacity, capacity);
        assert_true(slab_is_start(class, first + (capacity - 1) * bytes));
        assert_false(slab_is_start(class, first + capacity * bytes));
        assert_int_not_equal(put_back(arena, first + capacity * bytes), MISUSE_NONE);
    }
}

/* --- many operations --- */

static void random_use_keeps_count_and_contents(void **state)
{
    enum { HELD = 700 };
    static char *blocks[HELD];
    static unsigned classes[HELD];
    static const unsigned used_classes[] = {1, 2, 9, 20, CLASS};
    rng_t rng = {test_seed(7)};
    size_t live = 0, usable = 0;

    (void)state;
    memset(blocks, 0, sizeof blocks);
    for (int round = 0; round < 20000 / SLOWNESS; round++) {
        size_t i = rng_below(&rng, HELD);
        if (blocks[i] != NULL) {
            assert_true(holds(blocks[i], sizeclass_bytes[classes[i]], i));
            put(blocks[i]);
            live--;
            usable -= sizeclass_bytes[classes[i]];
            blocks[i] = NULL;
        } else {
            classes[i] = used_classes[rng_below(&rng, 5)];
            blocks[i] = take_one(classes[i]);
            if (blocks[i] == NULL)
                continue;
            fill(blocks[i], sizeclass_bytes[classes[i]], i);
            live++;
            usable += sizeclass_bytes[classes[i]];
        }
        assert_int_equal(arena->totals.slab_blocks, live);
        assert_int_equal(arena->totals.slab_usable, usable);
        if (round % 1000 == 0)
            assert_int_equal(arena_check(arena), 0);
    }
    for (size_t i = 0; i < HELD; i++) {
        if (blocks[i] != NULL)
            put(blocks[i]);
    }
    slab_release_empty_locked(arena);
    assert_int_equal(arena->totals.free_run_bytes, GRANULES * GRANULE);
}

#define in_heap(test) cmocka_unit_test_setup_teardown(test, open_heap, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_heap(the_reciprocal_is_the_smallest_above_the_quotient),
        in_heap(the_index_is_the_quotient_for_every_offset_and_class),
        in_heap(fresh_blocks_come_in_address_order),
        in_heap(freed_blocks_come_lowest_first_before_fresh_ones),
        in_heap(a_whole_slab_comes_back_in_address_order),
        in_heap(a_batch_goes_on_in_the_next_slab),
        in_heap(the_fullest_slab_serves_first),
        in_heap(a_slab_that_was_full_serves_again),
        in_heap(an_empty_slab_goes_back_unless_it_is_the_last),
        in_heap(an_empty_slab_goes_back_when_it_is_asked_for),
        in_heap(with_no_granule_left_nothing_is_taken),
        in_heap(purges_of_one_slab_add_up),
        in_heap(a_purge_drops_free_pages_and_keeps_the_others),
        in_heap(a_purge_spares_blocks_that_reach_into_a_page),
        in_heap(a_large_class_has_slabs_of_several_granules),
        in_heap(a_granules_start_is_no_block_of_its_own),
        in_heap(it_goes_back_whole_even_the_last_of_its_class),
        in_heap(it_needs_granules_in_a_row),
        in_heap(a_purge_reaches_all_its_granules),
        in_heap(a_block_never_given_out_of_zero_granules_is_known_as_zero),
        in_heap(blocks_of_one_slab_go_back_together),
        in_heap(as_do_those_of_one_class),
        in_heap(a_double_free_is_found_by_the_bitmap),
        in_heap(an_interior_pointer_is_found_at_every_offset),
        in_heap(a_block_never_given_out_is_foreign),
        in_heap(the_tail_behind_the_last_block_is_no_block),
        in_heap(random_use_keeps_count_and_contents),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
