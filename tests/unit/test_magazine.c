/* test_magazine.c: the encoding of a magazine in the one pointer to its last filled slot. */
#define _GNU_SOURCE
#include "../../tcache/magazine.h"

#include "../support.h"

static _Alignas(MAGAZINE_BYTES) magazine_t magazine;

static void *block_number(size_t i)
{
    return (void *)(uintptr_t)(0x10000 + 16 * i);
}

static void it_holds_few_blocks_and_more_up_to_its_share_of_bytes(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= CLASSES; class ++) {
        unsigned capacity = magazine_capacity(class);
        size_t bytes = sizeclass_bytes[class];
        size_t few =
            max_size(min_size(MAGAZINE_HELD_BYTES / bytes, MAGAZINE_FEW), bytes <= 256 * KIB ? 4 : 1);
        assert_int_equal(capacity, max_size(min_size(MAGAZINE_SMALL_BYTES / bytes, MAGAZINE_SLOTS), few));
    }
}

static void an_empty_one_shows_null_and_is_not_full(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= CLASSES; class ++) {
        memset(&magazine, 0xff, sizeof magazine);
        void **top = magazine_make_empty(&magazine, class);
        assert_null(*top);
        assert_false(magazine_top_is_full(top));
        assert_ptr_equal(magazine_of(top), &magazine);
    }
}

static void it_is_full_after_its_capacity_and_not_before(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= CLASSES; class ++) {
        void **top = magazine_make_empty(&magazine, class);
        for (size_t i = 0; i < magazine_capacity(class); i++) {
            assert_false(magazine_top_is_full(top));
            *++top = block_number(i);
            assert_ptr_equal(magazine_of(top), &magazine);
        }
        assert_true(magazine_top_is_full(top));
        assert_ptr_equal(top, &magazine.slot[MAGAZINE_SLOTS]);
    }
}

static void blocks_come_out_in_the_reverse_order(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= CLASSES; class ++) {
        void **top = magazine_make_empty(&magazine, class);
        size_t count = magazine_capacity(class);
        for (size_t i = 0; i < count; i++)
            *++top = block_number(i);
        while (count-- > 0) {
            assert_ptr_equal(*top, block_number(count));
            top--;
        }
        assert_null(*top);
    }
}

static void its_blocks_are_those_between_the_null_and_the_top(void **state)
{
    size_t count;

    (void)state;
    for (unsigned class = 1; class <= CLASSES; class += 7) {
        void **top = magazine_make_empty(&magazine, class);
        magazine_blocks(top, class, &count);
        assert_int_equal(count, 0);
        for (size_t i = 0; i < magazine_capacity(class); i++) {
            *++top = block_number(i);
            void **blocks = magazine_blocks(top, class, &count);
            assert_int_equal(count, i + 1);
            assert_ptr_equal(blocks[0], block_number(0));
            assert_ptr_equal(blocks[i], block_number(i));
        }
    }
}

static void a_full_one_survives_being_chained(void **state)
{
    static _Alignas(MAGAZINE_BYTES) magazine_t other;
    size_t count;

    (void)state;
    for (unsigned class = 1; class <= CLASSES; class ++) {
        void **top = magazine_make_empty(&magazine, class);
        for (size_t i = 0; i < magazine_capacity(class); i++)
            *++top = block_number(i);
        magazine_set_next(&magazine, &other);
        assert_ptr_equal(magazine_next(&magazine), &other);
        top = magazine_load_full(&magazine, class);
        assert_true(magazine_top_is_full(top));
        void **blocks = magazine_blocks(top, class, &count);
        assert_int_equal(count, magazine_capacity(class));
        for (size_t i = 0; i < count; i++)
            assert_ptr_equal(blocks[i], block_number(i));
        assert_null(blocks[-1]);
    }
}

static void the_dummy_is_full_and_empty_at_once(void **state)
{
    void **top = magazine_top_of_dummy();
    size_t count = 7;

    (void)state;
    assert_null(*top);
    assert_true(magazine_top_is_full(top));
    assert_true(is_aligned(magazine_of(top), MAGAZINE_BYTES));
    magazine_blocks(top, 1, &count);
    assert_int_equal(count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_holds_few_blocks_and_more_up_to_its_share_of_bytes),
        cmocka_unit_test(an_empty_one_shows_null_and_is_not_full),
        cmocka_unit_test(it_is_full_after_its_capacity_and_not_before),
        cmocka_unit_test(blocks_come_out_in_the_reverse_order),
        cmocka_unit_test(its_blocks_are_those_between_the_null_and_the_top),
        cmocka_unit_test(a_full_one_survives_being_chained),
        cmocka_unit_test(the_dummy_is_full_and_empty_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
