/*
 * contracts.c: what malloc, free, calloc, realloc, reallocarray and malloc_usable_size promise in glibc.
 */
#define _GNU_SOURCE
#include "preload_support.h"

static const size_t ladder[] = {0,     1,      8,      15,     16,      17,      24,
                                100,   1000,   4096,   5000,   20000,   32768,   32769,
                                65536, 100000, 131072, 262144, 1 << 20, 5 << 20, 33 << 20};
enum { STEPS = sizeof ladder / sizeof ladder[0] };

/* Failed calls leave the block as it is, which the compiler does not know: is_refused assigns to one `result`. */
#define is_refused(call) (errno = 0, (result = (call)) == NULL && errno == ENOMEM)

static void free_keeps_errno(void **state)
{
    (void)state;
    for (size_t i = 0; i < STEPS; i++) {
        void *block = malloc(ladder[i]);
        assert_non_null(block);
        memset(block, 1, ladder[i]);
        errno = 12345;
        free(block);
        assert_int_equal(errno, 12345);
    }
    errno = 12345;
    free(NULL);
    assert_int_equal(errno, 12345);
}

static void success_keeps_errno(void **state)
{
    (void)state;
    for (size_t i = 0; i < STEPS; i++) {
        errno = 12345;
        void *block = malloc(ladder[i]);
        block = realloc(block, ladder[i] + 1);
        free(calloc(1, ladder[i]));
        assert_non_null(block);
        assert_int_equal(errno, 12345);
        free(block);
    }
}

static void malloc_of_0_is_unique(void **state)
{
    enum { COUNT = 1000 };
    char *blocks[COUNT];

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = i % 4 == 0   ? malloc(0)
                    : i % 4 == 1 ? calloc(0, 8)
                    : i % 4 == 2 ? calloc(8, 0)
                                 : realloc(NULL, 0);
        assert_non_null(blocks[i]);
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(blocks[i], blocks[j]);
    }
    for (size_t i = 0; i < COUNT; i++)
        free(blocks[i]);
}

static void realloc_to_0_frees_and_answers_null(void **state)
{
    const size_t before = statm_bytes(0);

    (void)state;
    for (size_t i = 0; i < 20000; i++) {
        char *block = malloc(100000);
        assert_non_null(block);
        block[0] = 1;
        assert_null(i % 2 == 0 ? realloc(block, 0) : reallocarray(block, 0, 8));
    }
    assert_true(statm_bytes(0) < before + 256 * MIB); /* 2 GB, if they were not freed */
}

static void sizes_beyond_ptrdiff_max_are_enomem(void **state)
{
    const size_t sizes[] = {too_large, too_large + 1, SIZE_MAX - 4096, SIZE_MAX - 15, SIZE_MAX};
    char *block = malloc(100);

    (void)state;
    fill(block, 100, 7);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *volatile result;
        void *untouched = &untouched;
        assert_true(is_refused(malloc(sizes[i])));
        assert_true(is_refused(calloc(1, sizes[i])));
        assert_true(is_refused(calloc(sizes[i], 1)));
        assert_true(is_refused(realloc(NULL, sizes[i])));
        assert_true(is_refused(realloc(block, sizes[i])));
        assert_true(is_refused(reallocarray(block, 1, sizes[i])));
        assert_true(is_refused(memalign(64, sizes[i])));
        assert_true(is_refused(memalign(65536, sizes[i])));
        assert_true(is_refused(aligned_alloc(4096, sizes[i])));
        assert_true(is_refused(valloc(sizes[i])));
        assert_true(is_refused(pvalloc(sizes[i])));
        assert_int_equal(posix_memalign(&untouched, 64, sizes[i]), ENOMEM);
        assert_ptr_equal(untouched, &untouched);
    }
    assert_true(holds(block, 100, 7));
    free(block);
}

static void products_that_overflow_are_enomem(void **state)
{
    const size_t pairs[][2] = {{SIZE_MAX / 2, 3},    {(size_t)1 << 32, (size_t)1 << 32},
                               {SIZE_MAX, 2},        {2, SIZE_MAX},
                               {SIZE_MAX, SIZE_MAX}, {SIZE_MAX / 16 + 2, 16}};
    char *block = malloc(100);

    (void)state;
    fill(block, 100, 7);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        void *volatile result;
        assert_true(is_refused(calloc(pairs[i][0], pairs[i][1])));
        assert_true(is_refused(reallocarray(NULL, pairs[i][0], pairs[i][1])));
        assert_true(is_refused(reallocarray(block, pairs[i][0], pairs[i][1])));
    }
    assert_true(holds(block, 100, 7));
    free(block);
}

static void calloc_is_zero_in_memory_that_was_used(void **state)
{
    (void)state;
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < STEPS; i++) {
            char *blocks[8];
            for (size_t j = 0; j < 8; j++) {
                assert_non_null(blocks[j] = calloc(ladder[i] / 8 + 1, 8));
                assert_true(all_zero(blocks[j], ladder[i]));
            }
            for (size_t j = 0; j < 8; j++) {
                memset(blocks[j], 0xff, malloc_usable_size(any_size(blocks[j])));
                free(blocks[j]);
            }
        }
    }
}

static void every_block_is_aligned_to_16(void **state)
{
    enum { AT_ONCE = 20 };
    void *blocks[AT_ONCE];

    (void)state;
    for (size_t size = 0; size < 2 * MIB; size += size < 1100 ? 1 : size / 7) {
        for (size_t i = 0; i < AT_ONCE; i++) {
            blocks[i] = i % 3 == 0   ? malloc(size)
                        : i % 3 == 1 ? calloc(1, size)
                                     : realloc(malloc(1), size + 1);
            assert_non_null(blocks[i]);
            assert_true(aligned_to(blocks[i], ALIGNMENT));
        }
        for (size_t i = 0; i < AT_ONCE; i++)
            free(blocks[i]);
    }
}

static void every_usable_byte_is_the_callers(void **state)
{
    enum { AT_ONCE = 12 };
    char *blocks[AT_ONCE];

    (void)state;
    assert_int_equal(malloc_usable_size(NULL), 0);
    for (size_t size = 0; size < 3 * MIB; size += size < 1100 ? 1 : size / 5) {
        for (size_t i = 0; i < AT_ONCE; i++) {
            assert_non_null(blocks[i] = malloc(size));
            assert_true(malloc_usable_size(blocks[i]) >= size);
            fill(blocks[i], malloc_usable_size(blocks[i]), size + i);
        }
        for (size_t i = 0; i < AT_ONCE; i++) {
            assert_true(holds(blocks[i], malloc_usable_size(blocks[i]), size + i));
            free(blocks[i]);
        }
    }
}

static void realloc_keeps_contents(void **state)
{
    rng_t rng = {42};
    char *block = NULL;
    size_t size = 0;

    (void)state;
    for (size_t round = 0; round < 20000; round++) {
        size_t next = rng_size(&rng, round % 100 == 0 ? 23 : 16) + 1;
        block = realloc(block, next);
        assert_non_null(block);
        assert_true(aligned_to(block, ALIGNMENT));
        assert_true(holds(block, (size < next ? size : next) & ~(size_t)7, 9));
        fill(block, size = next, 9);
    }
    free(block);
}

/* The first of its size in the process: a chunk, whose header is the word in front of it. */
static int realloc_behind_a_broken_header(void *unused)
{
    size_t *volatile block = malloc(1000);

    (void)unused;
    must(block != NULL && freopen("/dev/null", "w", stderr) != NULL);
    block[-1] ^= (size_t)1 << 20;
    block = realloc(block, 5000);
    return 0;
}

static void a_broken_header_is_found_by_realloc(void **state)
{
    (void)state;
    int status = status_of_child(realloc_behind_a_broken_header, NULL, 10);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void a_vector_grows_to_64_mib(void **state)
{
    size_t *block = NULL;
    size_t count = 0;

    (void)state;
    for (size_t capacity = 2; capacity * sizeof *block <= 64 * MIB; capacity += capacity / 2) {
        assert_non_null(block = reallocarray(block, capacity, sizeof *block));
        while (count < capacity) {
            block[count] = count;
            count++;
        }
    }
    for (size_t i = 0; i < count; i++)
        must(block[i] == i);
    free(block);
}

static void *churn_one_second(void *number)
{
    churn((uintptr_t)number + 1, 1.0, NULL);
    return NULL;
}

static void contents_hold_in_eight_threads(void **state)
{
    (void)state;
    run_threads(8, churn_one_second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broken_header_is_found_by_realloc),
        cmocka_unit_test(free_keeps_errno),
        cmocka_unit_test(success_keeps_errno),
        cmocka_unit_test(malloc_of_0_is_unique),
        cmocka_unit_test(realloc_to_0_frees_and_answers_null),
        cmocka_unit_test(sizes_beyond_ptrdiff_max_are_enomem),
        cmocka_unit_test(products_that_overflow_are_enomem),
        cmocka_unit_test(calloc_is_zero_in_memory_that_was_used),
        cmocka_unit_test(every_block_is_aligned_to_16),
        cmocka_unit_test(every_usable_byte_is_the_callers),
        cmocka_unit_test(realloc_keeps_contents),
        cmocka_unit_test(a_vector_grows_to_64_mib),
        cmocka_unit_test(contents_hold_in_eight_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
