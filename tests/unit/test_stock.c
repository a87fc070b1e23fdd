/* test_stock.c: warm regions kept for arenas to come: what fits is found, what is too much is refused, time halves it. */
#define _GNU_SOURCE
#include "../../arena/stock.h"

#include "../../arena/os.h"
#include "../../arena/util.h"
#include "../support.h"

/* The stock's clock, which here is ahead of the real one: no time passes but what a test lets pass. */
static uint64_t now;

/* And with its bound as at first. */
static int empty_stock(void **state)
{
    (void)state;
    now = now != 0 ? now : os_now_ms() + 1000000000;
    for (int i = 0; i < 64; i++)
        stock_decay(now += PURGE_DELAY_MS);
    stock_trim(0);
    return stock_bytes() != 0;
}

/* A mapping that no other one touches: what lies on both sides of it stays mapped. */
static void *map_apart(size_t granules)
{
    char *start = os_map((granules + 2) * GRANULE, GRANULE, (os_map_options_t){0});

    must(start != NULL);
    return start + GRANULE;
}

static void *put_new(size_t granules)
{
    void *start = map_apart(granules);

    must(stock_put(start, granules * GRANULE) == granules * GRANULE);
    return start;
}

static void what_was_put_can_be_taken(void **state)
{
    size_t bytes = 0;

    (void)state;
    void *start = put_new(2);
    assert_int_equal(stock_bytes(), 2 * GRANULE);
    assert_ptr_equal(stock_take(2 * GRANULE, 2 * GRANULE, &bytes), start);
    assert_int_equal(bytes, 2 * GRANULE);
    assert_int_equal(stock_bytes(), 0);
    assert_null(stock_take(1, SIZE_MAX, &bytes));
    os_unmap(start, 2 * GRANULE);
}

static void what_is_too_short_or_too_long_is_not_taken(void **state)
{
    size_t bytes = 7;

    (void)state;
    put_new(2);
    put_new(8);
    assert_null(stock_take(3 * GRANULE, 7 * GRANULE, &bytes));
    assert_null(stock_take(9 * GRANULE, 20 * GRANULE, &bytes));
    assert_null(stock_take(1, 2 * GRANULE - 1, &bytes));
    assert_int_equal(bytes, 7);
    void *start = stock_take(3 * GRANULE, 8 * GRANULE, &bytes);
    assert_non_null(start);
    assert_int_equal(bytes, 8 * GRANULE);
    os_unmap(start, bytes);
}

static void the_warmest_that_fits_serves(void **state)
{
    size_t bytes;

    (void)state;
    put_new(2);
    void *warm = put_new(2);
    put_new(4);
    assert_ptr_equal(stock_take(GRANULE, 2 * GRANULE, &bytes), warm);
    os_unmap(warm, bytes);
}

static void a_longer_one_can_be_cut_from_its_end(void **state)
{
    (void)state;
    char *start = put_new(8);
    assert_null(stock_cut(8 * GRANULE)); /* to be taken */
    assert_ptr_equal(stock_cut(3 * GRANULE), start + 5 * GRANULE);
    assert_int_equal(stock_bytes(), 5 * GRANULE);
    assert_ptr_equal(stock_cut(4 * GRANULE), start + GRANULE);
    assert_null(stock_cut(GRANULE));
    assert_int_equal(stock_trim(0), GRANULE);
    os_unmap(start + GRANULE, 7 * GRANULE);
}

static void it_is_bounded_in_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < 15; i++)
        put_new(16);
    char *more = map_apart(17);
    assert_int_equal(stock_put(more, GRANULE * 17), GRANULE * 16); /* to the last byte */
    assert_int_equal(stock_bytes(), STOCK_MAX_BYTES);
    assert_int_equal(stock_put(more, GRANULE), 0);
    size_t bytes;
    assert_ptr_equal(stock_take(16 * GRANULE, 16 * GRANULE, &bytes), more + GRANULE); /* the end was kept */
    os_unmap(more, 17 * GRANULE);
    put_new(15);
    more = map_apart(3);
    assert_int_equal(stock_put(more, GRANULE * 3), 0); /* what is left is less than a first region */
    os_unmap(more, 3 * GRANULE);
}

static void it_is_bounded_in_entries(void **state)
{
    size_t put = 0;

    (void)state;
    for (; put < STOCK_MAX_BYTES / GRANULE; put++) {
        void *start = map_apart(1);
        if (!stock_put(start, GRANULE)) {
            os_unmap(start, GRANULE);
            break;
        }
    }
    assert_in_range(put, 16, STOCK_MAX_BYTES / GRANULE - 1);
    assert_int_equal(stock_bytes(), put * GRANULE);
    stock_trim(0);
    stock_note_mapped(STOCK_MAX_BYTES); /* more bytes would not have helped */
    put_new(STOCK_MAX_BYTES / GRANULE);
    assert_int_equal(stock_put(map_apart(1), GRANULE), 0);
}

static void a_trim_unmaps_down_to_what_is_kept(void **state)
{
    unsigned char residence;

    (void)state;
    char *start = put_new(4);
    put_new(4);
    put_new(4);
    assert_int_equal(stock_trim(20 * GRANULE), 0);
    assert_int_equal(stock_trim(8 * GRANULE), 4 * GRANULE);
    assert_int_equal(stock_trim(5 * GRANULE), 3 * GRANULE);
    assert_int_equal(stock_bytes(), 5 * GRANULE);
    assert_int_equal(stock_trim(0), 5 * GRANULE);
    assert_int_equal(stock_trim(0), 0);
    assert_int_equal(mincore(start, 1, &residence), -1);
    assert_int_equal(errno, ENOMEM); /* no mapping is there any more */
}

static void what_lies_there_longest_goes_first(void **state)
{
    size_t bytes;

    (void)state;
    char *cold = put_new(4);
    char *warm = put_new(2);
    assert_int_equal(stock_trim(5 * GRANULE), GRANULE);
    assert_ptr_equal(stock_take(3 * GRANULE, 3 * GRANULE, &bytes), cold + GRANULE); /* its end stayed */
    assert_int_equal(stock_put(cold + GRANULE, bytes), bytes);
    assert_int_equal(stock_trim(3 * GRANULE), 2 * GRANULE); /* now that one is the warmer */
    assert_null(stock_take(2 * GRANULE, 2 * GRANULE, &bytes));
    assert_ptr_equal(stock_take(3 * GRANULE, 3 * GRANULE, &bytes), cold + GRANULE);
    os_unmap(cold + GRANULE, bytes);
    (void)warm;
}

static void what_touches_becomes_one(void **state)
{
    size_t bytes;

    (void)state;
    char *start = map_apart(6);
    assert_int_equal(stock_put(start, 2 * GRANULE), 2 * GRANULE);
    assert_int_equal(stock_put(start + 4 * GRANULE, 2 * GRANULE), 2 * GRANULE);
    assert_null(stock_take(3 * GRANULE, SIZE_MAX, &bytes));
    assert_int_equal(stock_put(start + 2 * GRANULE, 2 * GRANULE), 2 * GRANULE);
    assert_int_equal(stock_bytes(), 6 * GRANULE);
    assert_ptr_equal(stock_take(6 * GRANULE, 6 * GRANULE, &bytes), start);
    assert_int_equal(stock_bytes(), 0);
    os_unmap(start, bytes);
}

/* Some 100 MiB that come and go: refused at first, kept once as much was mapped anew, and no longer after a while. */
static void it_holds_more_of_what_is_mapped_again(void **state)
{
    const size_t half = STOCK_MAX_BYTES / GRANULE / 2;

    (void)state;
    stock_note_mapped(STOCK_MAX_BYTES); /* nothing was refused */
    put_new(half);
    put_new(half);
    char *more = map_apart(half);
    assert_int_equal(stock_put(more, half * GRANULE), 0);
    stock_note_mapped(STOCK_MAX_BYTES); /* half of it was of no use */
    assert_int_equal(stock_put(more, half * GRANULE), 0);
    stock_trim((half - 1) * GRANULE);
    stock_note_mapped(2 * GRANULE + 1);
    put_new(half);
    put_new(1);
    assert_int_equal(stock_put(more, half * GRANULE), 2 * GRANULE); /* whole ones */
    stock_trim(0);
    stock_note_mapped(SIZE_MAX / 2); /* no more than was refused, three times */
    for (int i = 0; i < 4; i++)
        put_new(half);
    assert_int_equal(stock_put(map_apart(half), half * GRANULE), (half - 2) * GRANULE);
    assert_int_equal(stock_bytes(), (5 * half - 2) * GRANULE);
    stock_decay(now += PURGE_DELAY_MS);
    assert_int_equal(stock_bytes(), (5 * half - 2) * GRANULE / 2);
    for (int i = 0; i < 30; i++)
        stock_decay(now += PURGE_DELAY_MS);
    assert_int_equal(stock_bytes(), 0);
    put_new(half);
    put_new(half);
    assert_int_equal(stock_put(more, half * GRANULE), 0);
    stock_decay(now += PURGE_DELAY_MS); /* what was refused before this is forgotten */
    stock_note_mapped(half * GRANULE);
    put_new(half);
    assert_int_equal(stock_put(more, half * GRANULE), 0);
}

static void it_halves_in_every_quarter_second_of_activity(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i++)
        put_new(4);
    stock_decay(now + PURGE_DELAY_MS - 1);
    assert_int_equal(stock_bytes(), 64 * GRANULE);
    stock_decay(now += PURGE_DELAY_MS);
    assert_int_equal(stock_bytes(), 32 * GRANULE);
    stock_decay(now + PURGE_DELAY_MS - 1);
    assert_int_equal(stock_bytes(), 32 * GRANULE);
    for (int i = 0; i < 10; i++)
        stock_decay(now += PURGE_DELAY_MS);
    assert_int_equal(stock_bytes(), 0);
}

static void *put_and_take(void *number)
{
    rng_t rng = {(uintptr_t)number};

    for (int round = 0; round < 2000 / SLOWNESS; round++) {
        size_t bytes, wanted = (1 + rng_below(&rng, 4)) * GRANULE;
        char *start = stock_take(wanted, 2 * wanted, &bytes);
        if (start == NULL) {
            bytes = wanted;
            must((start = os_map(bytes, GRANULE, (os_map_options_t){0})) != NULL);
        }
        must(bytes >= wanted && bytes <= 2 * wanted);
        fill(start, 256, (uintptr_t)number); /* another thread that had it too would show */
        fill(start + bytes - 256, 256, (uintptr_t)number);
        must(holds(start, 256, (uintptr_t)number) && holds(start + bytes - 256, 256, (uintptr_t)number));
        size_t kept = stock_put(start, bytes);
        must(kept == bytes || os_unmap(start, bytes - kept));
        if (rng_below(&rng, 50) == 0)
            stock_trim(16 * GRANULE);
    }
    return NULL;
}

static void threads_share_it(void **state)
{
    (void)state;
    run_threads(3, put_and_take);
}

#define with_empty(test) cmocka_unit_test_setup_teardown(test, empty_stock, empty_stock)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_empty(what_was_put_can_be_taken),
        with_empty(what_is_too_short_or_too_long_is_not_taken),
        with_empty(the_warmest_that_fits_serves),
        with_empty(a_longer_one_can_be_cut_from_its_end),
        with_empty(it_is_bounded_in_bytes),
        with_empty(it_is_bounded_in_entries),
        with_empty(a_trim_unmaps_down_to_what_is_kept),
        with_empty(what_lies_there_longest_goes_first),
        with_empty(what_touches_becomes_one),
        with_empty(it_holds_more_of_what_is_mapped_again),
        with_empty(it_halves_in_every_quarter_second_of_activity),
        with_empty(threads_share_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
