/*
 * test_api.c: the contracts of allocating and freeing, function by function, with default options unless
 * the test is about another. What realloc, options, sources, figures and walks promise is in the other
 * test_api_*.c.
 */
#define _GNU_SOURCE
#include "one_arena.h"

#include <pthread.h>

static void alloc_of_zero_gives_unique_blocks(void **state)
{
    void *blocks[1000];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        blocks[i] = arena_alloc(arena, 0);
        assert_non_null(blocks[i]);
        fill(blocks[i], arena_usable_size(arena, blocks[i]), (uint64_t)i);
    }
    for (int i = 0; i < 1000; i++) {
        for (int k = 0; k < i; k++)
            assert_ptr_not_equal(blocks[i], blocks[k]);
        assert_true(holds(blocks[i], arena_usable_size(arena, blocks[i]), (uint64_t)i));
    }
    arena_free_batch(arena, blocks, 1000);
    assert_int_equal(stats_of(arena).live_blocks, 0);
}

static void impossible_sizes_fail_with_enomem(void **state)
{
    static const size_t sizes[] = {PTRDIFF_MAX,      (size_t)PTRDIFF_MAX + 1, SIZE_MAX,
                                   SIZE_MAX - 7,     SIZE_MAX - 15,           SIZE_MAX - 63,
                                   SIZE_MAX - 65535, SIZE_MAX / 2 - 4096};

    (void)state;
    void *kept = arena_alloc(arena, 100);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        volatile size_t size = sizes[i];
        errno = 0;
        assert_null(arena_alloc(arena, size));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(arena_calloc(arena, size, 1));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(arena_aligned_alloc(arena, 64, size));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(arena_realloc(arena, kept, size));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_int_equal(arena_good_size(arena, size), 0);
        assert_int_equal(errno, ENOMEM);
        void *out = NULL;
        errno = 0;
        assert_int_equal(arena_alloc_batch(arena, size, 1, &out), 0);
        assert_int_equal(errno, ENOMEM);
    }
    assert_int_equal(stats_of(arena).live_blocks, 1);
    arena_free(arena, kept);
}

static void calloc_whose_product_overflows_fails_with_enomem(void **state)
{
    static const size_t pairs[][2] = {{SIZE_MAX, 2},           {2, SIZE_MAX},
                                      {SIZE_MAX / 2 + 1, 2},   {(size_t)1 << 32, (size_t)1 << 32},
                                      {SIZE_MAX / 16 + 2, 16}, {SIZE_MAX, SIZE_MAX}};

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        volatile size_t count = pairs[i][0], size = pairs[i][1];
        errno = 0;
        assert_null(arena_calloc(arena, count, size));
        assert_int_equal(errno, ENOMEM);
    }
}

static void calloc_of_nothing_gives_unique_blocks(void **state)
{
    volatile size_t huge = SIZE_MAX;

    (void)state;
    void *a = arena_calloc(arena, 0, 8), *b = arena_calloc(arena, 8, 0), *c = arena_calloc(arena, 0, huge);

    assert_true(a != NULL && b != NULL && c != NULL);
    assert_true(a != b && b != c && a != c);
    arena_free(arena, a);
    arena_free(arena, b);
    arena_free(arena, c);
}

static void a_null_arena_is_einval_everywhere(void **state)
{
    char local;
    void *out = NULL, *some = &local;

    (void)state;
#define IS_EINVAL(expression) (errno = 0, (expression) && errno == EINVAL)
    assert_true(IS_EINVAL(arena_alloc(NULL, 1) == NULL));
    assert_true(IS_EINVAL(arena_calloc(NULL, 1, 1) == NULL));
    assert_true(IS_EINVAL(arena_realloc(NULL, NULL, 1) == NULL));
    assert_true(IS_EINVAL(arena_realloc(NULL, some, 1) == NULL));
    assert_true(IS_EINVAL(arena_aligned_alloc(NULL, 16, 1) == NULL));
    assert_true(IS_EINVAL((arena_free(NULL, some), true)));
    assert_true(IS_EINVAL((arena_free_sized(NULL, some, 1), true)));
    assert_true(IS_EINVAL((arena_free_batch(NULL, &some, 1), true)));
    assert_true(IS_EINVAL(arena_usable_size(NULL, some) == 0));
    assert_true(IS_EINVAL(arena_good_size(NULL, 1) == 0));
    assert_true(IS_EINVAL(arena_alloc_batch(NULL, 1, 1, &out) == 0));
    assert_true(IS_EINVAL((arena_reset(NULL), true)));
    assert_true(IS_EINVAL(arena_check(NULL) == -1));
    assert_true(IS_EINVAL(arena_walk(NULL, NULL, NULL) == -1));
#undef IS_EINVAL
}

static void null_blocks_and_arenas_are_ignored_by_free_and_destroy(void **state)
{
    void *nulls[3] = {NULL, NULL, NULL};

    (void)state;
    errno = EXDEV;
    arena_free(arena, NULL);
    arena_free_sized(arena, NULL, 100);
    arena_free_batch(arena, nulls, 3);
    arena_free_batch(arena, NULL, 0);
    arena_free(NULL, NULL);
    arena_destroy(NULL);
    assert_int_equal(arena_usable_size(arena, NULL), 0);
    assert_int_equal(errno, EXDEV);
    assert_int_equal(stats_of(arena).frees, 0);
}

static void success_leaves_errno_alone(void **state)
{
    static const size_t sizes[] = {0, 1, 16, 100, 1000, 5000, 40000, 300000, 3 * MIB};

    (void)state;
    errno = EXDEV;
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            void *block = arena_alloc(arena, sizes[i]);
            block = arena_realloc(arena, block, sizes[i] * 2 + 1);
            arena_free(arena, block);
            arena_free(arena, arena_aligned_alloc(arena, 4096, sizes[i]));
            arena_free_sized(arena, arena_calloc(arena, 1, sizes[i]), sizes[i]);
            arena_trim(arena, 0);
            assert_int_equal(errno, EXDEV);
        }
    arena_thread_flush();
    assert_int_equal(errno, EXDEV);
}

static void all_usable_bytes_are_the_callers(void **state)
{
    enum { BLOCKS = 600 };
    void *blocks[BLOCKS];

    (void)state;
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = i < 500 ? i * 5 : (i - 499) * 1500;
        blocks[i] = arena_alloc(arena, size);
        assert_true(arena_usable_size(arena, blocks[i]) >= size);
        fill(blocks[i], arena_usable_size(arena, blocks[i]), i);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        assert_true(holds(blocks[i], arena_usable_size(arena, blocks[i]), i));
        arena_free(arena, blocks[i]);
    }
}

static void blocks_of_16_bytes_and_more_are_aligned_to_16(void **state)
{
    void *blocks[2500];

    (void)state;
    for (size_t size = 0; size < 2500; size++) {
        blocks[size] = arena_alloc(arena, size);
        assert_int_equal((uintptr_t)blocks[size] % (size < 16 ? 8 : 16), 0);
    }
    arena_free_batch(arena, blocks, 2500);
    for (size_t size = 4000; size < 4 * MIB; size = size * 9 / 8) {
        void *block = arena_alloc(arena, size);
        assert_int_equal((uintptr_t)block % 16, 0);
        arena_free(arena, block);
    }
}

static void aligned_alloc_serves_every_power_of_two_to_a_gigabyte(void **state)
{
    static const size_t sizes[] = {0, 1, 24, 100, 1000, 4096, 5000, 70000, 3 * MIB};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };

    (void)state;
    for (size_t alignment = 1; alignment <= GIB; alignment *= 2) {
        void *blocks[SIZES];
        for (size_t i = 0; i < SIZES; i++) {
            blocks[i] = arena_aligned_alloc(arena, alignment, sizes[i]);
            assert_non_null(blocks[i]);
            assert_int_equal((uintptr_t)blocks[i] % (alignment < 8 ? 8 : alignment), 0);
            assert_true(arena_usable_size(arena, blocks[i]) >= sizes[i]);
            assert_ptr_equal(arena_of(blocks[i]), arena);
            fill(blocks[i], sizes[i], i);
        }
        for (size_t i = 0; i < SIZES; i++) {
            assert_true(holds(blocks[i], sizes[i], i));
            arena_free(arena, blocks[i]);
        }
        assert_int_equal(arena_check(arena), 0);
    }
}

static void many_aligned_blocks_do_not_overlap(void **state)
{
    enum { BLOCKS = 500 };
    void *blocks[BLOCKS];

    (void)state;
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t alignment = (size_t)8 << (i % 13);
        blocks[i] = arena_aligned_alloc(arena, alignment, i % 97);
        assert_int_equal((uintptr_t)blocks[i] % alignment, 0);
        fill(blocks[i], arena_usable_size(arena, blocks[i]), i);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        assert_true(holds(blocks[i], arena_usable_size(arena, blocks[i]), i));
        arena_free(arena, blocks[i]);
    }
}

static void alignments_that_are_no_power_of_two_are_einval(void **state)
{
    static const size_t bad[] = {0, 3, 6, 12, 24, 48, 100, 4095, 4097, SIZE_MAX, SIZE_MAX - 7};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        volatile size_t alignment = bad[i];
        errno = 0;
        assert_null(arena_aligned_alloc(arena, alignment, 16));
        assert_int_equal(errno, EINVAL);
    }
}

static void alignments_beyond_the_address_space_are_enomem(void **state)
{
    (void)state;
    for (unsigned log2 = 47; log2 < 64; log2++) {
        volatile size_t size = log2 % 2 ? 1 : SIZE_MAX / 2;
        errno = 0;
        assert_null(arena_aligned_alloc(arena, (size_t)1 << log2, size));
        assert_int_equal(errno, ENOMEM);
    }
}

static void calloc_is_zero_after_dirty_reuse(void **state)
{
    (void)state;
    for (size_t size = 1; size < 8 * MIB; size = size * 5 / 3 + 1)
        for (int round = 0; round < 3; round++) {
            unsigned char *block = arena_calloc(arena, size % 3 ? 1 : 3, size % 3 ? size : size / 3);
            assert_non_null(block);
            assert_true(all_zero(block, size));
            memset(any_size(block), 0xff, arena_usable_size(arena, block));
            arena_free(arena, block);
        }
}

static void free_sized_takes_every_size_up_to_the_usable(void **state)
{
    (void)state;
    for (size_t size = 0; size < 3 * MIB; size = size * 3 / 2 + 1) {
        void *block = arena_alloc(arena, size);
        size_t usable = arena_usable_size(arena, block);
        arena_free_sized(arena, block, usable);
        arena_free_sized(arena, arena_alloc(arena, size), size);
        arena_free_sized(arena, arena_alloc(arena, size), 0);
    }
    assert_int_equal(stats_of(arena).live_blocks, 0);
}

static void batches_give_as_many_distinct_blocks_as_asked_for(void **state)
{
    static const size_t sizes[] = {0, 8, 64, 500, 4000, 30000, 200000};
    enum { COUNT = 300 };

    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        void *blocks[COUNT + 2] = {NULL};
        assert_int_equal(arena_alloc_batch(arena, sizes[s], COUNT, blocks + 1), COUNT);
        assert_true(blocks[0] == NULL && blocks[COUNT + 1] == NULL);
        for (size_t i = 1; i <= COUNT; i++) {
            assert_true(arena_usable_size(arena, blocks[i]) >= sizes[s]);
            fill(blocks[i], arena_usable_size(arena, blocks[i]), i);
        }
        for (size_t i = 1; i <= COUNT; i++)
            assert_true(holds(blocks[i], arena_usable_size(arena, blocks[i]), i));
        assert_int_equal(stats_of(arena).live_blocks, COUNT);
        for (size_t i = 1; i <= COUNT; i += 7) {
            arena_free(arena, blocks[i]);
            blocks[i] = NULL;
        }
        arena_free_batch(arena, blocks, COUNT + 2);
        assert_int_equal(stats_of(arena).live_blocks, 0);
    }
    assert_int_equal(arena_alloc_batch(arena, 16, 0, NULL), 0);
}

static void arena_of_knows_blocks_and_nothing_else(void **state)
{
    static int global;
    int local = 0;
    void *mine = malloc(100);
    arena_t *other = arena_create(NULL);

    (void)state;
    for (size_t size = 0; size < 3 * MIB; size = size * 2 + 1) {
        void *block = arena_alloc(arena, size), *foreign = arena_alloc(other, size);
        assert_ptr_equal(arena_of(block), arena);
        assert_ptr_equal(arena_of(foreign), other);
        arena_free(arena, block);
    }
    assert_null(arena_of(NULL));
    assert_null(arena_of(&local));
    assert_null(arena_of(&global));
    assert_null(arena_of(mine));
    assert_null(arena_of((void *)(uintptr_t)1));
    assert_null(arena_of((void *)(uintptr_t)4096));
    assert_null(arena_of((void *)(UINTPTR_MAX - 15)));
    assert_null(arena_of((void *)(uintptr_t)(SIZE_MAX / 2)));
    void *gone = arena_alloc(other, 100), *large_gone = arena_alloc(other, 4 * MIB);
    arena_destroy(other);
    assert_null(arena_of(gone));
    assert_null(arena_of(large_gone));
    free(mine);
}

static void *free_all(void *blocks)
{
    arena_free_batch(arena, blocks, 1000);
    return NULL;
}

static void any_thread_may_free(void **state)
{
    void *blocks[1000];

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        blocks[i] = arena_alloc(arena, i * i / 8);
    run_thread(free_all, blocks);
    assert_int_equal(stats_of(arena).live_blocks, 0);
}

static void the_version_string_is_that_of_the_macros(void **state)
{
    char expected[64];

    (void)state;
    snprintf(expected, sizeof expected, "%d.%d.%d", ARENA_VERSION_MAJOR, ARENA_VERSION_MINOR,
             ARENA_VERSION_PATCH);
    assert_string_equal(arena_version(), expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_arena(alloc_of_zero_gives_unique_blocks),
        in_arena(impossible_sizes_fail_with_enomem),
        in_arena(calloc_whose_product_overflows_fails_with_enomem),
        in_arena(calloc_of_nothing_gives_unique_blocks),
        in_arena(a_null_arena_is_einval_everywhere),
        in_arena(null_blocks_and_arenas_are_ignored_by_free_and_destroy),
        in_arena(success_leaves_errno_alone),
        in_arena(all_usable_bytes_are_the_callers),
        in_arena(blocks_of_16_bytes_and_more_are_aligned_to_16),
        in_arena(aligned_alloc_serves_every_power_of_two_to_a_gigabyte),
        in_arena(many_aligned_blocks_do_not_overlap),
        in_arena(alignments_that_are_no_power_of_two_are_einval),
        in_arena(alignments_beyond_the_address_space_are_enomem),
        in_arena(calloc_is_zero_after_dirty_reuse),
        in_arena(free_sized_takes_every_size_up_to_the_usable),
        in_arena(batches_give_as_many_distinct_blocks_as_asked_for),
        in_arena(arena_of_knows_blocks_and_nothing_else),
        in_arena(any_thread_may_free),
        in_arena(the_version_string_is_that_of_the_macros),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
