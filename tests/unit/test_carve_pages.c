/*
 * test_carve_pages.c: what is known of a chunk's pages: which are zero, so that nothing clears them, and which resident.
 */
#define _GNU_SOURCE
#include "../../arena/alloc.h"
#include "../../arena/run.h"
#include "../../arena/sizeclass.h"
#include "../../arena/warm.h"
#include "carve_support.h"

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
        close_arena(NULL);
        open_heap(NULL);
    }
}

/* --- pages that are resident --- */

static void a_magazines_block_is_taken_where_no_new_page_is_needed(void **state)
{
    enum { FRONT = 38992 };
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_heap(fresh_memory_is_said_to_be_zero_and_used_memory_is_not),
        in_heap(new_memory_and_the_unused_in_front_of_it_are_zero_as_one),
        in_heap(new_memory_and_the_unused_behind_it_are_zero_as_one),
        in_heap(a_zero_block_is_zero_where_links_and_footer_were),
        in_heap(a_short_used_chunk_beside_new_memory_is_cleared),
        in_heap(a_magazines_block_is_taken_where_no_new_page_is_needed),
        in_heap(a_refill_waits_for_one_new_page_at_most),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
