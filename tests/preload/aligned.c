/*
 * aligned.c: posix_memalign, memalign, aligned_alloc, valloc and pvalloc as in glibc, errors included.
 */
#define _GNU_SOURCE
#include "preload_support.h"

/* From the compiler, which knows what alignments are. */
static size_t hidden(size_t value)
{
    __asm__("" : "+r"(value));
    return value;
}

static void posix_memalign_refuses_what_is_no_alignment(void **state)
{
    static const size_t wrong[] = {0,  1,  2,  4,   3,    7,    9,        12,
                                   24, 40, 48, 100, 4095, 4097, SIZE_MAX, SIZE_MAX - 7};
    void *untouched = &untouched;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        errno = 12345;
        assert_int_equal(posix_memalign(&untouched, wrong[i], 100), EINVAL);
        assert_int_equal(errno, 12345);
        assert_ptr_equal(untouched, &untouched);
    }
}

static void posix_memalign_that_finds_no_memory_touches_nothing(void **state)
{
    void *untouched = &untouched;

    (void)state;
    errno = 12345;
    assert_int_equal(posix_memalign(&untouched, 64, too_large), ENOMEM);
    assert_int_equal(posix_memalign(&untouched, (size_t)1 << 62, 1), ENOMEM);
    assert_ptr_equal(untouched, &untouched);
    if (under_library())
        assert_int_equal(errno, 12345); /* POSIX; glibc 2.36 sets it all the same */
}

static void posix_memalign_keeps_errno(void **state)
{
    void *block;

    (void)state;
    for (size_t alignment = 8; alignment <= 16 * MIB; alignment *= 2) {
        errno = 12345;
        assert_int_equal(posix_memalign(&block, alignment, alignment / 3), 0);
        assert_true(aligned_to(block, alignment));
        free(block);
        assert_int_equal(errno, 12345);
    }
}

static void memalign_rounds_up_to_a_power_of_two(void **state)
{
    static const size_t pairs[][2] = {{0, 16},      {1, 16},      {3, 16},        {8, 16},    {17, 32},
                                      {24, 32},     {33, 64},     {48, 64},       {100, 128}, {1000, 1024},
                                      {3000, 4096}, {4097, 8192}, {70000, 131072}};

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        for (size_t size = 1; size < 300000; size *= 5) {
            char *block = memalign(pairs[i][0], size);
            assert_non_null(block);
            assert_true(aligned_to(block, pairs[i][1]));
            fill(block, malloc_usable_size(block), 3);
            free(block);
        }
    }
}

static void memalign_beyond_half_the_address_space_is_einval(void **state)
{
    (void)state;
    errno = 0;
    assert_null(memalign(hidden(SIZE_MAX / 2 + 2), 1));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(memalign(hidden(SIZE_MAX / 2 + 1), 1));
    assert_int_equal(errno, ENOMEM);
}

/* glibc 2.38 began to refuse what is no power of two; before, it was memalign. */
static void aligned_alloc_takes_powers_of_two_and_any_size(void **state)
{
    (void)state;
    for (size_t alignment = 1; alignment <= MIB; alignment *= 2) {
        for (size_t size = 0; size < 200000; size = size * 7 + 1) {
            char *block = aligned_alloc(alignment, size);
            assert_non_null(block);
            assert_true(aligned_to(block, alignment > ALIGNMENT ? alignment : ALIGNMENT));
            free(block);
        }
    }
    errno = 0;
    void *odd = aligned_alloc(hidden(48), 96);
    assert_true(odd == NULL ? errno == EINVAL : aligned_to(odd, 64));
    free(odd);
}

static void valloc_and_pvalloc_give_pages(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    (void)state;
    for (size_t size = 0; size < 300000; size = size * 3 + 1) {
        char *block = valloc(size), *pages = pvalloc(size);
        assert_non_null(block);
        assert_non_null(pages);
        assert_true(aligned_to(block, page) && aligned_to(pages, page));
        size_t whole = (size + page - 1) / page * page;
        assert_true(malloc_usable_size(block) >= size);
        assert_true(malloc_usable_size(pages) >= whole);
        memset(any_size(pages), 1, whole);
        free(block);
        free(pages);
    }
}

static void aligned_blocks_live_beside_others(void **state)
{
    enum { SLOTS = 300 };
    static struct {
        char *block;
        size_t usable;
    } slots[SLOTS];
    rng_t rng = {5};

    (void)state;
    for (size_t round = 0; round < 30000; round++) {
        size_t i = rng_below(&rng, SLOTS), alignment = (size_t)8 << rng_below(&rng, round % 50 == 0 ? 14 : 8);
        size_t size = rng_size(&rng, 14);
        if (slots[i].block != NULL)
            must(holds(slots[i].block, slots[i].usable, i));
        if (round % 5 == 0) {
            slots[i].block = realloc(slots[i].block, size + 1);
        } else {
            free(slots[i].block);
            must(posix_memalign((void **)&slots[i].block, alignment, size) == 0);
            must(aligned_to(slots[i].block, alignment));
        }
        must(slots[i].block != NULL);
        slots[i].usable = malloc_usable_size(slots[i].block);
        must(slots[i].usable >= size);
        fill(slots[i].block, slots[i].usable, i);
    }
    for (size_t i = 0; i < SLOTS; i++)
        free(slots[i].block);
}

/* Six at a time, all freed: what the first round left must serve the next. */
static void aligned_blocks_leave_no_holes(void **state)
{
    const size_t before = statm_bytes(0);

    (void)state;
    for (size_t alignment = 8; alignment <= MIB; alignment *= 2) {
        for (size_t size = 0; size < 100000; size = size * 5 + 1) {
            char *blocks[6];
            for (size_t i = 0; i < 6; i++) {
                assert_int_equal(posix_memalign((void **)&blocks[i], alignment, size), 0);
                fill(blocks[i], size, i);
            }
            for (size_t i = 0; i < 6; i++)
                free(blocks[i]);
        }
    }
    assert_true(statm_bytes(0) <= before + 40 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(posix_memalign_refuses_what_is_no_alignment),
        cmocka_unit_test(posix_memalign_that_finds_no_memory_touches_nothing),
        cmocka_unit_test(posix_memalign_keeps_errno),
        cmocka_unit_test(memalign_rounds_up_to_a_power_of_two),
        cmocka_unit_test(memalign_beyond_half_the_address_space_is_einval),
        cmocka_unit_test(aligned_alloc_takes_powers_of_two_and_any_size),
        cmocka_unit_test(valloc_and_pvalloc_give_pages),
        cmocka_unit_test(aligned_blocks_leave_no_holes),
        cmocka_unit_test(aligned_blocks_live_beside_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
