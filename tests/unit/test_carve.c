/*
 * test_carve.c: blocks out of chunk runs and back. The heap is one region in which nothing else allocates, and
 * arena_check goes over it after each test.
 */
#define _GNU_SOURCE
#include "../../arena/carve.h"

#include "../../arena/alloc.h"
#include "../../arena/bin.h"
#include "../../arena/run.h"
#include "../../arena/sizeclass.h"
#include "../../arena/warm.h"
#include "layer.h"

enum { GRANULES = 100 };

static arena_t *arena;
static granule_t base;

static int open_heap(void **state)
{
    (void)state;
    arena = layer_arena(ARENA_NO_SLABS, GRANULES);
    base = layer_region(arena, GRANULES);
    return 0;
}

static int close_heap(void **state)
{
    (void)state;
    int broken = arena_check(arena);
    arena_destroy(arena);
    return broken;
}

static chunk_t *take(size_t size)
{
    bool zero;
    chunk_t *chunk = carve_take_locked(arena, size, CHUNK_PLAIN, &zero);

    if (chunk == NULL && carve_grow_locked(arena, size))
        chunk = carve_take_locked(arena, size, CHUNK_PLAIN, &zero);
    return chunk;
}

static void put(chunk_t *chunk)
{
    assert_int_equal(carve_put_locked(arena, chunk), MISUSE_NONE);
}

static bool is_free_of_size(const chunk_t *chunk, size_t size)
{
    return chunk_class(chunk) == CHUNK_FREE && chunk_size(chunk) == size;
}

/* Chunks of 64 bytes in a row, the first of a fresh run. */
static void take_row(chunk_t **row, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        must((row[i] = take(64)) != NULL);
        must(i == 0 || row[i] == chunk_at(row[i - 1], 64));
    }
}

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
    (void)state;
    for (size_t alignment = 32; alignment <= 4096; alignment *= 2) {
        for (size_t shift = 32; shift <= 160; shift += 16) {
            chunk_t *shifting = take(shift); /* so that the free chunk begins elsewhere each time */
            chunk_t *chunk = carve_take_aligned_locked(arena, alignment, 112, CHUNK_PLAIN);
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
    (void)state;
    put(take(64));
    chunk_t *chunk = carve_take_aligned_locked(arena, 4096, 64, CHUNK_PLAIN);
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

/* --- granules come and go --- */

static void a_fresh_run_begins_with_a_gap_and_ends_with_a_sentinel(void **state)
{
    (void)state;
    assert_true(carve_grow_locked(arena, 64));
    assert_int_equal(arena->totals.chunk_runs, 1);
    assert_int_equal(arena->totals.chunk_run_bytes, GRANULE);
    chunk_t *first = at(granule_start(base), RUN_FRONT);
    assert_true(is_free_of_size(first, GRANULE - CHUNK_HEADER - RUN_FRONT));
    assert_int_equal(chunk_class(chunk_next(first)), CHUNK_END);
    assert_true(chunk_is_inuse(chunk_next(first)));
    assert_ptr_equal(at(chunk_next(first), CHUNK_HEADER), granule_start(base + 1));
    assert_int_equal(run_kind(arena, base), KIND_CHUNKS);
    assert_true(is_aligned(chunk_block(first), 64));
}

static void a_run_absorbs_the_granule_behind_it(void **state)
{
    (void)state;
    chunk_t *first = take(GRANULE - CHUNK_HEADER - RUN_FRONT); /* fills its granule */
    assert_int_equal(arena->totals.chunk_runs, 1);
    chunk_t *next = take(4096);
    assert_int_equal(arena->totals.chunk_runs, 1);
    assert_ptr_equal(chunk_next(first), next); /* where the sentinel was */
    assert_true(is_aligned(chunk_block(next), 16));
}

/* Although a warmer run lies elsewhere: one long run has fewer ends than two. */
static void a_run_grows_at_its_edge_before_another_begins(void **state)
{
    bool zero;

    (void)state;
    chunk_t *first = take(GRANULE - CHUNK_HEADER - RUN_FRONT);
    granule_t edge = run_take_locked(arena, 30, KIND_BUSY, &zero);
    run_take_locked(arena, 1, KIND_BUSY, &zero); /* stays between the two */
    granule_t warm = run_take_locked(arena, 4, KIND_BUSY, &zero);
    run_take_locked(arena, 1, KIND_BUSY, &zero);
    run_put_locked(arena, edge, 30, arena->regions->id, KIND_FREE_ZERO);
    run_put_locked(arena, warm, 4, arena->regions->id, KIND_FREE_DIRTY);
    chunk_t *next = take(4096);
    assert_int_equal(arena->totals.chunk_runs, 1);
    assert_ptr_equal(chunk_next(first), next);
}

static void an_absorbed_granule_merges_with_the_free_end_of_the_run(void **state)
{
    (void)state;
    chunk_t *chunk = take(64);
    must(chunk_next(chunk) != NULL);
    assert_true(carve_grow_locked(arena, GRANULE)); /* too large for what is left of the first */
    assert_int_equal(arena->totals.chunk_runs, 1);
    assert_true(
        is_free_of_size(chunk_next(chunk), arena->totals.chunk_run_bytes - CHUNK_HEADER - RUN_FRONT - 64));
}

static void a_granule_between_two_runs_joins_them(void **state)
{
    bool zero;

    (void)state;
    chunk_t *low = take(GRANULE - CHUNK_HEADER - RUN_FRONT);
    granule_t hole = run_take_locked(arena, 1, KIND_BUSY, &zero);
    arena->chunk_edge = 0;
    chunk_t *high = take(GRANULE - CHUNK_HEADER - RUN_FRONT);
    assert_int_equal(arena->totals.chunk_runs, 2);
    granule_t rest =
        run_take_locked(arena, (uint32_t)(arena->totals.free_run_bytes >> GRANULE_LOG2), KIND_BUSY, &zero);
    uint32_t region = arena->regions->id;
    run_put_locked(arena, hole, 1, region, KIND_FREE_DIRTY);
    chunk_t *between = take(1024);
    assert_non_null(between);
    assert_int_equal(arena->totals.chunk_runs, 1);
    assert_ptr_equal(chunk_next(low), between);
    put(low);
    put(between);
    put(high);
    run_put_locked(arena, rest, pagemap_tag(rest)->length, region, KIND_FREE_DIRTY);
}

/* Its owner writes the header of an open piece without the mutex. */
static void granules_do_not_join_a_run_that_begins_with_an_open_piece(void **state)
{
    bool zero;

    (void)state;
    granule_t hole = run_take_locked(arena, 1, KIND_BUSY, &zero);
    arena->chunk_edge = 0;
    chunk_t *piece = take(GRANULE - CHUNK_HEADER - RUN_FRONT);
    size_t size = chunk_size(piece);
    assert_ptr_equal(piece, at(granule_start(hole + 1), RUN_FRONT));
    chunk_set(piece, CHUNK_PIECE, size, CHUNK_INUSE | CHUNK_PREV_INUSE | CHUNK_OPEN);
    uint64_t header = chunk_header(piece);
    granule_t rest =
        run_take_locked(arena, (uint32_t)(arena->totals.free_run_bytes >> GRANULE_LOG2), KIND_BUSY, &zero);
    uint32_t region = arena->regions->id;
    run_put_locked(arena, hole, 1, region, KIND_FREE_DIRTY);
    chunk_t *front = take(1024);
    assert_true((char *)front < (char *)piece);
    assert_true(chunk_header(piece) == header);
    assert_int_equal(arena->totals.chunk_runs, 2);
    put(front);
    assert_true(chunk_header(piece) == header);
    chunk_set(piece, CHUNK_PLAIN, size, CHUNK_INUSE | CHUNK_PREV_INUSE);
    put(piece);
    run_put_locked(arena, rest, pagemap_tag(rest)->length, region, KIND_FREE_DIRTY);
}

static void a_large_free_chunk_gives_its_granules_back_and_leaves_a_sentinel_each_side(void **state)
{
    (void)state;
    chunk_t *front = take(4096), *middle = take(10 * GRANULE), *behind = take(4096);
    chunk_t *wide = take(RETAIN_BYTES - 8 * GRANULE), *last = take(4096);
    size_t run_bytes = arena->totals.chunk_run_bytes;
    put(wide);
    assert_int_equal(arena->totals.chunk_runs, 1); /* it keeps that much */
    assert_in_range(arena->totals.wide_chunk_bytes, RETAIN_BYTES - 8 * GRANULE, RETAIN_BYTES);
    put(middle);
    assert_int_equal(arena->totals.chunk_runs, 2);
    assert_true(arena->totals.chunk_run_bytes <= run_bytes - 9 * GRANULE);
    chunk_t *left = chunk_next(front);
    assert_true(chunk_class(left) == CHUNK_FREE && chunk_size(left) >= CHUNK_MIN);
    chunk_t *sentinel = chunk_next(left);
    assert_int_equal(chunk_class(sentinel), CHUNK_END);
    assert_true(chunk_is_inuse(sentinel) && !chunk_prev_is_inuse(sentinel));
    assert_true(is_aligned(at(sentinel, CHUNK_HEADER), GRANULE));
    assert_false(chunk_prev_is_inuse(behind));
    chunk_t *right = chunk_prev(behind);
    assert_true(chunk_prev_is_inuse(right));
    assert_true(is_aligned(before(right, RUN_FRONT), GRANULE));
    assert_int_equal(run_kind(arena, granule_of(sentinel) + 1), KIND_FREE_DIRTY);
    assert_int_equal(arena_check(arena), 0);
    put(front);
    put(behind);
    put(last);
}

static void a_free_chunk_of_a_few_granules_stays(void **state)
{
    (void)state;
    chunk_t *front = take(4096), *middle = take((CARVE_RELEASE - 1) * GRANULE), *behind = take(4096);
    size_t run_bytes = arena->totals.chunk_run_bytes;
    put(middle);
    assert_int_equal(arena->totals.chunk_run_bytes, run_bytes);
    assert_int_equal(arena->totals.chunk_runs, 1);
    put(front);
    put(behind);
}

static void a_trim_gives_back_every_granule_that_is_free(void **state)
{
    (void)state;
    chunk_t *kept = take(4096), *middle = take(3 * GRANULE), *behind = take(4096);
    put(middle);
    put(behind);
    carve_release_locked(arena);
    assert_int_equal(arena->totals.chunk_run_bytes, GRANULE);
    assert_int_equal(arena_check(arena), 0);
    put(kept);
    carve_release_locked(arena);
    assert_int_equal(arena->totals.chunk_run_bytes, 0);
    assert_int_equal(arena->totals.chunk_runs, 0);
    assert_int_equal(arena->totals.free_run_bytes, GRANULES * GRANULE);
}

/* Lengths and places of a freed chunk, so that its ends fall on, before and behind granules. */
static void a_release_is_right_wherever_the_chunk_ends(void **state)
{
    (void)state;
    for (size_t front = 32; front <= 160; front += 16) {
        for (size_t slack = 0; slack <= 192; slack += 16) {
            chunk_t *low = take(front);
            chunk_t *chunk = take(6 * GRANULE - slack);
            chunk_t *high = take(GRANULE / 4);
            must(low != NULL && chunk != NULL && high != NULL);
            put(chunk);
            assert_int_equal(arena_check(arena), 0);
            put(high);
            put(low);
            carve_release_locked(arena);
            assert_int_equal(arena->totals.chunk_run_bytes, 0);
        }
    }
}

static void all_can_be_used_up_and_comes_back(void **state)
{
    enum { MOST = 2000 };
    static chunk_t *chunks[MOST];
    size_t count = 0;

    (void)state;
    while (count < MOST && (chunks[count] = take(4096)) != NULL)
        count++;
    assert_in_range(count, GRANULES * 15, GRANULES * 16);
    assert_false(carve_grow_locked(arena, 4096));
    assert_null(take(4096));
    for (size_t i = 0; i < count; i += 2)
        put(chunks[i]);
    assert_null(take(8192)); /* enough is free, none of it contiguous */
    for (size_t i = 1; i < count; i += 2)
        put(chunks[i]);
    carve_release_locked(arena);
    assert_int_equal(arena->totals.free_run_bytes, GRANULES * GRANULE);
}

static void a_size_beyond_all_memory_is_refused(void **state)
{
    (void)state;
    assert_false(carve_grow_locked(arena, SIZE_MAX));
    assert_false(carve_grow_locked(arena, SIZE_MAX - 15));
    assert_false(carve_grow_locked(arena, GRANULES * GRANULE));
    assert_null(carve_take_aligned_locked(arena, (size_t)1 << 62, SIZE_MAX - 4096, CHUNK_PLAIN));
}

/* --- zeroes --- */

static void fresh_memory_is_said_to_be_zero_and_used_memory_is_not(void **state)
{
    bool zero = false;

    (void)state;
    must(carve_grow_locked(arena, 4096));
    chunk_t *chunk = carve_take_locked(arena, 4096, CHUNK_PLAIN, &zero);
    assert_true(zero);
    assert_true(all_zero(at(chunk, CHUNK_HEADER + 16), 4096 - CHUNK_HEADER - 16 - 8));
    memset(chunk_block(chunk), 0xff, 4096 - CHUNK_HEADER);
    chunk_t *fence = take(64);
    put(chunk);
    assert_ptr_equal(carve_take_locked(arena, 4096, CHUNK_PLAIN, &zero), chunk);
    assert_false(zero);
    put(fence);
}

/* The free chunk behind `chunk`, all of it. */
static bool takes_zero_behind(chunk_t *chunk)
{
    bool zero = false;
    chunk_t *rest = chunk_next(chunk);
    size_t size = chunk_size(rest);

    must(carve_take_locked(arena, size, CHUNK_PLAIN, &zero) == rest);
    assert_true(!zero || all_zero(at(rest, CHUNK_HEADER + 16), size - CHUNK_HEADER - 16 - 8));
    return zero;
}

static void new_memory_and_the_unused_in_front_of_it_are_zero_as_one(void **state)
{
    (void)state;
    chunk_t *chunk = take(64);
    must(carve_grow_locked(arena, GRANULE));
    assert_true(takes_zero_behind(chunk));
}

/* Two free chunks of one size, so that each has links. */
static void new_memory_and_the_unused_behind_it_are_zero_as_one(void **state)
{
    enum { OTHERS = GRANULES - 4 };
    bool zero;

    (void)state;
    chunk_t *first = take(GRANULE - CHUNK_HEADER - RUN_FRONT);
    granule_t between = run_take_locked(arena, 1, KIND_BUSY, &zero);
    granule_t behind = run_take_locked(arena, 1, KIND_BUSY, &zero);
    granule_t others = run_take_locked(arena, OTHERS, KIND_BUSY, &zero);
    must(carve_grow_locked(arena, 4096)); /* the last granule, a run of its own */
    run_put_locked(arena, behind, 1, arena->regions->id, KIND_FREE_ZERO);
    must(carve_grow_locked(arena, GRANULE - CHUNK_HEADER - RUN_FRONT));
    memset(granule_start(behind), 0xff, RUN_FRONT); /* what was there before */
    run_put_locked(arena, between, 1, arena->regions->id, KIND_FREE_ZERO);
    must(carve_grow_locked(arena, GRANULE - CHUNK_HEADER - RUN_FRONT));
    assert_int_equal(arena->totals.chunk_runs, 2);
    assert_true(takes_zero_behind(first));
    run_put_locked(arena, others, OTHERS, arena->regions->id, KIND_FREE_ZERO);
}

static void a_zero_block_is_zero_where_links_and_footer_were(void **state)
{
    const size_t usable = GRANULE - 2 * CHUNK_HEADER - RUN_FRONT;
    bool zero, settle = false;

    (void)state;
    must(carve_grow_locked(arena, GRANULE - CHUNK_HEADER - RUN_FRONT));
    must(arena->totals.free_chunk_bytes == usable + CHUNK_HEADER);
    void *block = alloc_exact(arena, usable, &settle, &zero);
    must(block != NULL);
    assert_true(zero);
    assert_true(all_zero(block, usable));
}

static void a_short_used_chunk_beside_new_memory_is_cleared(void **state)
{
    const size_t most = GRANULE / CARVE_CLEARED;

    (void)state;
    for (size_t used = most; used <= most + 16; used += 16) {
        chunk_t *first = take(GRANULE - CHUNK_HEADER - RUN_FRONT - used);
        chunk_t *last = take(used);
        must(chunk_next(first) == last);
        memset(chunk_block(last), 0xff, used - CHUNK_HEADER);
        put(last);
        must(carve_grow_locked(arena, GRANULE - CHUNK_HEADER - RUN_FRONT));
        assert_int_equal(takes_zero_behind(first), used <= most);
        close_heap(NULL);
        open_heap(NULL);
    }
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

/* --- pages that are resident --- */

static void a_magazines_block_is_taken_where_no_new_page_is_needed(void **state)
{
    enum { FRONT = 40000 };
    unsigned class = sizeclass_of(24000);
    size_t size = chunk_size_for(sizeclass_bytes[class], arena->quantum);
    bool zero;

    (void)state;
    chunk_t *first = take(FRONT), *second = take(size);
    must(first != NULL && second == chunk_at(first, FRONT) && take(64) != NULL);
    put(first);
    put(second); /* one free chunk; a header was written into its middle */
    must(is_free_of_size(first, FRONT + size));
    assert_false(warm_is_known(chunk_at(first, size)));
    size_t before = arena->granules->pages_warmed;
    assert_ptr_equal(carve_take_locked(arena, size, class, &zero), second);
    assert_int_equal(arena->granules->pages_warmed, before);
    assert_true(is_free_of_size(first, FRONT));
    put(second);
    assert_ptr_equal(take(size), first); /* a plain one may have to grow */
    assert_int_equal(arena->granules->pages_warmed, before + 1);
}

static void a_refill_waits_for_one_new_page_at_most(void **state)
{
    enum { MOST = 4 };
    unsigned class = sizeclass_of(20000);
    void *blocks[MOST];
    bool settle = false, zero;

    (void)state;
    must(carve_grow_locked(arena, 10 * GRANULE));
    for (size_t known = 1; known < MOST; known++) {
        size_t got = alloc_fill(arena, class, blocks, MOST, &settle, &zero);
        assert_int_equal(got, known);
        while (got-- > 0)
            put(chunk_of(blocks[got]));
    }
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

/* --- addresses outside the page map --- */

static void a_span_outside_the_map_becomes_one_run(void **state)
{
    static char span[8192];

    (void)state;
    for (size_t skew = 0; skew < 16; skew += 5) {
        size_t free_before = arena->totals.free_chunk_bytes;
        carve_add_span_locked(arena, span + skew, sizeof span - 16, false, false);
        chunk_t *chunk = take(4096);
        assert_true(contains(span + skew, sizeof span - 16, chunk));
        assert_true(is_aligned(chunk_block(chunk), 16));
        chunk_t *rest = chunk_next(chunk);
        assert_true(contains(span + skew, sizeof span - 16, (char *)chunk_next(rest) + CHUNK_HEADER - 1));
        assert_int_equal(chunk_class(chunk_next(rest)), CHUNK_END);
        put(chunk);
        assert_true(arena->totals.free_chunk_bytes - free_before >= sizeof span - 16 - 3 * 16);
        bin_remove_locked(arena, chunk);
        arena->totals.chunk_run_bytes -= sizeof span - 16;
        arena->totals.chunk_runs--;
    }
}

#define in_heap(test) cmocka_unit_test_setup_teardown(test, open_heap, close_heap)

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
        in_heap(a_fresh_run_begins_with_a_gap_and_ends_with_a_sentinel),
        in_heap(a_run_absorbs_the_granule_behind_it),
        in_heap(a_run_grows_at_its_edge_before_another_begins),
        in_heap(an_absorbed_granule_merges_with_the_free_end_of_the_run),
        in_heap(a_granule_between_two_runs_joins_them),
        in_heap(granules_do_not_join_a_run_that_begins_with_an_open_piece),
        in_heap(a_large_free_chunk_gives_its_granules_back_and_leaves_a_sentinel_each_side),
        in_heap(a_free_chunk_of_a_few_granules_stays),
        in_heap(a_trim_gives_back_every_granule_that_is_free),
        in_heap(a_release_is_right_wherever_the_chunk_ends),
        in_heap(all_can_be_used_up_and_comes_back),
        in_heap(a_size_beyond_all_memory_is_refused),
        in_heap(fresh_memory_is_said_to_be_zero_and_used_memory_is_not),
        in_heap(new_memory_and_the_unused_in_front_of_it_are_zero_as_one),
        in_heap(new_memory_and_the_unused_behind_it_are_zero_as_one),
        in_heap(a_zero_block_is_zero_where_links_and_footer_were),
        in_heap(a_short_used_chunk_beside_new_memory_is_cleared),
        in_heap(validate_tells_blocks_from_all_else),
        in_heap(a_broken_header_behind_is_reported_and_nothing_changed),
        in_heap(a_header_of_the_wrong_size_is_reported_whatever_its_seal),
        in_heap(a_broken_footer_before_is_reported_and_nothing_changed),
        in_heap(resize_beside_a_broken_header_leaves_it_to_the_free),
        in_heap(a_magazines_block_is_taken_where_no_new_page_is_needed),
        in_heap(a_refill_waits_for_one_new_page_at_most),
        in_heap(a_chunk_before_an_open_piece_waits_until_it_is_closed),
        in_heap(a_span_outside_the_map_becomes_one_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
