/*
 * test_range.c: range arenas as their header describes them: bad options, sizes at the edges, what comes from the
 * kernel and goes back to it, orders and fits, and metadata that is where it was asked to be.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <stdalign.h>

static size_t page_bytes;

static arena_range_t *open_range(arena_range_options_t options)
{
    arena_range_t *range = arena_range_create(&options);

    assert_non_null(range);
    return range;
}

static arena_range_stats_t range_stats(arena_range_t *range)
{
    arena_range_stats_t stats;

    arena_range_stats(range, &stats, sizeof stats);
    return stats;
}

static void bad_options_are_refused_with_einval(void **state)
{
    static alignas(8) char metadata[8200];
    const arena_range_options_t bad[] = {
        {.bytes = 0},
        {.bytes = 7},
        {.base = 4, .bytes = 100},
        {.base = UINT64_MAX - 7, .bytes = 8},
        {.bytes = 100, .quantum = 4},
        {.bytes = 100, .quantum = 24},
        {.bytes = (uint64_t)1 << 40, .quantum = (size_t)1 << 31},
        {.bytes = 100, .page_bytes = 4},
        {.bytes = 100, .page_bytes = 48},
        {.bytes = 100, .growth_bytes = SIZE_MAX},
        {.bytes = 100, .source = (arena_range_source_t)3},
        {.bytes = 100, .fit = (arena_fit_t)5},
        {.bytes = 100, .flags = 64},
        {.bytes = 100, .flags = ARENA_RANGE_LIFO | ARENA_RANGE_FIFO},
        {.bytes = 100, .flags = ARENA_RANGE_FIXED_METADATA},
        {.bytes = 100, .flags = ARENA_RANGE_INSIDE},
        {.bytes = 100, .metadata = metadata, .metadata_bytes = 8191},
        {.bytes = 100, .metadata = metadata, .metadata_bytes = SIZE_MAX},
        {.bytes = 100, .metadata = metadata + 1, .metadata_bytes = 8192},
        {.bytes = 100, .metadata = metadata + 4, .metadata_bytes = 8192},
        {.bytes = 100, .metadata = NULL, .metadata_bytes = 8192},
        {.bytes = 100, .reserved = {[7] = 1}},
        {.source = ARENA_RANGE_MMAP, .page_bytes = 2048},
        {.source = ARENA_RANGE_SBRK,
         .flags = ARENA_RANGE_INSIDE,
         .metadata = metadata,
         .metadata_bytes = 8192},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        errno = 0;
        if (arena_range_create(&bad[i]) != NULL || errno != EINVAL)
            fail_msg("options %zu", i);
    }
    errno = 0;
    assert_null(arena_range_create(NULL));
    assert_int_equal(errno, EINVAL);
}

static void every_call_takes_null_for_einval(void **state)
{
    arena_range_stats_t stats = {.frees = 1};

    (void)state;
    arena_range_destroy(NULL);
    errno = 0;
    assert_true(arena_range_alloc(NULL, 8) == ARENA_RANGE_NONE && errno == EINVAL);
    errno = 0;
    assert_true(arena_range_aligned_alloc(NULL, 8, 8) == ARENA_RANGE_NONE && errno == EINVAL);
    errno = 0;
    arena_range_free(NULL, 8);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    arena_range_free(NULL, ARENA_RANGE_NONE);
    assert_int_equal(errno, 0);
    assert_true(!arena_range_resize(NULL, 8, 8) && errno == EINVAL);
    errno = 0;
    assert_true(arena_range_size(NULL, 8) == 0 && errno == EINVAL);
    errno = 0;
    assert_true(arena_range_trim(NULL) == 0 && errno == EINVAL);
    errno = 0;
    assert_true(arena_range_walk(NULL, NULL, NULL) == -1 && errno == EINVAL);
    errno = 0;
    assert_true(arena_range_check(NULL) == -1 && errno == EINVAL);
    arena_range_stats(NULL, &stats, sizeof stats);
    assert_true(stats.frees == 0);
}

static void every_byte_of_a_range_can_be_given_out(void **state)
{
    arena_range_t *range = open_range((arena_range_options_t){.bytes = 4096});

    (void)state;
    assert_true(arena_range_alloc(range, 4096) == 0);
    errno = 0;
    assert_true(arena_range_alloc(range, 1) == ARENA_RANGE_NONE && errno == ENOMEM);
    arena_range_free(range, 0);
    for (uint64_t i = 0; i < 512; i++)
        assert_true(arena_range_alloc(range, 8) == 8 * i);
    assert_true(arena_range_alloc(range, 8) == ARENA_RANGE_NONE);
    for (uint64_t i = 0; i < 512; i += 2)
        arena_range_free(range, 8 * i);
    assert_true(arena_range_alloc(range, 16) == ARENA_RANGE_NONE);
    for (uint64_t i = 1; i < 512; i += 2)
        arena_range_free(range, 8 * i);
    assert_int_equal(range_stats(range).free_runs, 1);
    assert_true(arena_range_alloc(range, 4096) == 0);
    assert_int_equal(arena_range_check(range), 0);
    arena_range_destroy(range);
}

static void sizes_at_the_edges_fail_cleanly_or_round_up(void **state)
{
    arena_range_t *range = open_range((arena_range_options_t){.base = 4096, .bytes = 4096, .quantum = 16});

    (void)state;
    assert_true(arena_range_alloc(range, 0) == 4096 && arena_range_size(range, 4096) == 16);
    assert_true(arena_range_alloc(range, 17) == 4112 && arena_range_size(range, 4112) == 32);
    assert_true(arena_range_alloc(range, UINT64_MAX) == ARENA_RANGE_NONE && errno == ENOMEM);
    assert_true(arena_range_alloc(range, UINT64_MAX - 15) == ARENA_RANGE_NONE);
    assert_true(arena_range_aligned_alloc(range, 0, 8) == ARENA_RANGE_NONE && errno == EINVAL);
    assert_true(arena_range_aligned_alloc(range, 24, 8) == ARENA_RANGE_NONE && errno == EINVAL);
    assert_true(arena_range_aligned_alloc(range, (uint64_t)1 << 63, 8) == ARENA_RANGE_NONE &&
                errno == ENOMEM);
    assert_true(arena_range_aligned_alloc(range, 2, 8) == 4144);
    assert_true(arena_range_aligned_alloc(range, 1024, 1024) == 5120);
    assert_true(!arena_range_resize(range, 4096, UINT64_MAX) && errno == ENOMEM);
    assert_true(arena_range_resize(range, 4096, 0) && arena_range_size(range, 4096) == 16);
    errno = 0;
    assert_true(arena_range_size(range, 4104) == 0 && errno == EINVAL);
    assert_true(arena_range_size(range, 0) == 0 && arena_range_size(range, 8192) == 0);
    assert_int_equal(arena_range_check(range), 0);
    arena_range_destroy(range);
}

/* No limit is nearer than that of the numbers. */
static void a_range_of_all_addresses_holds_them_all(void **state)
{
    const uint64_t all = UINT64_MAX - 7, part = (uint64_t)1 << 61;

    (void)state;
    arena_range_t *range = open_range((arena_range_options_t){.bytes = all});
    assert_true(range_stats(range).held_bytes == all && range_stats(range).free_bytes == all);
    for (uint64_t i = 0; i < 7; i++)
        assert_true(arena_range_alloc(range, part) == i * part);
    assert_true(arena_range_alloc(range, part - 8) == 7 * part);
    assert_true(arena_range_alloc(range, 1) == ARENA_RANGE_NONE);
    for (uint64_t i = 0; i < 8; i++)
        arena_range_free(range, i * part);
    assert_int_equal(arena_range_check(range), 0);
    assert_true(range_stats(range).largest_free_bytes == all);
    arena_range_destroy(range);
}

static void one_block_may_be_all_of_a_range(void **state)
{
    (void)state;
    for (uint64_t all = UINT64_MAX - 7; all >= 1024; all /= 4) {
        all -= all % 8;
        for (int fit = ARENA_FIT_GOOD; fit <= ARENA_FIT_NEXT; fit++) {
            arena_range_t *range = open_range((arena_range_options_t){.bytes = all, .fit = (arena_fit_t)fit});
            assert_true(arena_range_alloc(range, all + 1) == ARENA_RANGE_NONE && errno == ENOMEM);
            assert_true(arena_range_alloc(range, all) == 0);
            assert_true(arena_range_size(range, 0) == all);
            assert_true(arena_range_resize(range, 0, 8) && arena_range_resize(range, 0, all));
            assert_false(arena_range_resize(range, 0, all + 1));
            arena_range_free(range, 0);
            assert_true(arena_range_aligned_alloc(range, UINT64_C(1) << 63, all / 2 + 8) == 0);
            assert_int_equal(arena_range_check(range), 0);
            arena_range_destroy(range);
        }
    }
}

static void a_block_grows_into_what_is_free_behind_it_and_shrinks(void **state)
{
    arena_range_t *range = open_range((arena_range_options_t){.bytes = 1024});
    uint64_t a = arena_range_alloc(range, 100), b = arena_range_alloc(range, 100);

    (void)state;
    assert_false(arena_range_resize(range, a, 200));
    arena_range_free(range, b);
    assert_true(arena_range_resize(range, a, 1024));
    assert_false(arena_range_resize(range, a, 1032));
    assert_true(arena_range_resize(range, a, 8));
    assert_true(range_stats(range).free_bytes == 1016 && range_stats(range).free_runs == 1);
    assert_int_equal(arena_range_check(range), 0);
    arena_range_destroy(range);
}

/* Frees three of five blocks of one size, apart, and tells which comes back first. */
static uint64_t first_back(unsigned flags, arena_fit_t fit)
{
    arena_range_t *range = open_range((arena_range_options_t){.bytes = 4096, .flags = flags, .fit = fit});
    uint64_t blocks[8];

    for (size_t i = 0; i < 8; i++)
        blocks[i] = arena_range_alloc(range, 64);
    arena_range_free(range, blocks[3]);
    arena_range_free(range, blocks[1]);
    arena_range_free(range, blocks[5]);
    uint64_t back = arena_range_alloc(range, 64);
    assert_int_equal(arena_range_check(range), 0);
    arena_range_destroy(range);
    return back / 64;
}

static void orders_and_fits_choose_as_they_say(void **state)
{
    (void)state;
    assert_int_equal(first_back(ARENA_RANGE_LIFO, ARENA_FIT_GOOD), 5);
    assert_int_equal(first_back(ARENA_RANGE_FIFO, ARENA_FIT_GOOD), 3);
    assert_int_equal(first_back(0, ARENA_FIT_FIRST), 1);
    assert_int_equal(first_back(0, ARENA_FIT_BEST), 1);
    assert_int_equal(first_back(0, ARENA_FIT_WORST), 8);
    assert_int_equal(first_back(0, ARENA_FIT_NEXT), 8);
}

static void freed_neighbours_come_back_in_order_and_still_merge(void **state)
{
    static const size_t order[] = {4, 0, 2, 1, 7, 3, 6, 5};
    const unsigned flags[] = {ARENA_RANGE_LIFO, ARENA_RANGE_FIFO};

    (void)state;
    for (size_t f = 0; f < 2; f++) {
        arena_range_t *range = open_range((arena_range_options_t){.bytes = 8 * 40, .flags = flags[f]});
        uint64_t blocks[8];
        for (size_t i = 0; i < 8; i++)
            blocks[i] = arena_range_alloc(range, 40);
        for (size_t i = 0; i < 8; i++)
            arena_range_free(range, blocks[order[i]]);
        for (size_t i = 0; i < 8; i++)
            assert_true(arena_range_alloc(range, 40) == blocks[order[f == 0 ? 7 - i : i]]);
        for (size_t i = 0; i < 8; i++)
            arena_range_free(range, blocks[order[i]]);
        assert_true(arena_range_alloc(range, 320) == 0);
        assert_int_equal(arena_range_check(range), 0);
        arena_range_destroy(range);
    }
}

static void no_block_crosses_a_page_where_none_may(void **state)
{
    arena_range_t *range = open_range((arena_range_options_t){
        .base = 256, .bytes = 2048 + 512, .page_bytes = 1024, .flags = ARENA_RANGE_WITHIN_PAGES});

    (void)state;
    assert_true(range_stats(range).free_bytes == 2560);
    assert_true(arena_range_alloc(range, 1025) == ARENA_RANGE_NONE && errno == ENOMEM);
    assert_true(arena_range_alloc(range, 600) == 256);
    assert_true(arena_range_alloc(range, 600) == 256 + 1024);
    assert_true(arena_range_alloc(range, 600) == ARENA_RANGE_NONE); /* the last page is half a page */
    assert_true(arena_range_alloc(range, 512) == 256 + 2048);
    assert_false(arena_range_resize(range, 256, 1032));
    assert_int_equal(arena_range_check(range), 0);
    arena_range_destroy(range);
}

typedef struct {
    uint64_t next, free;
    size_t free_runs;
} tiling_t;

static int tile(void *context, const arena_range_block_t *block)
{
    tiling_t *tiling = context;

    assert_true(block->address == tiling->next);
    tiling->next += block->bytes;
    tiling->free += block->state == ARENA_BLOCK_FREE ? block->bytes : 0;
    tiling->free_runs += block->state == ARENA_BLOCK_FREE;
    return 0;
}

/* A given range: blocks and free runs, pages that are not open among them, cover it, and the figures agree. */
static void expect_tiled(arena_range_t *range, uint64_t base, uint64_t bytes)
{
    tiling_t tiling = {.next = base};

    assert_int_equal(arena_range_check(range), 0);
    assert_int_equal(arena_range_walk(range, tile, &tiling), 0);
    assert_true(tiling.next == base + bytes);
    assert_true(range_stats(range).free_bytes == tiling.free);
    assert_int_equal(range_stats(range).free_runs, tiling.free_runs);
}

static void an_alignment_far_above_the_page_opens_one_page(void **state)
{
    const uint64_t bytes = (uint64_t)1 << 44;
    arena_range_t *range = open_range(
        (arena_range_options_t){.bytes = bytes, .page_bytes = 4096, .flags = ARENA_RANGE_WITHIN_PAGES});
    uint64_t blocks[64];

    (void)state;
    assert_true(arena_range_alloc(range, 4096) == 0);
    for (unsigned log2 = 13; log2 <= 43; log2++) { /* the lowest page at such an address that has room */
        blocks[log2] = arena_range_aligned_alloc(range, (uint64_t)1 << log2, 4096);
        assert_true(blocks[log2] == (uint64_t)1 << log2);
        assert_true(range_stats(range).metadata_bytes < 256 * KIB);
    }
    expect_tiled(range, 0, bytes);
    assert_true(arena_range_aligned_alloc(range, (uint64_t)1 << 43, 8) == ARENA_RANGE_NONE);
    assert_true(arena_range_aligned_alloc(range, (uint64_t)1 << 63, 8) == ARENA_RANGE_NONE);
    assert_true(arena_range_aligned_alloc(range, 8192, 4096) == 3 * 8192); /* 2 * 8192 is in use */
    assert_true(arena_range_alloc(range, 8) == 4096);                      /* and 8192 */
    assert_true(arena_range_alloc(range, 4096) == 3 * 4096);
    expect_tiled(range, 0, bytes);
    for (unsigned log2 = 13; log2 <= 43; log2++)
        arena_range_free(range, blocks[log2]);
    expect_tiled(range, 0, bytes);
    assert_true(arena_range_aligned_alloc(range, (uint64_t)1 << 43, 8) == (uint64_t)1 << 43);
    arena_range_destroy(range);
}

/* Pages are counted from `base`: none of them begins at an aligned address, but one lies within. */
static void an_aligned_place_in_the_middle_of_a_page_is_found(void **state)
{
    const uint64_t base = 256, bytes = 100 * 1024 + 512;
    arena_range_t *range = open_range((arena_range_options_t){
        .base = base, .bytes = bytes, .page_bytes = 1024, .flags = ARENA_RANGE_WITHIN_PAGES});

    (void)state;
    assert_true(arena_range_aligned_alloc(range, 4096, 256) == 4096);
    assert_true(arena_range_aligned_alloc(range, 4096, 264) == ARENA_RANGE_NONE); /* would cross a page */
    assert_true(arena_range_aligned_alloc(range, 4096, 8) == 8192);
    expect_tiled(range, base, bytes);
    for (uint64_t i = 3; i <= 25; i++)
        assert_true(arena_range_aligned_alloc(range, 4096, 200) == 4096 * i);
    assert_true(arena_range_aligned_alloc(range, 4096, 200) == ARENA_RANGE_NONE);
    expect_tiled(range, base, bytes);
    while (arena_range_alloc(range, 8) != ARENA_RANGE_NONE) /* no page was lost on the way */
        ;
    assert_true(range_stats(range).free_bytes == 0 && range_stats(range).free_runs == 0);
    expect_tiled(range, base, bytes);
    arena_range_destroy(range);
}

static void one_call_maps_an_alignment_far_above_the_page(void **state)
{
    const uint64_t alignment = (uint64_t)1 << 26;

    (void)state;
    for (unsigned flags = 0; flags < 2; flags++) {
        arena_range_t *range = open_range((arena_range_options_t){.source = ARENA_RANGE_MMAP,
                                                                  .page_bytes = page_bytes,
                                                                  .flags = flags,
                                                                  .limit_bytes = 2 * page_bytes});
        uint64_t block = arena_range_aligned_alloc(range, alignment, 100);
        assert_true(block != ARENA_RANGE_NONE && block % alignment == 0);
        assert_true(range_stats(range).kernel_calls == 1 && range_stats(range).held_bytes == page_bytes);
        fill((void *)(uintptr_t)block, 100, 1);
        assert_int_equal(arena_range_check(range), 0);
        errno = 0;
        assert_true(arena_range_aligned_alloc(range, (uint64_t)1 << 62, 100) == ARENA_RANGE_NONE);
        assert_int_equal(errno, ENOMEM);
        arena_range_free(range, block);
        assert_true(range_stats(range).held_bytes == 0);
        arena_range_destroy(range);
    }
}

static void the_break_moves_once_to_an_alignment_above_the_page(void **state)
{
    static const unsigned flags[] = {0, ARENA_RANGE_INSIDE};
    const uint64_t alignment = (uint64_t)1 << 24;

    (void)state;
    for (size_t f = 0; f < 2; f++) {
        arena_range_t *range = open_range((arena_range_options_t){
            .source = ARENA_RANGE_SBRK, .flags = ARENA_RANGE_WITHIN_PAGES | flags[f]});
        uint64_t first = arena_range_alloc(range, 8), calls = range_stats(range).kernel_calls;
        uint64_t block = arena_range_aligned_alloc(range, alignment, 100);
        must(first != ARENA_RANGE_NONE && block != ARENA_RANGE_NONE && block % alignment == 0);
        must(range_stats(range).kernel_calls == calls + 1 && arena_range_check(range) == 0);
        must((uint64_t)(uintptr_t)sbrk(0) == block + page_bytes); /* and no further */
        arena_range_free(range, block);
        must((uint64_t)(uintptr_t)sbrk(0) < first + alignment / 4 && arena_range_check(range) == 0);
        arena_range_destroy(range);
    }
}

static void a_block_that_cannot_cross_a_page_does_not_move_the_break(void **state)
{
    arena_range_t *range =
        open_range((arena_range_options_t){.source = ARENA_RANGE_SBRK, .flags = ARENA_RANGE_WITHIN_PAGES});
    uint64_t left = arena_range_alloc(range, page_bytes / 2),
             right = arena_range_alloc(range, page_bytes / 2);

    (void)state;
    must(left != ARENA_RANGE_NONE && right == left + page_bytes / 2);
    char *before = sbrk(0);
    must(!arena_range_resize(range, right, page_bytes / 2 + 8) && errno == ENOMEM);
    must(sbrk(0) == before && arena_range_check(range) == 0);
    arena_range_destroy(range);
}

/* What passing pages by takes, leaves of the map, is given back where it is not enough. */
static void an_alignment_that_metadata_cannot_reach_changes_nothing(void **state)
{
    static alignas(8) char metadata[64 * KIB];
    static const uint64_t alignments[] = {(uint64_t)1 << 30, (uint64_t)1 << 28, (uint64_t)1 << 40};

    (void)state;
    char *before = sbrk(0);
    arena_range_t *range =
        open_range((arena_range_options_t){.source = ARENA_RANGE_SBRK,
                                           .flags = ARENA_RANGE_WITHIN_PAGES | ARENA_RANGE_FIXED_METADATA,
                                           .metadata = metadata,
                                           .metadata_bytes = sizeof metadata});
    for (size_t i = 0; i < 3; i++) {
        errno = 0;
        must(arena_range_aligned_alloc(range, alignments[i], 8) == ARENA_RANGE_NONE && errno == ENOMEM);
        must((char *)sbrk(0) == before && range_stats(range).held_bytes == 0);
    }
    for (size_t i = 0; i < 100; i++)
        must(arena_range_alloc(range, page_bytes) != ARENA_RANGE_NONE);
    must(arena_range_check(range) == 0);
    arena_range_destroy(range);
}

static void mapped_pages_come_one_by_one_and_go_when_empty(void **state)
{
    arena_range_t *range = open_range((arena_range_options_t){
        .source = ARENA_RANGE_MMAP, .flags = ARENA_RANGE_WITHIN_PAGES, .limit_bytes = 3 * page_bytes});
    uint64_t blocks[3];

    (void)state;
    assert_true(range_stats(range).held_bytes == 0);
    for (size_t i = 0; i < 3; i++) {
        blocks[i] = arena_range_alloc(range, page_bytes / 2 + 8);
        assert_true(range_stats(range).held_bytes == (i + 1) * page_bytes);
        fill((void *)(uintptr_t)blocks[i], page_bytes / 2 + 8, i);
    }
    assert_true(arena_range_alloc(range, page_bytes / 2) == ARENA_RANGE_NONE && errno == ENOMEM);
    for (size_t i = 0; i < 3; i++) {
        arena_range_free(range, blocks[i]);
        assert_true(range_stats(range).held_bytes == (2 - i) * page_bytes);
        assert_int_equal(arena_range_check(range), 0);
    }
    assert_int_equal(range_stats(range).kernel_calls, 6);
    arena_range_destroy(range);
}

static void pages_are_kept_as_asked_until_a_trim(void **state)
{
    arena_range_t *range =
        open_range((arena_range_options_t){.source = ARENA_RANGE_MMAP, .keep_bytes = UINT64_MAX});
    uint64_t large = arena_range_alloc(range, 10 * page_bytes), small = arena_range_alloc(range, 8);

    (void)state;
    arena_range_free(range, large);
    assert_true(range_stats(range).held_bytes == 11 * page_bytes);
    assert_true(arena_range_trim(range) == 10 * page_bytes);
    assert_true(range_stats(range).held_bytes == page_bytes && arena_range_size(range, small) == 8);
    assert_true(arena_range_trim(range) == 0);
    assert_int_equal(arena_range_check(range), 0);
    arena_range_destroy(range);
}

static void the_break_has_one_owner(void **state)
{
    arena_range_options_t options = {.source = ARENA_RANGE_SBRK};
    arena_range_t *range = open_range(options);

    (void)state;
    errno = 0;
    assert_null(arena_range_create(&options));
    assert_int_equal(errno, EBUSY);
    assert_null(arena_create(&(arena_options_t){.source = ARENA_SOURCE_SBRK}));
    assert_int_equal(errno, EBUSY);
    arena_range_destroy(range);
    arena_t *arena = arena_create(&(arena_options_t){.source = ARENA_SOURCE_SBRK});
    assert_non_null(arena);
    assert_null(arena_range_create(&options));
    arena_destroy(arena);
    arena_range_destroy(open_range(options));
}

static int by_address(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

/* No call in here may use the C library's malloc, which moves the break too. */
static void the_break_comes_down_page_by_page_when_the_last_block_goes(void **state)
{
    static const unsigned flags[] = {0, ARENA_RANGE_INSIDE, ARENA_RANGE_LIFO | ARENA_RANGE_INSIDE};
    uint64_t blocks[100];

    (void)state;
    for (size_t f = 0; f < 3; f++) {
        char *before = sbrk(0);
        arena_range_t *range =
            open_range((arena_range_options_t){.source = ARENA_RANGE_SBRK, .flags = flags[f]});
        for (size_t i = 0; i < 100; i++)
            must((blocks[i] = arena_range_alloc(range, page_bytes)) != ARENA_RANGE_NONE);
        char *top = sbrk(0);
        for (size_t i = 0; i < 99; i++) { /* nothing below the last block moves it */
            arena_range_free(range, blocks[i]);
            must(sbrk(0) == top && (i % 9 != 0 || arena_range_check(range) == 0));
        }
        arena_range_free(range, blocks[99]);
        char *after = sbrk(0);
        must(after < top && after <= before + 4 * page_bytes && arena_range_check(range) == 0);
        for (size_t i = 0; i < 100; i++)
            must((blocks[i] = arena_range_alloc(range, page_bytes)) != ARENA_RANGE_NONE);
        qsort(blocks, 100, sizeof blocks[0], by_address);
        for (size_t i = 100; i-- > 0;) { /* from the end, page by page */
            top = sbrk(0);
            arena_range_free(range, blocks[i]);
            must((char *)sbrk(0) <= top - page_bytes || i < 2);
            must(arena_range_check(range) == 0);
        }
        arena_range_destroy(range);
        assert_true((char *)sbrk(0) <= before + page_bytes);
    }
}

/* From where the break was, which seldom is a multiple of pages as large as these. */
static void destroying_a_range_brings_the_break_back_to_where_it_was(void **state)
{
    static const unsigned flags[] = {0, ARENA_RANGE_WITHIN_PAGES, ARENA_RANGE_INSIDE};
    const size_t large = 4 * MIB;

    (void)state;
    for (size_t i = 0; i < 3 * 5; i++) {
        must(sbrk(1000) != (void *)-1);
        char *before = sbrk(0);
        must((uintptr_t)before % large != 0);
        arena_range_t *range = open_range(
            (arena_range_options_t){.source = ARENA_RANGE_SBRK, .page_bytes = large, .flags = flags[i % 3]});
        size_t kind = i / 3;
        if (kind != 0) { /* 0: nothing is ever allocated */
            uint64_t block = arena_range_alloc(range, 100);
            must(block != ARENA_RANGE_NONE && (char *)sbrk(0) > before);
            if (kind == 2 || kind == 3)
                arena_range_free(range, block);
            if (kind >=
                3) { /* the break was moved by whole pages, so that none of the new area's lie in front */
                must(kind != 4 || sbrk(0) == sbrk((intptr_t)large));
                before = kind == 4 ? sbrk(0) : before;
                must(arena_range_alloc(range, large / 2) != ARENA_RANGE_NONE);
                must(arena_range_alloc(range, large) != ARENA_RANGE_NONE || flags[i % 3] != 0);
            }
        }
        arena_range_destroy(range);
        if ((char *)sbrk(0) != before)
            fail_msg("flags %u, kind %zu: %td", flags[i % 3], kind, (char *)sbrk(0) - before);
    }
}

static void a_foreign_move_of_the_break_is_survived(void **state)
{
    static const unsigned flags[] = {0, ARENA_RANGE_INSIDE};

    (void)state;
    for (size_t f = 0; f < 2; f++) {
        arena_range_t *range =
            open_range((arena_range_options_t){.source = ARENA_RANGE_SBRK, .flags = flags[f]});
        uint64_t blocks[30];
        for (size_t i = 0; i < 30; i++) {
            must((blocks[i] = arena_range_alloc(range, 3000)) != ARENA_RANGE_NONE);
            memset((void *)(uintptr_t)blocks[i], (int)i, 3000);
            if (i % 5 == 4) {
                char *foreign = sbrk(1000 + (intptr_t)i);
                must(foreign != (void *)-1);
                memset(foreign, 0xee, 1000 + i);
            }
            must(arena_range_check(range) == 0);
        }
        for (size_t i = 0; i < 30; i++) {
            must(((unsigned char *)(uintptr_t)blocks[i])[2999] == i);
            arena_range_free(range, blocks[i]);
            must(arena_range_check(range) == 0);
        }
        arena_range_destroy(range);
    }
}

static void blocks_that_wait_do_not_pile_up_metadata(void **state)
{
    static uint64_t blocks[10000];
    arena_range_t *range = open_range((arena_range_options_t){.bytes = 80000, .flags = ARENA_RANGE_LIFO});

    (void)state;
    for (size_t i = 0; i < 10000; i++)
        blocks[i] = arena_range_alloc(range, 8);
    uint64_t before = range_stats(range).metadata_bytes;
    for (size_t i = 0; i < 10000; i++)
        arena_range_free(range, blocks[i]);
    assert_true(range_stats(range).metadata_bytes < before + 300 * 64);
    assert_true(arena_range_alloc(range, 8) == blocks[9999]);
    assert_true(arena_range_alloc(range, 79992) == 0);
    assert_int_equal(arena_range_check(range), 0);
    arena_range_destroy(range);
}

static void metadata_stays_in_the_callers_buffer(void **state)
{
    static alignas(8) char metadata[10000];
    arena_range_t *range = open_range((arena_range_options_t){.bytes = 64 * KIB,
                                                              .flags = ARENA_RANGE_FIXED_METADATA,
                                                              .metadata = metadata,
                                                              .metadata_bytes = sizeof metadata});
    uint64_t blocks[8192];
    size_t count = 0, freed = 0;

    (void)state;
    assert_true((char *)range == metadata);
    while (count < 8192 && (blocks[count] = arena_range_alloc(range, 8)) != ARENA_RANGE_NONE)
        count++;
    assert_true(count == 8192); /* two leaves are enough for them */
    for (size_t i = 0; i < count; i += 2, freed++)
        arena_range_free(range, blocks[i]); /* more runs than there is room to describe */
    assert_int_equal(arena_range_check(range), 0);
    assert_true(range_stats(range).free_runs == freed &&
                range_stats(range).metadata_bytes <= sizeof metadata);
    for (size_t i = 0; i < freed; i++)
        assert_true(arena_range_alloc(range, 8) != ARENA_RANGE_NONE); /* and yet none of them is lost */
    assert_true(arena_range_alloc(range, 8) == ARENA_RANGE_NONE);
    assert_int_equal(arena_range_check(range), 0);
    arena_range_destroy(range);
}

/* Whether a range of `quanta` and one block in it can be described in so little. */
static bool is_enough(uint64_t quanta, size_t bytes)
{
    static alignas(8) char metadata[16 * KIB];
    errno = 0;
    arena_range_t *range = arena_range_create(&(arena_range_options_t){.bytes = 8 * quanta,
                                                                       .flags = ARENA_RANGE_FIXED_METADATA,
                                                                       .metadata = metadata,
                                                                       .metadata_bytes = bytes});
    if (range == NULL) {
        assert_int_equal(errno, ENOMEM);
        return false;
    }
    assert_true(arena_range_alloc(range, 8) == 0);
    assert_int_equal(arena_range_check(range), 0);
    arena_range_destroy(range);
    return true;
}

static void a_range_needs_no_more_metadata_than_the_manual_says(void **state)
{
    static const struct {
        unsigned log2;
        size_t bytes;
    } table[] = {{18, 8 * KIB},  {24, 9 * KIB},  {30, 10 * KIB},
                 {36, 11 * KIB}, {42, 12 * KIB}, {61, 16 * KIB}};

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (!is_enough(((uint64_t)1 << table[i].log2) - 1, table[i].bytes))
            fail_msg("2^%u quanta", table[i].log2);
        if (i != 0)
            assert_false(is_enough(((uint64_t)1 << table[i].log2) - 1, table[i - 1].bytes));
    }
}

static int stop_at_third(void *context, const arena_range_block_t *block)
{
    (void)block;
    return ++*(int *)context == 3 ? 42 : 0;
}

typedef struct {
    arena_range_t *range;
    size_t seen;
} eraser_t;

static int free_it(void *context, const arena_range_block_t *block)
{
    eraser_t *eraser = context;

    if (block->state == ARENA_BLOCK_LIVE) {
        eraser->seen++;
        arena_range_free(eraser->range, block->address);
    }
    return 0;
}

static void a_walk_may_be_ended_and_may_free(void **state)
{
    arena_range_t *range = open_range((arena_range_options_t){.bytes = 64 * KIB});
    eraser_t eraser = {.range = range};
    int visits = 0;

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        assert_true(arena_range_alloc(range, 8 + i % 5 * 8) != ARENA_RANGE_NONE);
    assert_int_equal(arena_range_walk(range, stop_at_third, &visits), 42);
    assert_int_equal(arena_range_walk(range, free_it, &eraser), 0);
    assert_int_equal(eraser.seen, 1000);
    assert_true(range_stats(range).free_bytes == 64 * KIB && range_stats(range).free_runs == 1);
    arena_range_destroy(range);
}

static void a_sparse_exabyte_costs_what_is_used_of_it(void **state)
{
    arena_range_t *range = open_range((arena_range_options_t){.bytes = (uint64_t)1 << 60});

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        assert_true(arena_range_alloc(range, (uint64_t)1 << 50) == i << 50);
    assert_true(range_stats(range).metadata_bytes < 5 * MIB);
    assert_int_equal(arena_range_check(range), 0);
    for (size_t i = 0; i < 1000; i++)
        arena_range_free(range, i * 389 % 1000 << 50);
    assert_true(range_stats(range).free_runs == 1 && range_stats(range).metadata_bytes < 16 * KIB);
    arena_range_destroy(range);
}

/* Its descriptors are blocks of the range: those that a growth of many pages needs are made of what it brought. */
static void inside_no_growth_lacks_descriptors(void **state)
{
    static const size_t growths[] = {0, 5, 40, 100};
    static const unsigned flags[] = {ARENA_RANGE_INSIDE, ARENA_RANGE_INSIDE | ARENA_RANGE_WITHIN_PAGES};

    (void)state;
    for (size_t i = 0; i < 8; i++)
        for (uint64_t alignment = 64; alignment <= MIB; alignment *= 16) {
            arena_range_t *range =
                arena_range_create(&(arena_range_options_t){.source = ARENA_RANGE_SBRK,
                                                            .flags = flags[i % 2],
                                                            .quantum = 32,
                                                            .page_bytes = 8192,
                                                            .growth_bytes = growths[i / 2] * 8192});
            assert_non_null(range);
            for (size_t k = 0; k < 200; k++)
                assert_int_not_equal(arena_range_aligned_alloc(range, alignment, 32), ARENA_RANGE_NONE);
            assert_int_equal(arena_range_check(range), 0);
            arena_range_destroy(range);
        }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_options_are_refused_with_einval),
        cmocka_unit_test(every_call_takes_null_for_einval),
        cmocka_unit_test(every_byte_of_a_range_can_be_given_out),
        cmocka_unit_test(sizes_at_the_edges_fail_cleanly_or_round_up),
        cmocka_unit_test(a_range_of_all_addresses_holds_them_all),
        cmocka_unit_test(one_block_may_be_all_of_a_range),
        cmocka_unit_test(a_block_grows_into_what_is_free_behind_it_and_shrinks),
        cmocka_unit_test(orders_and_fits_choose_as_they_say),
        cmocka_unit_test(freed_neighbours_come_back_in_order_and_still_merge),
        cmocka_unit_test(no_block_crosses_a_page_where_none_may),
        cmocka_unit_test(an_alignment_far_above_the_page_opens_one_page),
        cmocka_unit_test(an_aligned_place_in_the_middle_of_a_page_is_found),
        cmocka_unit_test(one_call_maps_an_alignment_far_above_the_page),
        cmocka_unit_test(the_break_moves_once_to_an_alignment_above_the_page),
        cmocka_unit_test(a_block_that_cannot_cross_a_page_does_not_move_the_break),
        cmocka_unit_test(an_alignment_that_metadata_cannot_reach_changes_nothing),
        cmocka_unit_test(mapped_pages_come_one_by_one_and_go_when_empty),
        cmocka_unit_test(pages_are_kept_as_asked_until_a_trim),
        cmocka_unit_test(the_break_has_one_owner),
        cmocka_unit_test(the_break_comes_down_page_by_page_when_the_last_block_goes),
        cmocka_unit_test(destroying_a_range_brings_the_break_back_to_where_it_was),
        cmocka_unit_test(a_foreign_move_of_the_break_is_survived),
        cmocka_unit_test(blocks_that_wait_do_not_pile_up_metadata),
        cmocka_unit_test(metadata_stays_in_the_callers_buffer),
        cmocka_unit_test(a_range_needs_no_more_metadata_than_the_manual_says),
        cmocka_unit_test(a_walk_may_be_ended_and_may_free),
        cmocka_unit_test(a_sparse_exabyte_costs_what_is_used_of_it),
        cmocka_unit_test(inside_no_growth_lacks_descriptors),
    };

    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
