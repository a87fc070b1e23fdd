/*
 * test_api_limit.c: an arena at its limit: what is free in it is to be had, in whatever form it is free, nothing fails for
 * which there is room, and what failed leaves no trace.
 */
#define _GNU_SOURCE
#include "../../arena/heap.h"
#include "../../arena/os.h"
#include "../support.h"

#define LIMIT TIGHT_BYTES /* the least of an arena that has slabs for all classes */

static void *blocks[80000];

static arena_t *limited(size_t limit_bytes)
{
    arena_t *arena = arena_create(&(arena_options_t){.limit_bytes = limit_bytes});
    must(arena != NULL);
    return arena;
}

static void destroy_whole(arena_t *arena)
{
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

/* So often that the class has a magazine, if it may have one. */
static void use_often(arena_t *arena, size_t size)
{
    for (size_t i = 0; i < 2 * EARN_LONGEST; i++)
        arena_free(arena, arena_alloc(arena, size));
}

/* Returns how many blocks there were, the first of them in `out`. */
static size_t fill_up(arena_t *arena, size_t size, void **out, size_t most)
{
    size_t count = 0;
    void *block;

    while ((block = arena_alloc(arena, size)) != NULL) {
        if (count < most)
            out[count] = block;
        count++;
    }
    assert_int_equal(errno, ENOMEM);
    return count;
}

/* A thread that has not used the class so much asks for a chunk, and what is free is in slabs. */
static void what_was_freed_is_to_be_had_by_who_has_not_earned_it(void **state)
{
    static const size_t sizes[] = {1000, 4096, 10000, 32768, 65536};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        arena_t *arena = limited(LIMIT);
        size_t freed = 0;
        use_often(arena, sizes[i]);
        size_t count = fill_up(arena, sizes[i], blocks, 80000);
        assert_in_range(count, LIMIT / sizes[i] * 3 / 4, 80000);
        for (size_t k = 1; k < count; k += 2, freed++)
            arena_free(arena, blocks[k]);
        arena_thread_flush();
        for (size_t k = 0; k < freed; k++)
            assert_non_null(arena_alloc(arena, sizes[i]));
        destroy_whole(arena);
    }
}

/* So it is for aligned ones. */
static void what_was_freed_serves_alignments_that_it_has(void **state)
{
    (void)state;
    if (!ARENA_TCACHE)
        skip(); /* no slabs above SMALL_MAX */
    arena_t *arena = limited(LIMIT);
    use_often(arena, 4096);
    size_t count = fill_up(arena, 4096, blocks, 80000);
    size_t aligned = 0;
    for (size_t i = 0; i < count; i++)
        if ((uintptr_t)blocks[i] % 4096 == 0) {
            arena_free(arena, blocks[i]);
            aligned++;
        }
    arena_thread_flush();
    assert_true(aligned > count / 2);
    for (size_t i = 0; i < aligned / 10 * 9; i++) { /* some may have been chunks, which have a header */
        void *block = arena_aligned_alloc(arena, 4096, 4000);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 4096, 0);
    }
    destroy_whole(arena);
}

/* Blocks of random sizes of a small class, until there is no room. */
static void a_small_limit_is_nearly_all_payload(void **state)
{
    (void)state;
    for (size_t limit_bytes = 256 * KIB; limit_bytes <= 16 * MIB; limit_bytes *= 2) {
        arena_t *arena = limited(limit_bytes);
        rng_t rng = {1};
        size_t payload = 0, size = 1 + rng_below(&rng, 1024);
        while (arena_alloc(arena, size) != NULL) {
            payload += size;
            size = 1 + rng_below(&rng, 1024);
        }
        assert_in_range(payload, limit_bytes / 100 * 88, limit_bytes);
        destroy_whole(arena);
    }
}

/* Slabs serve any alignment at once, and each class has its own: no more than an eighth of a small limit is theirs. */
static void so_it_is_if_all_are_aligned(void **state)
{
    static const unsigned flags[] = {0, ARENA_NO_CACHE, ARENA_CHECKED};

    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        for (size_t limit_bytes = 128 * KIB; limit_bytes <= 4 * MIB; limit_bytes *= 2) {
            arena_t *arena = arena_create(&(arena_options_t){.limit_bytes = limit_bytes, .flags = flags[i]});
            rng_t rng = {1};
            size_t payload = 0, size = 1 + rng_below(&rng, 1024);
            while (arena_aligned_alloc(arena, 64, size) != NULL) {
                payload += size;
                size = 1 + rng_below(&rng, 1024);
            }
            assert_in_range(payload, limit_bytes / 100 * 65, limit_bytes);
            destroy_whole(arena);
        }
}

/* Of 8 bytes a chunk takes 32: these do get slabs. */
static void so_it_is_with_the_smallest_blocks(void **state)
{
    (void)state;
    for (size_t size = 8; size <= 64; size *= 2) {
        arena_t *arena = limited(4 * MIB);
        size_t payload = 0;
        while (arena_alloc(arena, size) != NULL)
            payload += size;
        assert_in_range(payload, 4 * MIB / 100 * 95, 4 * MIB);
        destroy_whole(arena);
    }
}

/* What one size leaves the next may use: half of the limit is always to be had, whatever was there before. */
static void sizes_that_take_turns_do_not_fail(void **state)
{
    enum { BLOCKS = 3000, STEPS = 150000, PHASE = 3000 };
    static const size_t sizes[] = {18432, 21504, 25600, 32768, 36864, 43008,  52224,
                                   65536, 16384, 8192,  4096,  200,   100000, 24};
    static size_t held_bytes[BLOCKS];

    (void)state;
    arena_t *arena = limited(16 * MIB);
    rng_t rng = {1};
    size_t held = 0, now = 0;
    memset(blocks, 0, sizeof blocks);
    for (size_t step = 0; step < STEPS; step++) {
        size_t i = rng_below(&rng, BLOCKS);
        now = step % PHASE == 0 ? rng_below(&rng, 14) : now;
        if (blocks[i] != NULL && (held > 8 * MIB || rng_below(&rng, 2) == 0)) {
            arena_free(arena, blocks[i]);
            held -= held_bytes[i];
            blocks[i] = NULL;
        } else if (blocks[i] == NULL && held <= 8 * MIB - 100000) {
            held_bytes[i] = sizes[rng_below(&rng, 3) == 0 ? rng_below(&rng, 14) : now];
            blocks[i] = arena_alloc(arena, held_bytes[i]);
            assert_non_null(blocks[i]);
            held += held_bytes[i];
        }
    }
    destroy_whole(arena);
}

/* By realloc a block moves through the cache; at the limit there is no room for two of it. */
static void a_block_grows_into_the_room_behind_it(void **state)
{
    (void)state;
    arena_t *arena = limited(MIB);
    void *grows = arena_alloc(arena, 6000);
    void *behind = arena_alloc(arena, 6000);
    assert_true((char *)behind > (char *)grows && (char *)behind < (char *)grows + 6100);
    use_often(arena, 10000);
    for (size_t size = 65536; size >= 16; size /= 2)
        fill_up(arena, size, NULL, 0);
    arena_free(arena, behind);
    errno = 0;
    assert_ptr_equal(arena_realloc(arena, grows, 10000), grows);
    assert_int_equal(errno, 0);
    assert_null(arena_realloc(arena, grows, 20000));
    assert_int_equal(errno, ENOMEM);
    destroy_whole(arena);
}

/* Free regions go back when an allocation fails: that is not room for two of the block, but for the longer one. */
static void a_large_block_grows_by_what_the_regions_give_back(void **state)
{
    (void)state;
    arena_t *arena = limited(32 * MIB);
    char *large = arena_alloc(arena, 16 * MIB);
    must(large != NULL);
    size_t count = fill_up(arena, 20000, blocks, 80000);
    assert_true(count > 400);
    for (size_t i = 0; i < count; i++)
        arena_free(arena, blocks[i]);
    memset(large, 0x5a, 16 * MIB);
    large = arena_realloc(arena, large, 20 * MIB);
    assert_non_null(large);
    assert_true(large[0] == 0x5a && large[16 * MIB - 1] == 0x5a);
    destroy_whole(arena);
}

static void a_block_has_the_good_size_to_the_last(void **state)
{
    static const size_t sizes[] = {100, 1500, 5000, 20000, 38000, 53000, 70000};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        arena_t *arena = limited(LIMIT);
        void *block;
        use_often(arena, sizes[i]);
        do {
            size_t good = arena_good_size(arena, sizes[i]);
            block = arena_alloc(arena, sizes[i]);
            assert_true(block == NULL || arena_usable_size(arena, block) >= good);
        } while (block != NULL);
        destroy_whole(arena);
    }
}

static void an_impossible_size_has_no_good_size(void **state)
{
    static char buffer[4096];

    (void)state;
    arena_t *limit = limited(MIB);
    arena_t *small = arena_create(
        &(arena_options_t){.source = ARENA_SOURCE_BUFFER, .buffer = buffer, .buffer_bytes = sizeof buffer});
    assert_true(arena_good_size(limit, MIB / 2) >= MIB / 2);
    assert_true(arena_good_size(small, 2000) >= 2000);
    errno = 0;
    assert_int_equal(arena_good_size(limit, MIB + 1), 0);
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_int_equal(arena_good_size(small, sizeof buffer + 1), 0);
    assert_int_equal(errno, ENOMEM);
    arena_destroy(limit);
    arena_destroy(small);
}

/* The cache has no room for another of the class, but a chunk of the aligned request's size has. */
static void an_aligned_request_that_succeeds_leaves_errno_alone(void **state)
{
    size_t met = 0;

    (void)state;
    arena_t *arena = limited(LIMIT);
    use_often(arena, 26000);
    void *block;
    do {
        errno = 0;
        block = arena_aligned_alloc(arena, 64, 26000);
        assert_int_equal(errno, block == NULL ? ENOMEM : 0);
        met += block != NULL;
    } while (block != NULL);
    assert_true(met > 100);
    destroy_whole(arena);
}

static void what_failed_is_in_no_figure(void **state)
{
    (void)state;
    arena_t *arena = arena_create(NULL);
    arena_free(arena, arena_alloc(arena, 100));
    size_t peak = stats_of(arena).peak_mapped_bytes;
    assert_null(any_size(arena_alloc(arena, PTRDIFF_MAX / 4))); /* the kernel refuses */
    assert_null(any_size(arena_aligned_alloc(arena, MIB, PTRDIFF_MAX / 4)));
    void *large = arena_alloc(arena, 40 * MIB);
    assert_non_null(large);
    peak += arena_usable_size(arena, large);
    assert_null(any_size(arena_realloc(arena, large, PTRDIFF_MAX / 4)));
    assert_in_range(stats_of(arena).peak_mapped_bytes, 40 * MIB, peak);
    assert_non_null(arena_realloc(arena, large, 60 * MIB));
    assert_in_range(stats_of(arena).peak_mapped_bytes, 60 * MIB, peak + 20 * MIB);
    destroy_whole(arena);
}

/* The caches of sleeping threads are looked into again after a while, even by who tries without a pause. */
static void a_failure_does_not_put_off_the_next_look_into_caches(void **state)
{
    (void)state;
    arena_t *arena = limited(MIB / 4);
    uint64_t before;
    must(arena_alloc(arena, 100) != NULL);
    do {
        arena->failed_at_ms = before = os_now_ms();
        assert_null(any_size(arena_alloc(arena, MIB / 4 - 1)));
    } while (os_now_ms() ==
             before); /* until a failure was in the pause, and after the moment that began it */
    arena->failed_at_ms = before = os_now_ms() - RETRY_PAUSE_MS;
    assert_null(any_size(arena_alloc(arena, MIB / 4 - 1)));
    if (os_now_ms() == before + RETRY_PAUSE_MS)
        assert_int_equal(arena->failed_at_ms, before);
    destroy_whole(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_freed_is_to_be_had_by_who_has_not_earned_it),
        cmocka_unit_test(what_was_freed_serves_alignments_that_it_has),
        cmocka_unit_test(a_small_limit_is_nearly_all_payload),
        cmocka_unit_test(so_it_is_if_all_are_aligned),
        cmocka_unit_test(so_it_is_with_the_smallest_blocks),
        cmocka_unit_test(a_large_block_grows_by_what_the_regions_give_back),
        cmocka_unit_test(sizes_that_take_turns_do_not_fail),
        cmocka_unit_test(a_block_grows_into_the_room_behind_it),
        cmocka_unit_test(a_block_has_the_good_size_to_the_last),
        cmocka_unit_test(an_impossible_size_has_no_good_size),
        cmocka_unit_test(an_aligned_request_that_succeeds_leaves_errno_alone),
        cmocka_unit_test(what_failed_is_in_no_figure),
        cmocka_unit_test(a_failure_does_not_put_off_the_next_look_into_caches),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
