/* test_map.c: the hash table from word to word, against a plain array. */
#define _GNU_SOURCE
#include "../../arena/map.h"
#include "../support.h"

enum { CAPACITY = 64, KEYS = 42 };

static map_slot_t slots[CAPACITY];

static void a_map_without_memory_has_no_key_and_no_room(void **state)
{
    map_t map = {0};

    (void)state;
    assert_null(map_find(&map, 1));
    assert_false(map_has_room(&map, 1));
}

static void what_was_added_is_found_until_it_is_removed(void **state)
{
    map_t map = map_in(memset(slots, 0, sizeof slots), CAPACITY);

    (void)state;
    for (uintptr_t key = 1; map_has_room(&map, 1); key++)
        map_add(&map, key << 16, key);
    assert_int_equal(map.used, KEYS); /* two thirds */
    for (uintptr_t key = 1; key <= KEYS; key++)
        assert_int_equal(*map_find(&map, key << 16), key);
    assert_null(map_find(&map, 1));
    for (uintptr_t key = 1; key <= KEYS; key += 2)
        map_remove(&map, key << 16);
    for (uintptr_t key = 1; key <= KEYS; key++)
        assert_true((map_find(&map, key << 16) != NULL) == (key % 2 == 0));
}

/* Removal moves entries back over the end of the table, too: random keys in a small table find every case. */
static void random_adds_and_removals_agree_with_an_array(void **state)
{
    map_t map = map_in(memset(slots, 0, sizeof slots), CAPACITY);
    uintptr_t expected[100] = {0};
    rng_t rng = {test_seed(7)};

    (void)state;
    for (int round = 0; round < 200000 / SLOWNESS; round++) {
        uintptr_t key = 1 + rng_below(&rng, 99);
        if (expected[key] != 0) {
            map_remove(&map, key * 0x10000);
            expected[key] = 0;
        } else if (map_has_room(&map, 1)) {
            map_add(&map, key * 0x10000, expected[key] = rng_next(&rng) | 1);
        }
        uintptr_t other = 1 + rng_below(&rng, 99);
        const uintptr_t *value = map_find(&map, other * 0x10000);
        assert_int_equal(value == NULL ? 0 : *value, expected[other]);
    }
}

static void a_larger_map_takes_all_of_a_smaller(void **state)
{
    static map_slot_t more[2 * CAPACITY];
    map_t map = map_in(memset(slots, 0, sizeof slots), CAPACITY), larger = map_in(more, 2 * CAPACITY);

    (void)state;
    for (uintptr_t key = 1; key <= KEYS; key++)
        map_add(&map, key, 2 * key);
    map_add_all(&larger, &map);
    assert_int_equal(larger.used, KEYS);
    for (uintptr_t key = 1; key <= KEYS; key++)
        assert_int_equal(*map_find(&larger, key), 2 * key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_map_without_memory_has_no_key_and_no_room),
        cmocka_unit_test(what_was_added_is_found_until_it_is_removed),
        cmocka_unit_test(random_adds_and_removals_agree_with_an_array),
        cmocka_unit_test(a_larger_map_takes_all_of_a_smaller),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
