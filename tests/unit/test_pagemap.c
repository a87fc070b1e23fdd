/*
 * test_pagemap.c: entries and tags of granules. Only addresses matter here, never memory: most of those used
 * are nobody's.
 */
#define _GNU_SOURCE
#include "../../arena/pagemap.h"

#include "../support.h"

enum { LEAF_REACH_LOG2 = LEAF_LOG2 + GRANULE_LOG2 };

/* Addresses that no process uses below this; each test takes leaves of its own. */
static char *leaf_start(size_t leaf)
{
    return (char *)(uintptr_t)((uint64_t)(0x1000 + leaf) << LEAF_REACH_LOG2);
}

static void an_address_that_is_not_ours_has_no_entry(void **state)
{
    int on_stack = 0;
    static int global;

    (void)state;
    assert_int_equal(pagemap_entry(NULL), 0);
    assert_int_equal(pagemap_entry((void *)1), 0);
    assert_int_equal(pagemap_entry(&on_stack), 0);
    assert_int_equal(pagemap_entry(&global), 0);
    assert_int_equal(pagemap_entry((void *)(uintptr_t)an_address_that_is_not_ours_has_no_entry), 0);
    assert_int_equal(pagemap_entry(leaf_start(1)), 0);
}

static void an_address_beyond_the_map_has_no_entry(void **state)
{
    (void)state;
    assert_int_equal(pagemap_entry((void *)UINTPTR_MAX), 0);
    assert_int_equal(pagemap_entry((void *)(uintptr_t)((uint64_t)1 << (ADDRESS_BITS % 64))), 0);
    assert_int_equal(pagemap_entry((void *)(UINTPTR_MAX / 2 + 1)), 0);
}

static void a_leaf_is_made_once(void **state)
{
    char *start = leaf_start(2);

    (void)state;
    size_t mapped = pagemap_mapped_bytes();
    assert_true(pagemap_ensure(start, GRANULE));
    assert_int_equal(pagemap_mapped_bytes(), mapped + sizeof(pagemap_leaf_t));
    const pagemap_leaf_t *leaf = pagemap_leaf(granule_of(start));
    assert_non_null(leaf);
    assert_true(pagemap_ensure(start + 5 * GRANULE, 100 * GRANULE));
    assert_int_equal(pagemap_mapped_bytes(), mapped + sizeof(pagemap_leaf_t));
    assert_ptr_equal(pagemap_leaf(granule_of(start + 7 * GRANULE)), leaf);
}

static void a_span_across_leaves_gets_all_of_them(void **state)
{
    char *boundary = leaf_start(4);

    (void)state;
    assert_true(pagemap_ensure(boundary - GRANULE, 2 * GRANULE));
    assert_non_null(pagemap_leaf(granule_of(boundary - 1)));
    assert_non_null(pagemap_leaf(granule_of(boundary)));
    assert_ptr_not_equal(pagemap_leaf(granule_of(boundary - 1)), pagemap_leaf(granule_of(boundary)));
    pagemap_set(granule_of(boundary) - 1, 2, 0x737);
    assert_int_equal(pagemap_entry(boundary - 1), 0x737);
    assert_int_equal(pagemap_entry(boundary), 0x737);
}

static void a_span_that_ends_at_a_leaf_does_not_need_the_next(void **state)
{
    char *boundary = leaf_start(7);

    (void)state;
    assert_true(pagemap_ensure(boundary - GRANULE, GRANULE));
    assert_null(pagemap_leaf(granule_of(boundary)));
}

static void a_span_beyond_the_address_bits_is_refused(void **state)
{
    (void)state;
    assert_false(pagemap_ensure((char *)UINTPTR_MAX - 2 * GRANULE, GRANULE));
    assert_false(pagemap_ensure((char *)(uintptr_t)(((uint64_t)1 << ADDRESS_BITS) - GRANULE), 2 * GRANULE));
}

static void an_entry_answers_for_its_whole_granule_and_no_other(void **state)
{
    char *start = leaf_start(8) + 10 * GRANULE;

    (void)state;
    must(pagemap_ensure(start, GRANULE));
    pagemap_set(granule_of(start), 3, 0x1234);
    assert_int_equal(pagemap_entry(start - 1), 0);
    for (size_t offset = 0; offset < 3 * GRANULE; offset += 997)
        assert_int_equal(pagemap_entry(start + offset), 0x1234);
    assert_int_equal(pagemap_entry(start + 3 * GRANULE - 1), 0x1234);
    assert_int_equal(pagemap_entry(start + 3 * GRANULE), 0);
    assert_int_equal(pagemap_entry_of(granule_of(start) + 2), 0x1234);
    pagemap_set(granule_of(start) + 1, 1, 0);
    assert_int_equal(pagemap_entry(start), 0x1234);
    assert_int_equal(pagemap_entry(start + GRANULE), 0);
    assert_int_equal(pagemap_entry(start + 2 * GRANULE), 0x1234);
}

static void granules_and_their_addresses_are_inverse(void **state)
{
    (void)state;
    for (granule_t granule = 1; granule != 0; granule *= 3) {
        assert_int_equal(granule_of(granule_start(granule)), granule);
        assert_int_equal(granule_of((char *)granule_start(granule) + GRANULE - 1), granule);
        if (granule > UINT32_MAX / 3)
            break;
    }
    assert_int_equal(granule_of(NULL), 0);
}

static void each_granule_has_a_tag_of_its_own(void **state)
{
    granule_t first = granule_of(leaf_start(10));

    (void)state;
    must(pagemap_ensure(granule_start(first), GRANULE));
    for (granule_t i = 0; i < 100; i++)
        *pagemap_tag(first + i) = (run_tag_t){.length = i, .region = i + 1, .descriptor = granule_start(i)};
    for (granule_t i = 0; i < 100; i++) {
        const run_tag_t *tag = pagemap_tag(first + i);
        assert_true(tag->length == i && tag->region == i + 1 && tag->descriptor == granule_start(i));
    }
}

/* --- threads that need the same leaf at once --- */

static pthread_barrier_t start_line;

static void *ensure_the_same(void *number)
{
    for (size_t leaf = 100; leaf < 150; leaf++) {
        char *start = leaf_start(leaf) + (uintptr_t)number * GRANULE;
        pthread_barrier_wait(&start_line);
        must(pagemap_ensure(start, GRANULE));
        pagemap_set(granule_of(start), 1, 1 + (uint32_t)(uintptr_t)number);
    }
    return NULL;
}

static void a_lost_race_for_a_leaf_loses_no_entry(void **state)
{
    size_t mapped = pagemap_mapped_bytes();

    (void)state;
    must(pthread_barrier_init(&start_line, NULL, 4) == 0);
    run_threads(4, ensure_the_same);
    pthread_barrier_destroy(&start_line);
    assert_int_equal(pagemap_mapped_bytes(), mapped + 50 * sizeof(pagemap_leaf_t));
    for (size_t leaf = 100; leaf < 150; leaf++) {
        for (uint32_t i = 0; i < 4; i++)
            assert_int_equal(pagemap_entry(leaf_start(leaf) + i * GRANULE), 1 + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_that_is_not_ours_has_no_entry),
        cmocka_unit_test(an_address_beyond_the_map_has_no_entry),
        cmocka_unit_test(a_leaf_is_made_once),
        cmocka_unit_test(a_span_across_leaves_gets_all_of_them),
        cmocka_unit_test(a_span_that_ends_at_a_leaf_does_not_need_the_next),
        cmocka_unit_test(a_span_beyond_the_address_bits_is_refused),
        cmocka_unit_test(an_entry_answers_for_its_whole_granule_and_no_other),
        cmocka_unit_test(granules_and_their_addresses_are_inverse),
        cmocka_unit_test(each_granule_has_a_tag_of_its_own),
        cmocka_unit_test(a_lost_race_for_a_leaf_loses_no_entry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
