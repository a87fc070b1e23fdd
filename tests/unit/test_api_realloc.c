/*
 * test_api_realloc.c: what arena_realloc promises over all ranges of sizes, classes to large mappings.
 */
#define _GNU_SOURCE
#include "one_arena.h"

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Sizes from every range, and the steps between them. */
static const size_t sizes[] = {0,     1,      8,      9,      16,   24,          100,     128,   129,
                               500,   1024,   1025,   4000,   8192, 20000,       32768,   32769, 65520,
                               70000, 140000, 262144, 300000, MIB,  5 * MIB + 3, 17 * MIB};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static void contents_survive_every_step_up_and_down(void **state)
{
    (void)state;
    for (size_t from = 0; from < SIZES; from++)
        for (size_t to = 0; to < SIZES; to++) {
            void *block = arena_alloc(arena, sizes[from]);
            assert_non_null(block);
            size_t usable = arena_usable_size(arena, block);
            fill(block, usable, from * SIZES + to);
            block = arena_realloc(arena, block, sizes[to]);
            assert_non_null(block);
            assert_true(arena_usable_size(arena, block) >= sizes[to]);
            assert_true(holds(block, smaller(usable, sizes[to]), from * SIZES + to));
            arena_free(arena, block);
        }
    assert_int_equal(stats_of(arena).live_blocks, 0);
}

static void a_vector_that_grows_by_half_keeps_its_contents_beside_others(void **state)
{
    void *vectors[8] = {NULL};
    size_t bytes[8] = {0};

    (void)state;
    for (size_t next = 16; next < 2 * MIB; next = next * 3 / 2)
        for (size_t i = 0; i < 8; i++) {
            vectors[i] = arena_realloc(arena, vectors[i], next);
            assert_non_null(vectors[i]);
            assert_true(holds(vectors[i], bytes[i], i << 32));
            bytes[i] = next;
            fill(vectors[i], next, i << 32);
        }
    arena_free_batch(arena, vectors, 8);
}

static void a_walled_in_large_block_moves_with_its_contents(void **state)
{
    void *walls[16];
    void *block = arena_alloc(arena, 2 * MIB);

    (void)state;
    fill(block, 2 * MIB, 1);
    for (size_t i = 0; i < 16; i++) {
        size_t bytes = (2 + i) * MIB;
        walls[i] = arena_alloc(arena, 2 * MIB + i);
        fill(walls[i], 2 * MIB, 100 + i);
        block = arena_realloc(arena, block, bytes + MIB);
        assert_non_null(block);
        assert_true(holds(block, bytes, 1));
        fill(block, bytes + MIB, 1);
        assert_ptr_equal(arena_of(block), arena);
    }
    for (size_t i = 0; i < 16; i++)
        assert_true(holds(walls[i], 2 * MIB, 100 + i));
    assert_int_equal(stats_of(arena).live_blocks, 17);
    arena_free_batch(arena, walls, 16);
    arena_free(arena, block);
}

static void growth_of_a_large_block_keeps_the_figures_exact(void **state)
{
    void *block = NULL;

    (void)state;
    for (size_t bytes = MIB; bytes <= 64 * MIB; bytes *= 2) {
        block = arena_realloc(arena, block, bytes);
        assert_non_null(block);
        arena_stats_t stats = stats_of(arena);
        assert_int_equal(stats.live_bytes, arena_usable_size(arena, block));
        assert_int_equal(stats.live_blocks, 1);
        assert_true(stats_add_up(&stats));
    }
    arena_free(arena, block);
}

static void a_null_block_is_an_allocation(void **state)
{
    (void)state;
    void *block = arena_realloc(arena, NULL, 1000);
    void *empty = arena_realloc(arena, NULL, 0);

    assert_true(block != NULL && empty != NULL);
    assert_int_equal(arena_usable_size(arena, block), arena_good_size(arena, 1000));
    assert_int_equal(stats_of(arena).live_blocks, 2);
    arena_free(arena, block);
    arena_free(arena, empty);
}

static void size_zero_gives_a_unique_block_for_the_old_one(void **state)
{
    void *blocks[SIZES];

    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        blocks[i] = arena_realloc(arena, arena_alloc(arena, sizes[i]), 0);
        assert_non_null(blocks[i]);
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(blocks[i], blocks[k]);
    }
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.live_blocks, SIZES);
    assert_true(stats.live_bytes < 64 * KIB);
    arena_free_batch(arena, blocks, SIZES);
}

static void failure_leaves_the_block_untouched(void **state)
{
    arena_t *small = arena_create(&(arena_options_t){.limit_bytes = 4 * MIB});

    (void)state;
    for (size_t i = 0; i < SIZES && sizes[i] <= MIB; i++) {
        void *block = arena_alloc(small, sizes[i]);
        assert_non_null(block);
        size_t usable = arena_usable_size(small, block);
        fill(block, usable, i);
        errno = 0;
        assert_null(arena_realloc(small, block, 8 * MIB));
        assert_int_equal(errno, ENOMEM);
        assert_int_equal(arena_usable_size(small, block), usable);
        assert_true(holds(block, usable, i));
        arena_free(small, block);
    }
    assert_int_equal(arena_check(small), 0);
    arena_destroy(small);
}

/* Allocates until NULL; answers how many of `blocks` it filled. */
static size_t exhaust(arena_t *full, void **blocks, size_t count, size_t size)
{
    size_t got = 0;

    while (got < count && (blocks[got] = arena_alloc(full, size)) != NULL)
        got++;
    return got;
}

static void shrinking_never_fails_even_when_nothing_is_left(void **state)
{
    static const size_t from[] = {300, 3000, 30000, 300000, 3 * MIB};
    static char buffer[4 * MIB];

    (void)state;
    for (unsigned flags = 0; flags <= (ARENA_NO_CACHE | ARENA_NO_SLABS); flags++)
        for (size_t i = 0; i < 2 * sizeof from / sizeof from[0]; i++) {
            void *fillers[5000], *smallest[20000];
            arena_options_t limited = {.limit_bytes = 4 * MIB, .flags = flags};
            arena_options_t fixed = {.source = ARENA_SOURCE_BUFFER,
                                     .buffer = buffer,
                                     .buffer_bytes = sizeof buffer,
                                     .flags = flags};
            arena_t *full = arena_create(i % 2 ? &limited : &fixed);
            void *block = arena_alloc(full, from[i / 2]);
            assert_non_null(block);
            fill(block, from[i / 2], i);
            assert_true(exhaust(full, fillers, 5000, 1000) < 5000);
            assert_true(exhaust(full, smallest, 20000, 20) < 20000);
            for (size_t size = from[i / 2]; size != 0; size /= 3) {
                block = arena_realloc(full, block, size);
                assert_non_null(block);
                assert_true(holds(block, size, i));
            }
            assert_non_null(block = arena_realloc(full, block, 0));
            arena_free(full, block);
            assert_int_equal(arena_check(full), 0);
            arena_destroy(full);
        }
}

static void an_over_aligned_block_may_be_reallocated(void **state)
{
    (void)state;
    for (size_t alignment = 32; alignment <= 4 * MIB; alignment *= 2)
        for (size_t i = 0; i < SIZES; i++) {
            void *block = arena_aligned_alloc(arena, alignment, 3000);
            fill(block, 3000, i);
            block = arena_realloc(arena, block, sizes[i]);
            assert_non_null(block);
            assert_true(holds(block, smaller(3000, sizes[i]), i));
            arena_free(arena, block);
        }
}

/* Each block is large for a while, at another time than most others: it need not keep room for that. */
static void room_to_grow_is_bounded_by_what_is_in_use(void **state)
{
    enum { BLOCKS = 2000, STEPS = 60000 / SLOWNESS };
    static char *blocks[BLOCKS];
    rng_t rng = {1};

    (void)state;
    for (int step = 0; step < STEPS; step++) {
        size_t i = rng_below(&rng, BLOCKS),
               bytes = 1 + rng_below(&rng, rng_below(&rng, 20) == 0 ? 60000 : 2000);
        blocks[i] = arena_realloc(arena, blocks[i], bytes);
        assert_non_null(blocks[i]);
    }
    arena_stats_t stats = stats_of(arena);
    assert_true(stats.live_bytes < 8 * MIB);
    assert_true(stats.peak_mapped_bytes < 36 * MIB);
    for (size_t i = 0; i < BLOCKS; i++)
        arena_free(arena, blocks[i]);
}

/* Beyond what large blocks have taught it to map apart. */
static void the_last_block_grows_with_the_break(void **state)
{
    (void)state;
    arena_t *heap = arena_create(&(arena_options_t){.source = ARENA_SOURCE_SBRK});
    assert_non_null(heap);
    arena_free(heap, arena_alloc(heap, 16 * MIB));
    char *block = arena_alloc(heap, 100 * KIB);
    assert_non_null(block);
    fill(block, 100 * KIB, 1);
    for (size_t bytes = 200 * KIB; bytes < 16 * MIB; bytes *= 2)
        assert_ptr_equal(arena_realloc(heap, block, bytes), block);
    assert_true(holds(block, 100 * KIB, 1));
    assert_true(stats_of(heap).peak_mapped_bytes < 24 * MIB);
    arena_free(heap, block);
    assert_int_equal(arena_check(heap), 0);
    arena_destroy(heap);
}

static void the_last_block_moves_into_a_hole_before_the_break_moves(void **state)
{
    (void)state;
    arena_t *heap = arena_create(&(arena_options_t){.source = ARENA_SOURCE_SBRK});
    assert_non_null(heap);
    arena_free(heap, arena_alloc(heap, 16 * MIB));
    char *low = arena_alloc(heap, 4 * MIB), *wall = arena_alloc(heap, 100 * KIB);
    char *last = arena_alloc(heap, 100 * KIB);
    assert_true(low != NULL && wall != NULL && last != NULL);
    assert_true(low < wall && wall < last);
    fill(last, 100 * KIB, 1);
    arena_free(heap, low);
    size_t mapped = stats_of(heap).mapped_bytes;
    for (size_t bytes = 200 * KIB; bytes < 3 * MIB; bytes *= 2) {
        last = arena_realloc(heap, last, bytes);
        assert_non_null(last);
    }
    assert_true(last < wall);
    assert_true(holds(last, 100 * KIB, 1));
    assert_int_equal(stats_of(heap).mapped_bytes, mapped);
    arena_free(heap, last);
    arena_free(heap, wall);
    assert_int_equal(arena_check(heap), 0);
    arena_destroy(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_arena(contents_survive_every_step_up_and_down),
        in_arena(a_vector_that_grows_by_half_keeps_its_contents_beside_others),
        in_arena(a_walled_in_large_block_moves_with_its_contents),
        in_arena(growth_of_a_large_block_keeps_the_figures_exact),
        in_arena(a_null_block_is_an_allocation),
        in_arena(size_zero_gives_a_unique_block_for_the_old_one),
        in_arena(failure_leaves_the_block_untouched),
        in_arena(shrinking_never_fails_even_when_nothing_is_left),
        in_arena(an_over_aligned_block_may_be_reallocated),
        in_arena(room_to_grow_is_bounded_by_what_is_in_use),
        cmocka_unit_test(the_last_block_grows_with_the_break),
        cmocka_unit_test(the_last_block_moves_into_a_hole_before_the_break_moves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
