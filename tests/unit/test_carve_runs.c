/*
 * test_carve_runs.c: granules that come to chunk runs, join them and leave again, and spans that are no granules.
 */
#define _GNU_SOURCE
#include "../../arena/bin.h"
#include "../../arena/run.h"
#include "carve_support.h"

static void a_fresh_run_begins_with_a_gap_and_ends_with_a_sentinel(void **state)
{
    granule_t base = granule_of(arena->regions->start);

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

/* One after the other, with chunks in use between them. */
static void free_chunks_keep_a_share_of_what_is_in_use(void **state)
{
    enum { MANY = 24 };
    const size_t size = 2 * MIB;
    chunk_t *wide[MANY], *between[MANY];
    unsigned kept = 0, gave = 0;
    size_t most = 0;

    (void)state;
    must(layer_grow(arena, (MANY + 2) * size)); /* a second region */
    for (int i = 0; i < MANY; i++) {
        wide[i] = take(size);
        between[i] = take(4096);
    }
    const totals_t *totals = &arena->totals;
    for (int i = 0; i < MANY; i++) {
        size_t before = totals->wide_chunk_bytes;
        put(wide[i]);
        size_t in_use = totals->chunk_run_bytes - totals->free_chunk_bytes;
        size_t bound = max_size(RETAIN_BYTES, in_use / RETAIN_SHARE);
        bool fits = before + size <= bound;
        assert_true(totals->wide_chunk_bytes <= 2 * bound);
        assert_true(fits ? totals->wide_chunk_bytes >= before + size
                         : totals->wide_chunk_bytes < before + 2 * GRANULE);
        kept += fits;
        gave += !fits;
        most = max_size(most, totals->wide_chunk_bytes);
    }
    assert_true(kept >= 4 && gave >= 4 && most > 2 * RETAIN_BYTES);
    for (int i = 0; i < MANY; i++)
        put(between[i]);
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
    bool zero;

    (void)state;
    assert_false(carve_grow_locked(arena, SIZE_MAX));
    assert_false(carve_grow_locked(arena, SIZE_MAX - 15));
    assert_false(carve_grow_locked(arena, GRANULES * GRANULE));
    assert_null(carve_take_aligned_locked(arena, (size_t)1 << 62, SIZE_MAX - 4096, CHUNK_PLAIN, &zero));
}

/* --- addresses outside the page map --- */

static void a_span_outside_the_map_becomes_one_run(void **state)
{
    static char span[8192];

    (void)state;
    arena_source_t source = arena->source;
    arena->source = ARENA_SOURCE_HOOKS; /* of those that have granules, only theirs may lie there */
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
    arena->source = source;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_heap(a_fresh_run_begins_with_a_gap_and_ends_with_a_sentinel),
        in_heap(a_run_absorbs_the_granule_behind_it),
        in_heap(a_run_grows_at_its_edge_before_another_begins),
        in_heap(an_absorbed_granule_merges_with_the_free_end_of_the_run),
        in_heap(a_granule_between_two_runs_joins_them),
        in_heap(granules_do_not_join_a_run_that_begins_with_an_open_piece),
        in_heap(a_large_free_chunk_gives_its_granules_back_and_leaves_a_sentinel_each_side),
        in_heap(a_free_chunk_of_a_few_granules_stays),
        in_heap(free_chunks_keep_a_share_of_what_is_in_use),
        in_heap(a_trim_gives_back_every_granule_that_is_free),
        in_heap(a_release_is_right_wherever_the_chunk_ends),
        in_heap(all_can_be_used_up_and_comes_back),
        in_heap(a_size_beyond_all_memory_is_refused),
        in_heap(a_span_outside_the_map_becomes_one_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
