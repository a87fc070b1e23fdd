/* test_park.c: where large blocks come and go, the memory of the last one waits for the next; and is nobody's loss. */
#define _GNU_SOURCE
#include "../../arena/park.h"

#include "../../arena/os.h"
#include "../support.h"

#include <sys/resource.h>

enum { BYTES = 40 * MIB }; /* above LARGE_MAX_BYTES: never served by chunks */

/* None that went before has left memory that could serve a large request as a chunk. */
static arena_t *cold_arena(const arena_options_t *options)
{
    must(drop_what_is_warm(NULL) == 0);
    return arena_create(options);
}

static void *come_and_go(arena_t *arena, size_t bytes)
{
    char *block = NULL;

    for (int i = 0; i < 2 || (i < 5 && arena->granules->park.bytes == 0); i++) { /* the first is never kept */
        must((block = arena_alloc(arena, bytes)) != NULL);
        arena_free(arena, block);
    }
    return block;
}

static void the_first_that_goes_is_unmapped(void **state)
{
    unsigned char residence;

    (void)state;
    arena_t *arena = cold_arena(NULL);
    char *block = arena_alloc(arena, BYTES);
    arena_free(arena, block);
    assert_int_equal(mincore(block, 1, &residence), -1);
    assert_int_equal(arena->granules->park.bytes, 0);
    arena_destroy(arena);
}

static void the_next_one_gets_what_waits(void **state)
{
    (void)state;
    arena_t *arena = cold_arena(NULL);
    char *gone = come_and_go(arena, BYTES);
    assert_int_equal(arena->granules->park.bytes, BYTES);
    arena_stats_t before = stats_of(arena);
    assert_true(stats_add_up(&before));
    assert_true(before.mapped_bytes >= BYTES && before.live_bytes == 0);
    char *block = arena_alloc(arena, 24 * MIB);
    assert_ptr_equal(block, gone);
    assert_int_equal(arena_usable_size(arena, block), 24 * MIB);
    fill(block, 24 * MIB, 1);
    assert_int_equal(arena_check(arena), 0);
    for (size_t bytes = 25 * MIB; bytes < BYTES;
         bytes += 7 * MIB) { /* the rest lies right behind: 25, 32, 39 */
        assert_ptr_equal(arena_realloc(arena, block, bytes), block);
        size_t usable = arena_usable_size(arena, block);
        assert_true(usable >= bytes);
        assert_int_equal(arena->granules->park.bytes, BYTES - usable);
    }
    assert_true(holds(block, 24 * MIB, 1));
    arena_stats_t after = stats_of(arena);
    assert_true(stats_add_up(&after));
    assert_int_equal(after.kernel_calls, before.kernel_calls);
    assert_int_equal(after.mapped_bytes, before.mapped_bytes);
    assert_int_equal(after.live_bytes, arena_usable_size(arena, block));
    arena_free(arena, block); /* and takes it back */
    assert_ptr_equal(arena->granules->park.start, gone);
    assert_int_equal(arena->granules->park.bytes, BYTES);
    char *zeros = arena_calloc(arena, 1, BYTES);
    assert_ptr_equal(zeros, gone);
    assert_int_equal(zeros[0] | zeros[24 * MIB - 1] | zeros[BYTES - 1], 0);
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

static void what_does_not_fit_takes_its_place(void **state)
{
    (void)state;
    arena_t *arena = cold_arena(NULL);
    come_and_go(arena, BYTES);
    char *block = arena_alloc(arena, BYTES + 1);
    assert_int_equal(arena->granules->park.bytes, 0);
    assert_int_equal(stats_of(arena).mapped_bytes, arena_usable_size(arena, block));
    arena_free(arena, block);
    assert_true(arena->granules->park.bytes > BYTES);
    block = arena_alloc(arena, 33 * MIB);
    char *other = arena_alloc(arena, 33 * MIB);
    assert_int_equal(arena->granules->park.bytes, 0);
    arena_free(arena, other);
    arena_free(arena, block); /* not side by side: the last one waits */
    assert_int_equal(arena->granules->park.bytes, 33 * MIB);
    block = arena_alloc(arena, 33 * MIB);
    block = arena_realloc(arena, block, 50 * MIB);
    assert_non_null(block);
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

static size_t faults(void)
{
    struct rusage usage;

    must(getrusage(RUSAGE_SELF, &usage) == 0);
    return (size_t)usage.ru_minflt;
}

/* Each new one a little larger, and the old one freed before or after it is written. */
static size_t faults_of_growth(arena_t *arena, bool copies)
{
    enum { FIRST = 2 * MIB, STEP = 5000, STEPS = 100 };
    size_t before = faults();
    char *old = NULL;

    for (size_t bytes = FIRST + STEP; bytes <= FIRST + STEPS * STEP; bytes += STEP) {
        if (!copies)
            arena_free(arena, old);
        char *block = arena_alloc(arena, bytes);
        must(block != NULL && pagemap_entry(block) == (arena->tag | KIND_LARGE));
        fill(block, bytes, 1);
        if (copies)
            arena_free(arena, old);
        old = block;
        assert_int_equal(stats_of(arena).mapped_bytes - arena->granules->park.bytes,
                         arena_usable_size(arena, block));
    }
    assert_int_equal(arena_check(arena), 0);
    char *zeros = arena_calloc(arena, 1, 3 * MIB);
    assert_true(all_zero(zeros, 3 * MIB));
    arena_free(arena, zeros);
    arena_free(arena, old);
    return faults() - before;
}

static void one_that_is_too_short_is_made_longer(void **state)
{
    (void)state;
    for (int copies = 0; copies < 2; copies++) {
        arena_t *arena = cold_arena(NULL);
        assert_in_range(faults_of_growth(arena, copies != 0), 1,
                        25000); /* 60,000 if all were new, and twice that with shadows */
        arena_stats_t stats = stats_of(arena);
        assert_true(stats_add_up(&stats));
        arena_destroy(arena);
    }
}

static void not_beyond_a_limit_nor_for_pages_above(void **state)
{
    (void)state;
    arena_t *arena = cold_arena(&(arena_options_t){.limit_bytes = 2 * BYTES});
    come_and_go(arena, BYTES);
    char *block = arena_alloc(arena, BYTES + MIB);
    char *other = arena_alloc(arena, BYTES - 2 * MIB);
    assert_true(block != NULL && other != NULL);
    arena_free(arena, other);
    assert_int_equal(arena->granules->park.bytes, BYTES - 2 * MIB);
    assert_null(arena_alloc(arena, BYTES));
    assert_int_equal(arena_check(arena), 0);
    arena_stats_t stats = stats_of(arena);
    assert_true(stats_add_up(&stats) && stats.mapped_bytes <= 2 * BYTES);
    arena_free(arena, block);
    come_and_go(arena, BYTES);
    block = arena_aligned_alloc(arena, 2 * MIB, BYTES + GRANULE);
    assert_true(block != NULL && is_aligned(block, 2 * MIB));
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

enum { UNABLE = 77 };

/* So that the next mapping lies across a border between two leaves of the page map that have nothing of ours. */
static bool make_room_across_a_leaf(size_t bytes)
{
    const uintptr_t leaf = (uintptr_t)1 << (LEAF_LOG2 + GRANULE_LOG2);
    char *lowest = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    must(lowest != MAP_FAILED);
    uintptr_t from = align_down((uintptr_t)lowest, leaf) - leaf + bytes / 2;
    void *filled = mmap((void *)from, (uintptr_t)lowest - from, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    return filled == (void *)from;
}

static int cross_a_leaf(void *unused)
{
    enum { FRONT = 33 * MIB, REST = 27 * MIB, WHOLE = FRONT + REST };
    const unsigned shift = LEAF_LOG2 + GRANULE_LOG2;

    (void)unused;
    arena_t *arena = cold_arena(NULL);
    if (!make_room_across_a_leaf(WHOLE))
        return UNABLE;
    come_and_go(arena, WHOLE);
    char *start = arena->granules->park.start;
    if ((uintptr_t)start >> shift == (uintptr_t)(start + FRONT) >> shift)
        return UNABLE; /* there is a hole elsewhere */
    must(arena_alloc(arena, FRONT) == start);
    char *rest = arena_alloc(arena, REST);
    must(rest == start + FRONT && arena_usable_size(arena, rest) == REST);
    must(arena_check(arena) == 0);
    arena_free(arena, rest);
    must(arena->granules->park.start == rest);
    arena_destroy(arena);
    return 0;
}

static void what_is_left_of_it_may_lie_in_another_leaf(void **state)
{
    (void)state;
    int status = status_of_child(cross_a_leaf, NULL, 60);
    if (status == UNABLE << 8)
        skip();
    must_end_well(status);
}

static size_t virtual_bytes(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    must(file != NULL && fscanf(file, "%zu", &pages) == 1);
    fclose(file);
    return pages * os_page_bytes();
}

/* Blocks that the kernel moved lie beside others without being of one mapping, and must not be taken for one. */
static void only_pieces_of_one_mapping_join(void **state)
{
    (void)state;
    size_t before = virtual_bytes();
    arena_t *arena = cold_arena(NULL);
    for (int round = 0; round < 20; round++) {
        char *moved = arena_realloc(arena, arena_alloc(arena, 10 * MIB), 20 * MIB);
        char *below = arena_alloc(arena, 22 * MIB);
        must(moved != NULL && below != NULL);
        fill(below, 100, 3);
        arena_free(arena, moved);
        for (size_t mib = 40; mib <= 60; mib += 20) {
            must((below = arena_realloc(arena, below, mib * MIB)) != NULL);
            assert_true(holds(below, 100, 3));
        }
        arena_free(arena, below);
        assert_int_equal(arena_check(arena), 0);
    }
    arena_destroy(arena);
    arena_trim(NULL, 0);
    assert_true(virtual_bytes() < before + 100 * MIB);
}

static size_t parks(const arena_options_t *options, size_t bytes)
{
    arena_t *arena = cold_arena(options);

    come_and_go(arena, bytes);
    size_t parked = arena->granules->park.bytes;
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
    return parked;
}

static void it_is_bounded_and_can_be_declined(void **state)
{
    (void)state;
    assert_int_equal(parks(NULL, PARK_MAX_BYTES), PARK_MAX_BYTES);
    assert_int_equal(parks(NULL, PARK_MAX_BYTES + 1), 0);
    assert_int_equal(parks(&(arena_options_t){.flags = ARENA_CHECKED}, BYTES), 0);
    assert_int_equal(parks(&(arena_options_t){.trim_threshold_bytes = BYTES}, BYTES), BYTES);
    assert_int_equal(parks(&(arena_options_t){.trim_threshold_bytes = BYTES - 1}, BYTES), 0);
}

static void it_goes_with_a_trim_a_reset_and_time(void **state)
{
    (void)state;
    arena_t *arena = cold_arena(NULL);
    come_and_go(arena, BYTES);
    assert_int_equal(arena_trim(arena, SIZE_MAX), 0);
    assert_int_equal(arena->granules->park.bytes, BYTES);
    assert_true(arena_trim(arena, 0) >= BYTES);
    assert_int_equal(stats_of(arena).mapped_bytes, 0);
    come_and_go(arena, BYTES);
    arena_reset(arena);
    assert_int_equal(arena->granules->park.bytes, 0);
    come_and_go(arena, BYTES);
    uint64_t now = os_now_ms();
    assert_int_equal(park_drop_old(arena, now - 100000), 0);
    assert_int_equal(park_drop_old(arena, now + 100000), BYTES);
    assert_int_equal(arena_check(arena), 0);
    double until = now_seconds() + 60;
    come_and_go(arena, BYTES);
    while (ARENA_TCACHE && arena->granules->park.bytes != 0) { /* light activity: caches tick */
        must(now_seconds() < until);
        for (int i = 0; i < 10000; i++)
            arena_free(arena, arena_alloc(arena, 64));
        usleep(10000);
    }
    arena_destroy(arena);
}

/* Two that come and go before it make it the third, and two stay; its odd page goes. What is mapped beside these. */
static size_t comes_and_goes_smaller(arena_t *arena, bool soon)
{
    must(arena_alloc(arena, BYTES) != NULL && arena_alloc(arena, BYTES) != NULL);
    arena_free(arena, arena_alloc(arena, MIB));
    must(soon || usleep((PURGE_DELAY_MS + 50) * 1000) == 0);
    char *block = arena_alloc(arena, 3 * MIB + 1);
    must(pagemap_entry(block) == (arena->tag | KIND_LARGE));
    fill(block, 3 * MIB, 1);
    arena_free(arena, block);
    return stats_of(arena).mapped_bytes - 2 * BYTES;
}

static size_t may_stay_idle(const arena_options_t *options)
{
    arena_t *arena = cold_arena(options);
    size_t mapped = comes_and_goes_smaller(arena, true);
    arena_destroy(arena);
    return mapped;
}

static void where_chunks_follow_they_get_its_pages(void **state)
{
    (void)state;
    arena_t *arena = cold_arena(NULL);
    assert_int_equal(comes_and_goes_smaller(arena, false), 0); /* nothing tells that another will come */
    size_t mapped = 0;
    for (int i = 0; i < 5 && mapped == 0; i++) { /* again if the machine stood still */
        arena_destroy(arena);
        arena = cold_arena(NULL);
        mapped = comes_and_goes_smaller(arena, true);
    }
    assert_int_equal(mapped, 3 * MIB);
    assert_int_equal(arena->totals.dirty_bytes, 3 * MIB);
    assert_int_equal(arena->granules->park.bytes, 0);
    char *zeros = arena_calloc(arena, 1, 2 * MIB);
    assert_int_equal(stats_of(arena).mapped_bytes, 2 * BYTES + 3 * MIB);
    assert_true(all_zero(zeros, 2 * MIB));
    assert_int_equal(arena_check(arena), 0);
    arena_free(arena, zeros);
    assert_int_equal(arena->totals.dirty_bytes + arena->totals.wide_chunk_bytes >= 2 * MIB, 1);
    zeros = arena_alloc(arena, 5 * MIB);
    assert_int_equal(arena->totals.dirty_bytes, 0); /* gone before the larger one is touched */
    arena_free(arena, zeros);
    assert_true(arena_trim(arena, 0) != 0);
    assert_int_equal(stats_of(arena).mapped_bytes, 2 * BYTES);
    arena_destroy(arena);
    assert_int_equal(may_stay_idle(&(arena_options_t){.trim_threshold_bytes = GRANULE}), 0);
    assert_int_equal(may_stay_idle(&(arena_options_t){.flags = ARENA_CHECKED}), 0);
}

/* One after the other, of all sizes, those below the threshold, too. How many of them were no chunks. */
static size_t larges_that_come_alone(arena_t *arena)
{
    static const size_t mib[] = {3, 2, 5, 4, 8, 6, 7, 2, 3, 5};
    size_t larges = 0;

    arena_free(arena, arena_alloc(arena, 2 * MIB)); /* the first is never kept */
    for (size_t i = 0; i < sizeof mib / sizeof mib[0]; i++) {
        char *block = arena_alloc(arena, mib[i] * MIB + 1);
        larges += pagemap_entry(block) == (arena->tag | KIND_LARGE);
        fill(block, mib[i] * MIB + 1, i);
        must(arena_check(arena) == 0 && holds(block, mib[i] * MIB + 1, i));
        arena_free(arena, block);
    }
    return larges;
}

static void one_that_comes_alone_gets_it_whatever_it_is_to_be(void **state)
{
    size_t larges = 0;
    arena_t *arena = NULL;

    (void)state;
    for (int i = 0; i < 10 && larges != 10; i++) { /* again if the machine stood still */
        arena_destroy(arena);
        arena = cold_arena(NULL);
        larges = larges_that_come_alone(arena);
    }
    assert_int_equal(larges, 10);
    assert_in_range(stats_of(arena).peak_mapped_bytes, 8 * MIB, 9 * MIB);
    char *block = arena_alloc(arena, 3 * MIB);
    must(pagemap_entry(block) == (arena->tag | KIND_LARGE));
    char *beside = arena_alloc(arena, 3 * MIB); /* one that lives alone no more is a chunk, */
    must(pagemap_entry(beside) == (arena->tag | KIND_CHUNKS));
    arena_free(arena, block);
    block = arena_aligned_alloc(arena, GRANULE, 4 * MIB); /* and so is one that is aligned */
    must(pagemap_entry(block) == (arena->tag | KIND_CHUNKS));
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
    arena_trim(NULL, 0); /* the stock: the next test wants to see new memory */
}

/* A large block was the only one three times, and what becomes of the last is seen. Again if the machine stood still. */
static arena_t *arena_with_one_gone(const arena_options_t *options, size_t bytes)
{
    for (;;) {
        double began = now_seconds();
        arena_t *arena = cold_arena(options);

        for (size_t i = 1; i <= 3; i++) {
            char *block = arena_alloc(arena, bytes - (3 - i) * MIB);
            must(pagemap_entry(block) == (arena->tag | KIND_LARGE));
            fill(block, 100, 1);
            arena_free(arena, block);
        }
        if (now_seconds() - began < PURGE_DELAY_MS / 2000.0)
            return arena;
        arena_destroy(arena);
    }
}

static void a_block_that_is_never_large_leaves_it_alone(void **state)
{
    (void)state;
    arena_t *arena = arena_with_one_gone(&(arena_options_t){.flags = ARENA_NO_CACHE}, 8 * MIB);
    must(pagemap_entry(arena_alloc(arena, LARGE_MIN_BYTES - 100)) == (arena->tag | KIND_CHUNKS));
    assert_int_equal(arena->granules->park.bytes, 8 * MIB);
    arena_destroy(arena);
}

static size_t peak_with_chunks_beside(size_t parked, size_t beside)
{
    arena_t *arena = arena_with_one_gone(NULL, parked);

    assert_int_equal(arena->granules->park.bytes, parked);
    for (size_t got = 0; got < beside; got += 100000)
        must(arena_alloc(arena, 100000) != NULL);
    assert_int_equal(arena->granules->park.bytes, 0);
    size_t peak = stats_of(arena).peak_mapped_bytes;
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
    return peak;
}

static void chunks_that_grow_beside_it_get_its_pages(void **state)
{
    (void)state;
    assert_true(peak_with_chunks_beside(8 * MIB, 8 * MIB) <= 13 * MIB);
    assert_true(peak_with_chunks_beside(BYTES, 40 * MIB) <=
                BYTES + 20 * MIB); /* too large to be theirs: it goes */
}

static void it_does_not_wait_where_chunks_could_lack_it(void **state)
{
    static const arena_options_t options[] = {{.limit_bytes = 100 * MIB}, {.purge_delay_ms = UINT32_MAX}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        arena_t *arena = arena_with_one_gone(&options[i], 8 * MIB);
        assert_int_equal(arena->granules->park.bytes, 0);
        assert_int_equal(arena->totals.dirty_bytes, 8 * MIB);
        arena_destroy(arena);
    }
}

static void it_goes_in_time_without_caches(void **state)
{
    (void)state;
    arena_t *arena = arena_with_one_gone(&(arena_options_t){.flags = ARENA_NO_CACHE}, 20 * MIB);
    assert_int_equal(arena->granules->park.bytes, 20 * MIB);
    for (double until = now_seconds() + 60; arena->granules->park.bytes != 0; usleep(10000)) {
        must(now_seconds() < until);
        arena_free(arena, arena_alloc(arena, 64));
    }
    arena_destroy(arena);
}

static void it_makes_room_under_a_limit(void **state)
{
    (void)state;
    arena_t *arena = cold_arena(&(arena_options_t){.limit_bytes = BYTES + MIB});
    come_and_go(arena, BYTES);
    assert_int_equal(arena->granules->park.bytes, BYTES);
    for (size_t got = 0; got < 20 * MIB; got += 1000)
        assert_non_null(arena_alloc(arena, 1000));
    assert_int_equal(arena->granules->park.bytes, 0);
    assert_true(stats_of(arena).peak_mapped_bytes <= BYTES + MIB);
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_of_it_may_lie_in_another_leaf),
        cmocka_unit_test(the_first_that_goes_is_unmapped),
        cmocka_unit_test(the_next_one_gets_what_waits),
        cmocka_unit_test(what_does_not_fit_takes_its_place),
        cmocka_unit_test(one_that_is_too_short_is_made_longer),
        cmocka_unit_test(not_beyond_a_limit_nor_for_pages_above),
        cmocka_unit_test(only_pieces_of_one_mapping_join),
        cmocka_unit_test(it_is_bounded_and_can_be_declined),
        cmocka_unit_test(it_goes_with_a_trim_a_reset_and_time),
        cmocka_unit_test(where_chunks_follow_they_get_its_pages),
        cmocka_unit_test(one_that_comes_alone_gets_it_whatever_it_is_to_be),
        cmocka_unit_test(a_block_that_is_never_large_leaves_it_alone),
        cmocka_unit_test(chunks_that_grow_beside_it_get_its_pages),
        cmocka_unit_test(it_does_not_wait_where_chunks_could_lack_it),
        cmocka_unit_test(it_goes_in_time_without_caches),
        cmocka_unit_test(it_makes_room_under_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
