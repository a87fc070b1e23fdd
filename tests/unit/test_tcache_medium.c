/*
 * test_tcache_medium.c: classes between SMALL_MAX and SLAB_MAX: chunks of just their size for a few requests, a magazine
 * once a thread has used the class, and slabs for it when enough of it lives; chunks where no slab may be.
 */
#define _GNU_SOURCE
#include "tcache_support.h"

/* A thread that fills a table frees nothing before it is full. */
static void many_get_slabs_before_any_is_freed(void **state)
{
    (void)state;
    for (size_t size = SMALL_MAX + 1; size <= SLAB_MAX; size += size / 16 * 8 - 3) {
        for (unsigned i = 0; i < uses_to_earn(size) / 2; i++) {
            void *exact = take(size);
            assert_false(is_in_slab(exact));
            assert_true(arena_usable_size(arena, exact) < size + CHUNK_LINE);
        }
        for (unsigned i = 0; i < uses_to_earn(size) / 2; i++)
            take(size);
        void *block;
        size_t in_chunks = 0;
        for (; !is_in_slab(block = take(size)); in_chunks += class_bytes(size))
            assert_int_equal(arena_usable_size(arena, block), class_bytes(size));
        bool at_once = sizeclass_of(size) > GRANULE_CLASSES;
        assert_in_range(in_chunks, at_once ? 0 : GRADUATE_MEDIUM,
                        at_once ? 0 : GRADUATE_MEDIUM + MAGAZINE_SMALL_BYTES);
        assert_int_equal(arena_usable_size(arena, block), class_bytes(size));
    }
}

/* So few live that a slab would be mostly empty. */
static void a_few_that_come_and_go_stay_chunks(void **state)
{
    enum { BLOCKS = 4, TURNS = 500 };
    void *blocks[BLOCKS] = {NULL};

    (void)state;
    for (int turn = 0; turn < TURNS; turn++) {
        void **slot = &blocks[turn * 7 % 11 % BLOCKS];
        arena_free(arena, *slot);
        *slot = take(2000);
        assert_true(is_chunk(*slot));
    }
    assert_true(cachehook_has_magazine(arena, sizeclass_of(2000)));
    arena_free_batch(arena, blocks, BLOCKS);
}

static void a_busy_class_gets_slabs_though_few_live(void **state)
{
    (void)state;
    earn(2000);
    assert_true(is_chunk(take(2000)));
    churn(2 * TICK_ALLOCATIONS, 2000);
    assert_true(is_in_slab(take(2000)));
}

static void chunks_go_home_once_there_are_slabs(void **state)
{
    (void)state;
    earn(2000);
    void *chunk = take(2000);
    assert_true(is_chunk(chunk));
    graduate(2000);
    arena_free(arena, chunk);
    assert_true(is_in_slab(take(2000)));
}

/* One of a chunk is at a page by chance only. */
static void an_aligned_request_is_enough_for_slabs(void **state)
{
    (void)state;
    for (size_t i = 0; i <= uses_to_earn(4096); i++)
        arena_free(arena, arena_aligned_alloc(arena, 4096, 4000));
    void *first = arena_aligned_alloc(arena, 4096, 4000);
    void *second = arena_aligned_alloc(arena, 4096, 4000);
    void *third = arena_aligned_alloc(arena, 4096, 4000);
    assert_true(is_in_slab(second) && is_in_slab(third));
    arena_free(arena, first);
    arena_free(arena, second);
    arena_free(arena, third);
    assert_int_equal(arena_check(arena), 0);
}

static void above_the_slabs_they_wait_for_frees(void **state)
{
    (void)state;
    for (int i = 0; i < 3 * EARN_FREES; i++)
        assert_true(arena_usable_size(arena, take(70000)) < class_bytes(70000));
}

/* Copies between two buffers of 2^n bytes that lie 2^n + 16 apart are slow. */
static void large_chunks_are_whole_lines_apart(void **state)
{
    (void)state;
    for (size_t size = CHUNK_LINES_MIN; size < LARGE_MIN_BYTES / 2; size += size / 3) {
        char *first = take(size), *second = take(size);
        assert_int_equal((uintptr_t)first % CHUNK_LINE, 0);
        assert_int_equal((uintptr_t)second % CHUNK_LINE, 0);
        assert_true(arena_usable_size(arena, first) < size + CHUNK_LINE);
    }
}

/* What is left over behind a block is in its header: from rounding to lines, and what was too little to split off. */
static void all_that_is_left_over_fits_the_header(void **state)
{
    const size_t chunk = LARGE_MIN_BYTES + CHUNK_LINE;
    const size_t beside = 1040; /* whole lines and 16 bytes */

    (void)state;
    arena_free(arena, take(MIB));   /* up to that a block is no mapping of its own now, */
    arena_free(arena, take(20000)); /* and what lay idle has made room for that one */
    void *first = take(chunk - (beside - 16) - CHUNK_HEADER);
    void *second = take(beside - CHUNK_HEADER);
    take(3000); /* no piece: what is freed beside one is not merged at once */
    must((char *)second == (char *)first + chunk - (beside - 16));
    arena_free(arena, first);
    arena_free(arena, second);
    void *block = take(LARGE_MIN_BYTES);
    assert_ptr_equal(block, first);
    assert_true(arena_usable_size(arena, block) >= LARGE_MIN_BYTES);
    assert_int_equal(arena_check(arena), 0);
    arena_free(arena, block);
}

/* The usable size says not quite which class a block was asked for. */
static void a_little_more_than_a_class_is_earned_too(void **state)
{
    (void)state;
    for (size_t size = SLAB_MAX - 16; size <= SLAB_MAX + 64; size += 16) {
        earn(size);
        assert_int_equal(arena_good_size(arena, size), class_bytes(size));
    }
}

static void what_is_filled_and_then_replaced_takes_no_more_room(void **state)
{
    enum { BLOCKS = 20000 };
    static void *blocks[BLOCKS];
    rng_t rng = {2};

    (void)state;
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = take(1100 + rng_below(&rng, 3000));
    size_t filled = stats_of(arena).mapped_bytes - stats_of(arena).free_bytes;
    size_t most = 0;
    for (size_t round = 0; round < 3 * BLOCKS; round++) {
        size_t i = rng_below(&rng, BLOCKS);
        arena_free(arena, blocks[i]);
        blocks[i] = take(1100 + rng_below(&rng, 3000));
        most = round % 1000 == 0 && stats_of(arena).mapped_bytes > most ? stats_of(arena).mapped_bytes : most;
    }
    assert_true(filled > BLOCKS * 2000 && most < filled / 10 * 14);
    arena_free_batch(arena, blocks, BLOCKS);
}

static void without_slabs_magazines_hold_chunks(void **state)
{
    (void)state;
    for (size_t size = SMALL_MAX + 1; size <= SLAB_MAX; size += 700) {
        earn(size);
        void *block = take(size);
        assert_false(is_in_slab(block));
        assert_int_equal(arena_usable_size(arena, block), class_bytes(size));
        arena_free(arena, block);
        assert_ptr_equal(take(size), block);
        arena_free(arena, block);
        for (size_t alignment = 32; alignment <= GRANULE / 2; alignment *= 2) {
            void *aligned = arena_aligned_alloc(arena, alignment, size);
            assert_true(aligned != NULL && (uintptr_t)aligned % alignment == 0);
            arena_free(arena, aligned);
        }
    }
    assert_int_equal(stats_of(arena).slabs, 0);
}

/* From such a magazine none may be taken for another alignment than the class has. */
static void an_alignment_that_no_class_has_is_kept(void **state)
{
    (void)state;
    for (int i = 0; i <= 2 * EARN_FREES; i++) {
        void *block = arena_aligned_alloc(arena, GRANULE / 2, 5000);
        assert_true(block != NULL && (uintptr_t)block % (GRANULE / 2) == 0);
        arena_free(arena, block);
        arena_free(arena, take(5000));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_arena(many_get_slabs_before_any_is_freed),
        in_arena(a_few_that_come_and_go_stay_chunks),
        in_arena(a_busy_class_gets_slabs_though_few_live),
        in_arena(chunks_go_home_once_there_are_slabs),
        in_arena(an_aligned_request_is_enough_for_slabs),
        in_arena(above_the_slabs_they_wait_for_frees),
        in_arena(large_chunks_are_whole_lines_apart),
        without_slabs(all_that_is_left_over_fits_the_header),
        in_arena(a_little_more_than_a_class_is_earned_too),
        in_arena(what_is_filled_and_then_replaced_takes_no_more_room),
        in_arena(an_alignment_that_no_class_has_is_kept),
        without_slabs(without_slabs_magazines_hold_chunks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
