/* test_util.c: arithmetic on sizes, bits and addresses, compared with the plain definitions. */
#define _GNU_SOURCE
#include "../../arena/util.h"

#include "../support.h"

static void align_up_is_the_first_multiple_from_the_value_on(void **state)
{
    (void)state;
    for (size_t alignment = 1; alignment <= 64; alignment *= 2) {
        for (size_t value = 0; value < 500; value++) {
            size_t expected = value;
            while (expected % alignment != 0)
                expected++;
            assert_int_equal(align_up(value, alignment), expected);
        }
    }
}

static void align_down_is_the_last_multiple_up_to_the_value(void **state)
{
    (void)state;
    for (size_t alignment = 1; alignment <= 64; alignment *= 2) {
        for (size_t value = 0; value < 500; value++)
            assert_int_equal(align_down(value, alignment), value / alignment * alignment);
    }
}

static void alignments_reach_to_the_top_of_the_address_space(void **state)
{
    (void)state;
    assert_int_equal(align_up(SIZE_MAX - GRANULE + 1, GRANULE), SIZE_MAX - GRANULE + 1);
    assert_int_equal(align_up(SIZE_MAX - GRANULE, GRANULE), SIZE_MAX - GRANULE + 1);
    assert_int_equal(align_down(SIZE_MAX, GRANULE), SIZE_MAX - GRANULE + 1);
}

static void an_address_is_aligned_if_a_division_leaves_nothing(void **state)
{
    (void)state;
    for (uintptr_t address = 4096; address < 4096 + 300; address++) {
        for (size_t alignment = 1; alignment <= 256; alignment *= 2)
            assert_int_equal(is_aligned((void *)address, alignment), address % alignment == 0);
    }
}

static void powers_of_two_are_told_from_all_else(void **state)
{
    (void)state;
    size_t power = 1;
    for (size_t value = 0; value < 5000; value++) {
        assert_int_equal(is_power_of_two(value), value == power);
        power = value == power ? 2 * power : power;
    }
    assert_true(is_power_of_two(SIZE_MAX / 2 + 1));
    assert_false(is_power_of_two(SIZE_MAX));
}

static void floor_log2_is_the_highest_bit(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < sizeof(size_t) * 8; bit++) {
        size_t lowest = (size_t)1 << bit;
        assert_int_equal(floor_log2(lowest), bit);
        assert_int_equal(floor_log2(lowest | (lowest - 1)), bit);
        assert_int_equal(floor_log2(lowest | 1), bit);
    }
}

static void lowest_bit_ignores_those_above(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t one = (uint64_t)1 << bit;
        assert_int_equal(lowest_bit(one), bit);
        assert_int_equal(lowest_bit(one | (uint64_t)1 << 63), bit);
    }
}

static void bits_from_are_none_below_and_all_from_there(void **state)
{
    (void)state;
    for (unsigned first = 0; first <= 70; first++) {
        for (unsigned bit = 0; bit < 64; bit++)
            assert_int_equal(bits_from(first) >> bit & 1, bit >= first);
    }
}

static void addresses_move_by_bytes_and_back(void **state)
{
    char bytes[64];

    (void)state;
    assert_ptr_equal(at(bytes, 13), bytes + 13);
    assert_ptr_equal(before(bytes + 13, 13), bytes);
    assert_int_equal(distance(bytes, bytes + 13), 13);
}

static void a_span_contains_its_first_byte_and_not_its_end(void **state)
{
    char bytes[64];

    (void)state;
    assert_false(contains(bytes + 8, 16, bytes + 7));
    assert_true(contains(bytes + 8, 16, bytes + 8));
    assert_true(contains(bytes + 8, 16, bytes + 23));
    assert_false(contains(bytes + 8, 16, bytes + 24));
    assert_false(contains(bytes + 8, 0, bytes + 8));
    assert_false(contains(bytes + 8, 16, NULL));
}

static void a_product_overflows_from_two_to_the_width_on(void **state)
{
    size_t product = 0, root = (size_t)1 << (sizeof(size_t) * 4);

    (void)state;
    assert_false(multiply_overflows(0, SIZE_MAX, &product));
    assert_int_equal(product, 0);
    assert_false(multiply_overflows(SIZE_MAX, 1, &product));
    assert_int_equal(product, SIZE_MAX);
    assert_false(multiply_overflows(root - 1, root, &product));
    assert_int_equal(product, (root - 1) * root);
    assert_true(multiply_overflows(root, root, &product));
    assert_true(multiply_overflows(SIZE_MAX / 2 + 1, 2, &product));
}

static void min_and_max_choose_the_lesser_and_the_greater(void **state)
{
    (void)state;
    assert_int_equal(min_size(3, 4), 3);
    assert_int_equal(min_size(4, 3), 3);
    assert_int_equal(max_size(3, 4), 4);
    assert_int_equal(max_size(SIZE_MAX, 3), SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(align_up_is_the_first_multiple_from_the_value_on),
        cmocka_unit_test(align_down_is_the_last_multiple_up_to_the_value),
        cmocka_unit_test(alignments_reach_to_the_top_of_the_address_space),
        cmocka_unit_test(an_address_is_aligned_if_a_division_leaves_nothing),
        cmocka_unit_test(powers_of_two_are_told_from_all_else),
        cmocka_unit_test(floor_log2_is_the_highest_bit),
        cmocka_unit_test(lowest_bit_ignores_those_above),
        cmocka_unit_test(bits_from_are_none_below_and_all_from_there),
        cmocka_unit_test(addresses_move_by_bytes_and_back),
        cmocka_unit_test(a_span_contains_its_first_byte_and_not_its_end),
        cmocka_unit_test(a_product_overflows_from_two_to_the_width_on),
        cmocka_unit_test(min_and_max_choose_the_lesser_and_the_greater),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
