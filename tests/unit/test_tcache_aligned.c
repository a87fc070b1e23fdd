/*
 * test_tcache_aligned.c: requests with an alignment above the small classes: the class's slabs once they are many, chunks
 * till then, and what that costs in memory.
 */
#define _GNU_SOURCE
#include "tcache_support.h"

static void *take_aligned(size_t alignment, size_t size)
{
    void *block = any_size(arena_aligned_alloc(arena, alignment, size));
    must(block != NULL && is_aligned(block, alignment));
    must(arena_usable_size(arena, block) >= size);
    return block;
}

/* Until the class that serves it has a magazine. */
static void earn_aligned(size_t alignment, size_t size)
{
    for (unsigned i = 0; i <= uses_to_earn(align_up(size, alignment)); i++)
        arena_free(arena, take_aligned(alignment, size));
}

/* --- slabs --- */

static void many_aligned_requests_get_slabs_of_their_own(void **state)
{
    (void)state;
    for (size_t alignment = 32; alignment <= 4096; alignment *= 2) {
        for (size_t size = 1100; size <= SLAB_MAX - alignment; size += 700) {
            earn_aligned(alignment, size);
            graduate(sizeclass_bytes[sizeclass_of_aligned(size, alignment)]);
            void *block = take_aligned(alignment, size);
            assert_true(is_in_slab(block));
            assert_int_equal(arena_usable_size(arena, block),
                             sizeclass_bytes[sizeclass_of_aligned(size, alignment)]);
            arena_free(arena, block);
        }
    }
}

static void a_granule_is_an_alignment_as_others_are(void **state)
{
    (void)state;
    for (size_t size = 100; size <= SLAB_MAX; size += 9348) {
        earn_aligned(GRANULE, size);
        void *first = take_aligned(GRANULE, size), *second = take_aligned(GRANULE, size);
        assert_true(is_in_slab(first) && is_in_slab(second));
        assert_int_equal(arena_usable_size(arena, first), SLAB_MAX);
        arena_free(arena, second);
        arena_free(arena, first);
        assert_ptr_equal(take_aligned(GRANULE, size), first);
    }
}

static void a_few_get_chunks_of_just_their_size(void **state)
{
    (void)state;
    for (int i = 0; i < EARN_FREES; i++) {
        void *block = take_aligned(64, 5000);
        assert_false(is_in_slab(block));
        assert_true(arena_usable_size(arena, block) < 5064);
        arena_free(arena, block);
        assert_int_equal(stats_of(arena).cached_blocks, 0);
    }
}

static void what_was_freed_last_is_given_out_next(void **state)
{
    (void)state;
    for (size_t size = 2000; size <= SLAB_MAX; size *= 2) {
        earn_aligned(256, size);
        void *first = take_aligned(256, size), *second = take_aligned(256, size);
        arena_free(arena, first);
        arena_free(arena, second);
        assert_ptr_equal(take_aligned(256, size), second);
        assert_ptr_equal(take_aligned(256, size), first);
        next_is_what_top_points_to(own_cache());
    }
}

static void plain_requests_share_them(void **state)
{
    (void)state;
    earn_aligned(64, 3000);
    void *aligned = take_aligned(64, 3000);
    arena_free(arena, aligned);
    void *plain = take(3000);
    assert_ptr_equal(plain, aligned);
    arena_free(arena, plain);
    assert_ptr_equal(take_aligned(64, 3000), aligned);
}

/* Of 16 a granule; as chunks every other page had nothing but a header in it. */
static void pages_at_pages_take_no_more_than_themselves(void **state)
{
    enum { PAGES = 2000 };
    static void *pages[PAGES];

    (void)state;
    for (size_t size = 100; size <= 4096; size += 3996) {
        for (int i = 0; i < PAGES; i++)
            pages[i] = take_aligned(4096, size);
        arena_stats_t stats = stats_of(arena);
        assert_true(stats.mapped_bytes < (size_t)PAGES * 4096 / 2 * 3);
        arena_free_batch(arena, pages, PAGES);
    }
}

static void a_block_of_theirs_may_be_reallocated(void **state)
{
    static const size_t sizes[] = {0, 100, 1024, 3000, 3584, 4096, 4097, 9000, 300000};

    (void)state;
    earn_aligned(512, 4000);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *block = take_aligned(512, 4000);
        assert_true(is_in_slab(block));
        fill(block, 4000, i);
        block = arena_realloc(arena, block, sizes[i]);
        assert_non_null(block);
        assert_true(holds(block, min_size(4000, sizes[i]), i));
        assert_true(arena_usable_size(arena, block) >= sizes[i]);
        arena_free(arena, block);
    }
}

static void every_one_is_counted_over_ticks(void **state)
{
    enum { MANY = 2 * TICK_ALLOCATIONS + 777 };

    (void)state;
    for (int i = 0; i < MANY; i++)
        arena_free(arena, take_aligned(128, i % 3 == 0 ? 20000 : 2000));
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.allocations, MANY);
    assert_int_equal(stats.frees, MANY);
    assert_int_equal(stats.live_blocks, 0);
    assert_true(stats_add_up(&stats));
}

static void what_stood_still_has_to_be_earned_anew(void **state)
{
    (void)state;
    for (int round = 0; round < 6; round++) {
        if (round == 2) /* the arena need not grow any more, which would send home what is cached */
            earn_aligned(64, 3000);
        churn(TICK_ALLOCATIONS + 1, 64);
        must(usleep((PURGE_DELAY_MS + 10) * 1000) == 0);
    }
    assert_false(is_in_slab(take_aligned(64, 3000)));
}

static void where_no_slab_may_be_chunks_serve(void **state)
{
    (void)state;
    arena_t *kept = arena;
    for (int kind = 0; kind < 3; kind++) {
        static char buffer[4 * MIB];
        arena_options_t options = {.flags = kind == 0 ? ARENA_NO_SLABS : kind == 1 ? ARENA_NO_CACHE : 0};
        options.source = kind == 2 ? ARENA_SOURCE_BUFFER : ARENA_SOURCE_MMAP;
        options.buffer = kind == 2 ? buffer : NULL;
        options.buffer_bytes = kind == 2 ? sizeof buffer : 0;
        must((arena = arena_create(&options)) != NULL);
        for (size_t size = 1100; size < 50000; size += 900) {
            earn_aligned(1, size);
            earn_aligned(1024, size);
            assert_false(is_in_slab(take_aligned(1024, size)));
        }
        assert_int_equal(stats_of(arena).slabs, 0);
        assert_int_equal(arena_check(arena), 0);
        arena_destroy(arena);
    }
    arena = kept;
}

/* --- chunks --- */

static void a_cache_line_is_what_large_chunks_have(void **state)
{
    (void)state;
    for (size_t size = SLAB_MAX + 1; size <= LARGE_MIN_BYTES; size += 30000) {
        earn_aligned(64, size);
        void *block = take_aligned(64, size);
        arena_free(arena, block);
        size_t cached = stats_of(arena).cached_blocks;
        assert_true(cached != 0);
        assert_ptr_equal(take_aligned(32, size), block);
        assert_int_equal(stats_of(arena).cached_blocks, cached - 1);
        void *page = take_aligned(4096, size); /* from the arena */
        arena_free(arena, page);
        arena_free(arena, block);
    }
}

/* --- memory --- */

typedef struct {
    size_t alignment, least, most, percent; /* percent: of the requests that have the alignment */
} mix_t;

typedef struct {
    double mapped, cached; /* at most, for what lives at most */
} spread_t;

/* 1,000 blocks replaced at random. A region that the kernel puts apart from the others is a quarter more at once. */
static spread_t spread_of(const mix_t *mix)
{
    enum { BLOCKS = 1000, STEPS = 40000 };
    static void *blocks[BLOCKS];
    static size_t sizes[BLOCKS];
    rng_t rng = {1};
    size_t live = 0, most = 0;

    memset(blocks, 0, sizeof blocks);
    memset(sizes, 0, sizeof sizes);
    for (int step = 0; step < STEPS; step++) {
        size_t i = rng_below(&rng, BLOCKS), size = mix->least + rng_below(&rng, mix->most - mix->least + 1);
        arena_free(arena, blocks[i]);
        live += size - sizes[i];
        sizes[i] = size;
        most = live > most ? live : most;
        bool aligned = rng_below(&rng, 100) < mix->percent;
        must((blocks[i] = aligned ? take_aligned(mix->alignment, size) : arena_alloc(arena, size)) != NULL);
    }
    arena_stats_t stats = stats_of(arena);
    return (spread_t){(double)stats.peak_mapped_bytes / (double)most,
                      (double)stats.cached_bytes / (double)most};
}

static void memory_stays_bounded(void **state)
{
    static const struct {
        mix_t mix;
        spread_t most;
    } cases[] = {
        {{64, 1100, 8000, 100}, {2.4, 0.7}},     {{64, 2048, 65536, 100}, {2.2, 0.3}},
        {{4096, 16384, 16384, 100}, {1.5, 0.1}}, {{4096, 12000, 12000, 50}, {2.1, 0.15}},
        {{64, 3000, 3000, 50}, {1.8, 0.25}},     {{4096, 4096, 4096, 100}, {1.4, 0.1}},
        {{1024, 20000, 40000, 30}, {2.2, 0.3}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arena_destroy(arena);
        must((arena = arena_create(NULL)) != NULL);
        spread_t spread = spread_of(&cases[i].mix);
        assert_int_equal(arena_check(arena), 0);
        assert_true(spread.mapped <= cases[i].most.mapped);
        assert_true(spread.cached <= cases[i].most.cached);
    }
}

/* --- threads --- */

enum { RING = 64, PASSED = 20000 };
static _Atomic(void *) ring[RING];

static void *free_what_comes(void *unused)
{
    for (int i = 0; i < PASSED; i++) {
        void *block;
        while ((block = atomic_exchange(&ring[i % RING], NULL)) == NULL)
            sched_yield();
        arena_free(arena, block);
    }
    return unused;
}

static void one_thread_allocates_and_another_frees(void **state)
{
    pthread_t thread;
    rng_t rng = {1};

    (void)state;
    must(pthread_create(&thread, NULL, free_what_comes, NULL) == 0);
    for (int i = 0; i < PASSED; i++) {
        size_t size = rng_below(&rng, 2) == 0 ? 3000 : 1100 + rng_below(&rng, 12000);
        void *block = take_aligned((size_t)64 << rng_below(&rng, 7), size);
        memset(block, i, size);
        while (atomic_load(&ring[i % RING]) != NULL)
            sched_yield();
        atomic_store(&ring[i % RING], block);
    }
    must(pthread_join(thread, NULL) == 0);
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.live_blocks, 0);
    assert_true(stats_add_up(&stats));
    assert_true(stats.peak_mapped_bytes < 16 * MIB);
}

static _Atomic(bool) done;

static void *trim_on(void *unused)
{
    while (!atomic_load(&done)) {
        arena_trim(arena, 0);
        must(arena_check(arena) == 0);
        usleep(300);
    }
    return unused;
}

static void another_thread_may_trim_meanwhile(void **state)
{
    enum { BLOCKS = 300, STEPS = 30000 / SLOWNESS };
    static void *blocks[BLOCKS];
    pthread_t thread;
    rng_t rng = {1};

    (void)state;
    atomic_store(&done, false);
    must(pthread_create(&thread, NULL, trim_on, NULL) == 0);
    for (int step = 0; step < STEPS; step++) {
        size_t i = rng_below(&rng, BLOCKS), size = rng_below(&rng, 2) == 0 ? 24000 : 4096;
        arena_free(arena, blocks[i]);
        blocks[i] = rng_below(&rng, 3) == 0 ? arena_alloc(arena, size) : take_aligned(512, size);
        memset(blocks[i], step, size);
    }
    atomic_store(&done, true);
    must(pthread_join(thread, NULL) == 0);
    arena_free_batch(arena, blocks, BLOCKS);
    memset(blocks, 0, sizeof blocks);
    assert_int_equal(stats_of(arena).live_blocks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_arena(many_aligned_requests_get_slabs_of_their_own),
        in_arena(a_granule_is_an_alignment_as_others_are),
        in_arena(a_few_get_chunks_of_just_their_size),
        in_arena(what_was_freed_last_is_given_out_next),
        in_arena(plain_requests_share_them),
        in_arena(pages_at_pages_take_no_more_than_themselves),
        in_arena(a_block_of_theirs_may_be_reallocated),
        in_arena(every_one_is_counted_over_ticks),
        in_arena(what_stood_still_has_to_be_earned_anew),
        in_arena(where_no_slab_may_be_chunks_serve),
        in_arena(a_cache_line_is_what_large_chunks_have),
        in_arena(memory_stays_bounded),
        in_arena(one_thread_allocates_and_another_frees),
        in_arena(another_thread_may_trim_meanwhile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
