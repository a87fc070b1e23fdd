/*
 * test_carve.c: chunks out of a run and back: split, merged with their neighbours, resized, and looked at before that.
 */
#define _GNU_SOURCE
#include "../../arena/bin.h"
#include "../../arena/run.h"
#include "../../arena/sizeclass.h"
#include "carve_support.h"

static void take_splits_and_the_rest_stays_free(void **state)
{
    (void)state;
    chunk_t *chunk = take(64);
    assert_non_null(chunk);
    assert_int_equal(chunk_size(chunk), 64);
    assert_int_equal(chunk_class(chunk), CHUNK_PLAIN);
    assert_true(chunk_is_inuse(chunk) && chunk_prev_is_inuse(chunk));
    assert_true(is_aligned(chunk_block(chunk), 16));
    assert_true(
        is_free_of_size(chunk_next(chunk), arena->totals.chunk_run_bytes - CHUNK_HEADER - RUN_FRONT - 64));
    assert_int_equal(arena->totals.chunk_blocks, 1);
    assert_int_equal(arena->totals.chunk_usable, 56);
}

static void what_is_too_short_to_split_off_is_padding_of_a_plain_chunk(void **state)
{
    chunk_t *row[3];

    (void)state;
    take_row(row, 3);
    put(row[1]);
    chunk_t *chunk = take(48);
    assert_ptr_equal(chunk, row[1]);
    assert_int_equal(chunk_size(chunk), 64);
    assert_int_equal(chunk_class(chunk), CHUNK_PLAIN + 2);
    assert_int_equal(carve_usable(chunk_block(chunk), chunk_header(chunk)), 40);
}

static void a_classed_chunk_is_usable_for_its_class_whatever_its_size(void **state)
{
    chunk_t *row[3];
    bool zero;

    (void)state;
    take_row(row, 3);
    put(row[1]);
    unsigned class = sizeclass_of(32);
    chunk_t *chunk = carve_take_locked(arena, 48, class, &zero);
    assert_ptr_equal(chunk, row[1]);
    assert_int_equal(chunk_class(chunk), class);
    assert_int_equal(chunk_size(chunk), 64);
    assert_int_equal(carve_usable(chunk_block(chunk), chunk_header(chunk)), 32);
}

static void free_between_blocks_in_use_merges_with_neither(void **state)
{
    chunk_t *row[3];

    (void)state;
    take_row(row, 3);
    put(row[1]);
    assert_true(is_free_of_size(row[1], 64));
    assert_false(chunk_prev_is_inuse(row[2]));
    assert_true(chunk_prev_is_inuse(row[1]));
}

static void free_merges_with_the_chunk_before(void **state)
{
    chunk_t *row[4];

    (void)state;
    take_row(row, 4);
    put(row[1]);
    put(row[2]);
    assert_true(is_free_of_size(row[1], 128));
    assert_false(chunk_prev_is_inuse(row[3]));
    assert_ptr_equal(chunk_prev(row[3]), row[1]);
}

static void free_merges_with_the_chunk_behind(void **state)
{
    chunk_t *row[4];

    (void)state;
    take_row(row, 4);
    put(row[2]);
    put(row[1]);
    assert_true(is_free_of_size(row[1], 128));
    assert_ptr_equal(chunk_prev(row[3]), row[1]);
}

static void free_merges_with_both_neighbours(void **state)
{
    chunk_t *row[5];

    (void)state;
    take_row(row, 5);
    put(row[1]);
    put(row[3]);
    put(row[2]);
    assert_true(is_free_of_size(row[1], 192));
    assert_ptr_equal(chunk_prev(row[4]), row[1]);
    assert_ptr_equal(bin_find_locked(arena, 192), row[1]);
}

/* The header that stays in the middle of a merged chunk must not be taken for a block's. */
static void a_merged_block_is_no_block_any_more(void **state)
{
    chunk_t *row[5];

    (void)state;
    take_row(row, 5);
    put(row[1]);
    put(row[2]);
    assert_int_equal(carve_validate(chunk_block(row[2])), MISUSE_DOUBLE_FREE);
}

static void everything_freed_in_any_order_is_one_chunk_again(void **state)
{
    enum { BLOCKS = 400 };
    chunk_t *blocks[BLOCKS];
    rng_t rng = {test_seed(3)};

    (void)state;
    for (size_t i = 0; i < BLOCKS; i++)
        must((blocks[i] = take(align_up(32 + rng_below(&rng, 300), 16))) != NULL);
    chunk_t *lowest = blocks[0];
    for (size_t left = BLOCKS; left > 0; left--) {
        size_t i = rng_below(&rng, left);
        put(blocks[i]);
        blocks[i] = blocks[left - 1];
    }
    assert_true(is_free_of_size(lowest, arena->totals.chunk_run_bytes - CHUNK_HEADER - RUN_FRONT));
    assert_int_equal(arena->totals.chunk_blocks, 0);
    assert_int_equal(arena->totals.chunk_usable, 0);
}

static void aligned_take_leaves_no_gap_too_short_for_a_chunk(void **state)
{
    bool zero;

    (void)state;
    for (size_t alignment = 32; alignment <= 4096; alignment *= 2) {
        for (size_t shift = 32; shift <= 160; shift += 16) {
            chunk_t *shifting = take(shift); /* so that the free chunk begins elsewhere each time */
            chunk_t *chunk = carve_take_aligned_locked(arena, alignment, 112, CHUNK_PLAIN, &zero);
            assert_non_null(chunk);
            assert_true(is_aligned(chunk_block(chunk), alignment));
            assert_true(chunk_size(chunk) >= 112);
            assert_true(chunk_prev_is_inuse(chunk) || chunk_prev_size(chunk) >= CHUNK_MIN);
            assert_int_equal(arena_check(arena), 0);
            put(chunk);
            put(shifting);
        }
    }
}

static void aligned_take_gives_the_gap_to_others(void **state)
{
    bool zero;

    (void)state;
    put(take(64));
    chunk_t *chunk = carve_take_aligned_locked(arena, 4096, 64, CHUNK_PLAIN, &zero);
    assert_non_null(chunk);
    assert_false(chunk_prev_is_inuse(chunk));
    chunk_t *gap = chunk_prev(chunk);
    assert_ptr_equal(take(64), gap);
}

static void resize_grows_into_a_free_neighbour(void **state)
{
    chunk_t *row[4];

    (void)state;
    take_row(row, 4);
    put(row[2]);
    assert_true(carve_resize_locked(arena, row[1], 128, CHUNK_PLAIN));
    assert_int_equal(chunk_size(row[1]), 128);
    assert_true(chunk_prev_is_inuse(row[3]));
    assert_int_equal(arena->totals.chunk_usable, 56 + 120 + 56);
}

static void resize_gives_what_it_does_not_need_of_the_neighbour_back(void **state)
{
    chunk_t *row[4];

    (void)state;
    take_row(row, 4);
    put(row[2]);
    assert_true(carve_resize_locked(arena, row[1], 96, CHUNK_PLAIN));
    assert_true(is_free_of_size(chunk_at(row[1], 96), 32));
    assert_ptr_equal(chunk_prev(row[3]), chunk_at(row[1], 96));
}

static void resize_shrinks_and_the_rest_merges_behind(void **state)
{
    chunk_t *row[2];

    (void)state;
    take_row(row, 2);
    put(row[1]);
    size_t behind = chunk_size(row[1]);
    assert_true(carve_resize_locked(arena, row[0], 32, CHUNK_PLAIN));
    assert_true(is_free_of_size(chunk_at(row[0], 32), behind + 32));
    assert_int_equal(arena->totals.chunk_usable, 24);
}

static void resize_fails_beside_a_block_in_use_and_changes_nothing(void **state)
{
    chunk_t *row[3];

    (void)state;
    take_row(row, 3);
    assert_false(carve_resize_locked(arena, row[1], 80, CHUNK_PLAIN));
    assert_int_equal(chunk_size(row[1]), 64);
    assert_int_equal(arena->totals.chunk_usable, 3 * 56);
    put(row[2]);
    assert_false(carve_resize_locked(arena, row[0], 80, CHUNK_PLAIN));
}

static void resize_changes_the_class(void **state)
{
    chunk_t *row[2];
    unsigned class = sizeclass_of(112);

    (void)state;
    take_row(row, 2);
    put(row[1]);
    assert_true(carve_resize_locked(arena, row[0], 128, class));
    assert_int_equal(chunk_class(row[0]), class);
    assert_int_equal(carve_usable(chunk_block(row[0]), chunk_header(row[0])), 112);
}

/* --- what is wrong is found before it does harm --- */

static void validate_tells_blocks_from_all_else(void **state)
{
    chunk_t *row[4];

    (void)state;
    take_row(row, 4);
    char *block = chunk_block(row[1]);
    assert_int_equal(carve_validate(block), MISUSE_NONE);
    assert_int_equal(carve_validate(block + 4), MISUSE_INTERIOR);
    put(row[1]);
    assert_int_equal(carve_validate(block), MISUSE_DOUBLE_FREE);
    memset(chunk_block(row[0]), 0x41, 56);
    assert_int_not_equal(carve_validate((char *)chunk_block(row[0]) + 16), MISUSE_NONE);
    assert_int_equal(carve_validate(chunk_block(row[0])), MISUSE_NONE);
    memset(chunk_block(row[0]), 0, 56);
    assert_int_equal(carve_validate((char *)chunk_block(row[0]) + 16), MISUSE_BROKEN_HEADER);
}

static void a_broken_header_behind_is_reported_and_nothing_changed(void **state)
{
    chunk_t *row[3];

    (void)state;
    take_row(row, 3);
    totals_t totals = arena->totals;
    uint64_t header = chunk_header(row[2]);
    atomic_store(&row[2]->header, 0x4141414141414141);
    assert_int_equal(carve_put_locked(arena, row[1]), MISUSE_BROKEN_NEIGHBOUR);
    assert_memory_equal(&totals, &arena->totals, sizeof totals);
    atomic_store(&row[2]->header, header);
    put(row[1]);
}

/* By chance, one in some hundred headers of noise has a seal and class that could be. */
static void a_header_of_the_wrong_size_is_reported_whatever_its_seal(void **state)
{
    static const unsigned classes[] = {CHUNK_PLAIN, CHUNK_FREE, CHUNK_PIECE, 1, SLAB_CLASSES, CLASSES};
    const size_t wild = 0x7f7f7f7f7f78;
    chunk_t *row[3];

    (void)state;
    take_row(row, 3);
    uint64_t header = chunk_header(row[1]);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        chunk_set(row[1], classes[i], wild, CHUNK_INUSE | CHUNK_PREV_INUSE);
        assert_int_equal(carve_put_locked(arena, row[0]), MISUSE_BROKEN_NEIGHBOUR);
        assert_int_equal(carve_put_locked(arena, row[1]), MISUSE_BROKEN_HEADER);
        assert_false(carve_resize_locked(arena, row[0], 32, CHUNK_PLAIN));
        if (classes[i] <= CLASSES) {
            assert_int_equal(carve_validate(chunk_block(row[1])), MISUSE_BROKEN_HEADER);
        }
    }
    atomic_store(&row[1]->header, header);
    put(row[1]);
}

static void a_broken_footer_before_is_reported_and_nothing_changed(void **state)
{
    chunk_t *row[4];

    (void)state;
    take_row(row, 4);
    put(row[1]);
    uint64_t *footer = before(row[2], sizeof(uint64_t));
    *footer += 16;
    totals_t totals = arena->totals;
    assert_int_equal(carve_put_locked(arena, row[2]), MISUSE_BROKEN_NEIGHBOUR);
    assert_memory_equal(&totals, &arena->totals, sizeof totals);
    *footer -= 16;
    put(row[2]);
}

static void resize_beside_a_broken_header_leaves_it_to_the_free(void **state)
{
    chunk_t *row[3];

    (void)state;
    take_row(row, 3);
    uint64_t header = chunk_header(row[2]);
    atomic_store(&row[2]->header, 0);
    assert_false(carve_resize_locked(arena, row[1], 32, CHUNK_PLAIN));
    atomic_store(&row[2]->header, header);
}

/* --- beside an open piece --- */

static void a_chunk_before_an_open_piece_waits_until_it_is_closed(void **state)
{
    chunk_t *row[3];

    (void)state;
    take_row(row, 3);
    chunk_set(row[2], CHUNK_PIECE, 64, CHUNK_INUSE | CHUNK_PREV_INUSE | CHUNK_OPEN);
    arena->totals.chunk_blocks--; /* a piece's blocks are counted as they are carved */
    arena->totals.chunk_usable -= 56;
    put(row[1]);
    assert_int_equal(chunk_class(row[1]), CHUNK_DEFERRED);
    assert_ptr_equal(arena->deferred, row[1]);
    assert_true(chunk_prev_is_inuse(row[2])); /* its header is its owner's to write */
    assert_int_equal(carve_validate(chunk_block(row[1])), MISUSE_DOUBLE_FREE);
    assert_int_equal(arena->totals.chunk_blocks, 1);
    assert_false(carve_resize_locked(arena, row[1], 80, CHUNK_PLAIN));
    chunk_set(row[2], CHUNK_PIECE, 64, CHUNK_INUSE | CHUNK_PREV_INUSE);
    carve_put_deferred_locked(arena);
    assert_null(arena->deferred);
    assert_true(is_free_of_size(row[1], 64));
    assert_false(chunk_prev_is_inuse(row[2]));
    put(row[2]);
    assert_int_equal(arena->totals.chunk_blocks, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_heap(take_splits_and_the_rest_stays_free),
        in_heap(what_is_too_short_to_split_off_is_padding_of_a_plain_chunk),
        in_heap(a_classed_chunk_is_usable_for_its_class_whatever_its_size),
        in_heap(free_between_blocks_in_use_merges_with_neither),
        in_heap(free_merges_with_the_chunk_before),
        in_heap(free_merges_with_the_chunk_behind),
        in_heap(free_merges_with_both_neighbours),
        in_heap(a_merged_block_is_no_block_any_more),
        in_heap(everything_freed_in_any_order_is_one_chunk_again),
        in_heap(aligned_take_leaves_no_gap_too_short_for_a_chunk),
        in_heap(aligned_take_gives_the_gap_to_others),
        in_heap(resize_grows_into_a_free_neighbour),
        in_heap(resize_gives_what_it_does_not_need_of_the_neighbour_back),
        in_heap(resize_shrinks_and_the_rest_merges_behind),
        in_heap(resize_fails_beside_a_block_in_use_and_changes_nothing),
        in_heap(resize_changes_the_class),
        in_heap(validate_tells_blocks_from_all_else),
        in_heap(a_broken_header_behind_is_reported_and_nothing_changed),
        in_heap(a_header_of_the_wrong_size_is_reported_whatever_its_seal),
        in_heap(a_broken_footer_before_is_reported_and_nothing_changed),
        in_heap(resize_beside_a_broken_header_leaves_it_to_the_free),
        in_heap(a_chunk_before_an_open_piece_waits_until_it_is_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
