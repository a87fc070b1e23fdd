/* test_tcache_depot.c: an arena's stock of full magazines: last in, first out, bounded, decaying. */
#define _GNU_SOURCE
#include "../../tcache/depot.h"

#include "../../arena/meta.h"
#include "../support.h"

static depot_t *depot;
static char users[2];

static const struct cache *user(int i)
{
    return (const struct cache *)&users[i]; /* it is compared only */
}

static int open_depot(void **state)
{
    (void)state;
    depot = depot_create();
    return depot == NULL;
}

static int close_depot(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= CLASSES; class ++) {
        magazine_t *magazine;
        while ((magazine = depot_take(depot, NULL, class, NULL)) != NULL)
            meta_free(magazine);
    }
    size_t left = depot->held_bytes;
    meta_free(depot);
    return left != 0;
}

/* Full of numbered "blocks". */
static magazine_t *full_magazine(unsigned class, size_t number)
{
    magazine_t *magazine = meta_alloc(sizeof *magazine);

    must(magazine != NULL);
    void **top = magazine_make_empty(magazine, class);
    for (size_t i = 0; i < magazine_capacity(class); i++)
        *++top = (void *)(uintptr_t)(number * 4096 + 16 * (i + 1));
    return magazine;
}

static magazine_t *put_new(unsigned class)
{
    magazine_t *magazine = full_magazine(class, 1);

    if (depot_put(depot, NULL, class, magazine, NULL))
        return magazine;
    meta_free(magazine);
    return NULL;
}

static void both_users_come_by(void)
{
    must(depot_take(depot, user(0), 1, NULL) == NULL);
    must(depot_take(depot, user(1), 1, NULL) == NULL);
}

static void an_empty_depot_gives_nothing(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= CLASSES; class ++) {
        assert_null(depot_take(depot, NULL, class, NULL));
        assert_null(depot_take_spare(depot, class));
    }
}

static void the_last_one_put_comes_out_first_blocks_and_all(void **state)
{
    (void)state;
    magazine_t *first = full_magazine(5, 1), *second = full_magazine(5, 2);
    assert_true(depot_put(depot, NULL, 5, first, NULL));
    assert_true(depot_put(depot, NULL, 5, second, NULL));
    assert_ptr_equal(depot_take(depot, NULL, 5, NULL), second);
    size_t count;
    void **blocks = magazine_blocks(magazine_load_full(second, 5), 5, &count);
    assert_int_equal(count, magazine_capacity(5));
    assert_ptr_equal(blocks[0], (void *)(uintptr_t)(2 * 4096 + 16));
    assert_ptr_equal(depot_take(depot, NULL, 5, NULL), first);
    assert_null(depot_take(depot, NULL, 5, NULL));
    meta_free(first);
    meta_free(second);
}

static void classes_do_not_mix(void **state)
{
    (void)state;
    magazine_t *magazine = put_new(5);
    assert_non_null(magazine);
    assert_null(depot_take(depot, NULL, 4, NULL));
    assert_null(depot_take(depot, NULL, 6, NULL));
    assert_ptr_equal(depot_take(depot, NULL, 5, NULL), magazine);
    meta_free(magazine);
}

static void empty_ones_go_the_other_way(void **state)
{
    (void)state;
    magazine_t *full = full_magazine(5, 1), *empty = meta_alloc(sizeof *empty), *got = NULL, *kept = empty;
    assert_null(depot_take(depot, NULL, 5, &kept));
    assert_ptr_equal(kept, empty); /* nothing was taken */
    assert_true(depot_put(depot, NULL, 5, full, &got));
    assert_null(got); /* there is none yet */
    assert_ptr_equal(depot_take(depot, NULL, 5, &kept), full);
    assert_null(kept);
    assert_true(depot_put(depot, NULL, 5, full, &got));
    assert_ptr_equal(got, empty);
    assert_null(depot_take_empty(depot));
    assert_ptr_equal(depot_take(depot, NULL, 5, &got), full);
    kept = full;
    assert_true(depot_put(depot, NULL, 5, full, &kept)); /* who has one gets none */
    assert_ptr_equal(kept, full);
    assert_ptr_equal(depot_take_empty(depot), empty);
    assert_ptr_equal(depot_take(depot, NULL, 5, NULL), full);
    meta_free(full);
    meta_free(empty);
}

static void a_class_is_bounded_in_bytes(void **state)
{
    (void)state;
    both_users_come_by();
    for (unsigned class = 9; class <= CLASSES; class += 16) {
        size_t count = 0;
        while (put_new(class) != NULL)
            count++;
        size_t most = class <= SMALL_CLASSES ? DEPOT_SMALL_BYTES : DEPOT_CLASS_BYTES;
        assert_true(count * magazine_bytes(class) >= most);
        assert_true((count - 1) * magazine_bytes(class) < most);
        while (count-- > 0)
            meta_free(depot_take(depot, NULL, class, NULL));
    }
}

static void all_classes_together_are_bounded_in_bytes(void **state)
{
    size_t bytes = 0;

    (void)state;
    both_users_come_by();
    for (unsigned class = CLASSES; class > SLAB_CLASSES; class --) { /* of those above SLAB_MAX less */
        while (put_new(class) != NULL)
            bytes += magazine_bytes(class);
        assert_int_equal(depot->held_bytes, bytes);
    }
    assert_in_range(bytes, DEPOT_CLASS_BYTES, DEPOT_CLASS_BYTES + CLASS_MAX - 1);
    for (unsigned class = SLAB_CLASSES; class > SLAB_CLASSES - 8; class --) {
        while (put_new(class) != NULL)
            bytes += magazine_bytes(class);
        assert_int_equal(depot->held_bytes, bytes);
    }
    assert_in_range(bytes, DEPOT_HELD_BYTES, DEPOT_HELD_BYTES + magazine_bytes(SLAB_CLASSES) - 1);
}

static bool accepts(int who, unsigned class)
{
    magazine_t *magazine = full_magazine(class, 1);
    bool put = depot_put(depot, user(who), class, magazine, NULL);

    if (put)
        must(depot_take(depot, NULL, class, NULL) == magazine);
    meta_free(magazine);
    return put;
}

/* What one thread alone would put and take has no business here, if it is large. */
static void blocks_above_the_slabs_wait_for_other_threads_only(void **state)
{
    const unsigned wide = SLAB_CLASSES + 1;

    (void)state;
    assert_false(accepts(0, wide) || accepts(0, wide));
    assert_true(accepts(0, SLAB_CLASSES)); /* others may stay */
    assert_true(accepts(1, wide) && accepts(0, wide) && accepts(0, wide));
    assert_true(depot_decay_is_due(depot, PURGE_DELAY_MS)); /* and are both here still? */
    assert_false(accepts(0, wide) || accepts(0, wide));
    assert_null(depot_take(depot, NULL, wide, NULL)); /* to empty it is no use */
    assert_false(accepts(0, wide));
    assert_null(depot_take(depot, user(1), wide, NULL));
    assert_true(accepts(1, wide));
}

static void count_blocks(void *context, void *block)
{
    assert_non_null(block);
    ++*(size_t *)context;
}

static void every_block_of_a_chain_is_visited(void **state)
{
    size_t count = 0;

    (void)state;
    for (int i = 0; i < 3; i++)
        put_new(40);
    depot_each_block(depot->full[40], 40, count_blocks, &count);
    assert_int_equal(count, 3 * magazine_capacity(40));
    depot_each_block(NULL, 40, count_blocks, &count);
    assert_int_equal(count, 3 * magazine_capacity(40));
}

static void a_decay_is_due_every_quarter_second(void **state)
{
    (void)state;
    assert_true(depot_decay_is_due(depot, 10000));
    assert_false(depot_decay_is_due(depot, 10000 + PURGE_DELAY_MS - 1));
    assert_true(depot_decay_is_due(depot, 10000 + PURGE_DELAY_MS));
    assert_false(depot_decay_is_due(depot, 10000 + PURGE_DELAY_MS));
}

/* What one decay finds, as cache.c goes about it. */
static size_t decay(unsigned class)
{
    size_t count = 0;
    magazine_t *magazine;

    while ((magazine = depot_take_spare(depot, class)) != NULL) {
        meta_free(magazine);
        count++;
    }
    return count;
}

static void what_was_not_needed_since_the_last_decay_goes(void **state)
{
    magazine_t *taken[2];

    (void)state;
    for (int i = 0; i < 5; i++)
        put_new(7);
    assert_int_equal(decay(7), 0); /* the first only begins to count */
    for (int i = 0; i < 2; i++)
        taken[i] = depot_take(depot, NULL, 7, NULL);
    for (int i = 0; i < 2; i++)
        must(depot_put(depot, NULL, 7, taken[i], NULL));
    assert_int_equal(decay(7), 3);
    assert_int_equal(depot->count[7], 2);
}

static void what_is_needed_all_the_time_stays(void **state)
{
    magazine_t *taken[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        put_new(7);
    decay(7);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++)
            taken[i] = depot_take(depot, NULL, 7, NULL);
        for (int i = 0; i < 3; i++)
            must(depot_put(depot, NULL, 7, taken[i], NULL));
        assert_int_equal(decay(7), 0);
    }
}

static void an_idle_depot_is_empty_soon(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++)
        put_new(7);
    for (int i = 0; i < 3; i++)
        decay(7);
    assert_int_equal(depot->count[7], 0);
    assert_int_equal(depot->held_bytes, 0);
}

#define in_depot(test) cmocka_unit_test_setup_teardown(test, open_depot, close_depot)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_depot(an_empty_depot_gives_nothing),
        in_depot(the_last_one_put_comes_out_first_blocks_and_all),
        in_depot(classes_do_not_mix),
        in_depot(empty_ones_go_the_other_way),
        in_depot(a_class_is_bounded_in_bytes),
        in_depot(all_classes_together_are_bounded_in_bytes),
        in_depot(blocks_above_the_slabs_wait_for_other_threads_only),
        in_depot(every_block_of_a_chain_is_visited),
        in_depot(a_decay_is_due_every_quarter_second),
        in_depot(what_was_not_needed_since_the_last_decay_goes),
        in_depot(what_is_needed_all_the_time_stays),
        in_depot(an_idle_depot_is_empty_soon),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
