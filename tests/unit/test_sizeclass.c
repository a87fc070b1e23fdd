/*
 * test_sizeclass.c: the class tables, derived anew from their rule: 8; 16 to 128 by 16; then 8 steps a
 * doubling, to 64 KiB in slabs and to 1 MiB in chunks. Above 1, 2 and 4 KiB a 15th more is a class, and from there to
 * 64 KiB 14 to 4 of each fill a slab, of one granule to 16 KiB, of two to 32 and of four to 64.
 */
#define _GNU_SOURCE
#include "../../arena/sizeclass.h"

#include "../support.h"

/* The rule. rule[0] is class 0, none. */
static size_t rule[CLASSES + 2];
static unsigned classes;

static void derive_steps(size_t from)
{
    for (size_t step = 1; step <= 8; step++)
        rule[++classes] = from + step * from / 8;
}

static void derive_fitted(void)
{
    for (size_t blocks = 14; blocks > 7; blocks--)
        rule[++classes] = align_down(GRANULE / blocks, 64);
    for (size_t granules = 1; granules <= 4; granules *= 2) {
        for (size_t blocks = 7; blocks >= 4; blocks--)
            rule[++classes] = align_down(granules * GRANULE / blocks, granules == 1 ? 64 : KIB);
    }
}

static void derive(void)
{
    rule[1] = 8;
    classes = 1;
    for (size_t bytes = 16; bytes <= 128; bytes += 16)
        rule[++classes] = bytes;
    for (size_t from = 128; from < CLASS_MAX; from *= 2) {
        if (from >= SMALL_MAX && from <= 4096)
            rule[++classes] = align_down(from * 16 / 15, 16);
        if (from == 4096)
            derive_fitted();
        else if (from < 4096 || from >= 65536)
            derive_steps(from);
    }
}

static void there_are_as_many_classes_as_the_rule_makes(void **state)
{
    (void)state;
    assert_int_equal(classes, CLASSES);
    assert_int_equal(rule[SMALL_CLASSES], SMALL_MAX);
    assert_int_equal(rule[GRANULE_CLASSES], GRANULE / 4);
    assert_int_equal(rule[SLAB_CLASSES], SLAB_MAX);
    assert_int_equal(rule[CLASSES], CLASS_MAX);
}

static void the_table_of_bytes_is_the_rule(void **state)
{
    (void)state;
    assert_int_equal(sizeclass_bytes[0], 0);
    for (unsigned class = 1; class <= CLASSES; class ++)
        assert_int_equal(sizeclass_bytes[class], rule[class]);
}

static void every_request_gets_the_smallest_class_that_holds_it(void **state)
{
    unsigned class = 1;

    (void)state;
    for (size_t request = 0; request <= CLASS_MAX; request++) {
        while (rule[class] < request)
            class ++;
        assert_int_equal(sizeclass_of(request), class);
    }
}

static void the_table_of_small_requests_is_the_same_function(void **state)
{
    (void)state;
    for (size_t request = 0; request <= SMALL_MAX; request++) {
        unsigned class = sizeclass_small[request];
        assert_in_range(class, 1, SMALL_CLASSES);
        assert_true(rule[class] >= request && (class == 1 || rule[class - 1] < request));
    }
}

static void classes_grow_and_fit_chunks_and_slabs(void **state)
{
    (void)state;
    for (unsigned class = 2; class <= CLASSES; class ++) {
        assert_true(sizeclass_bytes[class] > sizeclass_bytes[class - 1]);
        assert_int_equal(sizeclass_bytes[class] % 16, 0);
    }
}

/* Up to 112 bytes the 16-byte grain of alignment decides, not the rule of eighths; above 8 KiB what fits a slab. */
static void at_most_an_eighth_is_wasted(void **state)
{
    (void)state;
    for (size_t request = 1; request <= CLASS_MAX; request++) {
        size_t usable = sizeclass_bytes[sizeclass_of(request)];
        assert_true(usable >= request);
        if (request > 8192 && request <= SLAB_MAX)
            assert_true((usable - request) * 100 <= 22 * usable);
        else if (request > 112)
            assert_true((usable - request) * 8 <= usable);
        else
            assert_true(usable - request < 16);
    }
}

/* Slabs begin at a granule's: so a block is aligned to what divides the class's size. */
static void an_aligned_request_gets_the_smallest_slab_class_of_whole_multiples(void **state)
{
    (void)state;
    for (size_t alignment = 16; alignment <= GRANULE; alignment *= 2) {
        for (size_t request = 1; request <= 3 * SLAB_MAX; request++) {
            size_t rounded = align_up(request, alignment);
            unsigned least = 1;
            while (least <= SLAB_CLASSES && (rule[least] < request || rule[least] % alignment != 0))
                least++;
            unsigned class = sizeclass_of_aligned(request, alignment);
            assert_int_equal(class, rounded > SLAB_MAX ? 0 : least);
        }
    }
    assert_int_equal(sizeclass_of_aligned(0, 64), 0);
    assert_int_equal(sizeclass_of_aligned(SIZE_MAX, 64), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_as_many_classes_as_the_rule_makes),
        cmocka_unit_test(the_table_of_bytes_is_the_rule),
        cmocka_unit_test(every_request_gets_the_smallest_class_that_holds_it),
        cmocka_unit_test(the_table_of_small_requests_is_the_same_function),
        cmocka_unit_test(classes_grow_and_fit_chunks_and_slabs),
        cmocka_unit_test(at_most_an_eighth_is_wasted),
        cmocka_unit_test(an_aligned_request_gets_the_smallest_slab_class_of_whole_multiples),
    };

    derive();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
