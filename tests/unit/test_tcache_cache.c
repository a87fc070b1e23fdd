/*
 * test_tcache_cache.c: what a thread's cache holds: magazines that a class has earned, in order and within bounds, and
 * what flows back of them at ticks and for others.
 */
#define _GNU_SOURCE
#include "../../arena/cachehook.h"
#include "../../tcache/depot.h"
#include "tcache_support.h"

/* --- earning a magazine --- */

static void a_class_above_the_slabs_earns_its_magazine(void **state)
{
    (void)state;
    churn(EARN_FREES, 70000);
    assert_int_equal(stats_of(arena).cached_blocks, 0);
    churn(1, 70000);
    size_t cached = stats_of(arena).cached_blocks;
    assert_true(cached != 0);
    void *block = take(70000);
    assert_int_equal(stats_of(arena).cached_blocks, cached - 1);
    arena_free(arena, block);
    assert_int_equal(stats_of(arena).cached_blocks, cached);
}

static void *free_them(void *blocks)
{
    arena_free_batch(arena, blocks, EARN_FREES);
    return NULL;
}

static void one_that_allocates_for_another_thread_earns_it_too(void **state)
{
    enum { SIZE = 70008 };
    void *blocks[EARN_FREES];

    (void)state;
    must(arena_alloc_batch(arena, SIZE, EARN_FREES, blocks) == EARN_FREES);
    assert_int_equal(arena_good_size(arena, SIZE), SIZE);
    run_thread(free_them, blocks);
    assert_int_equal(arena_good_size(arena, SIZE), class_bytes(SIZE));
    churn(1, SIZE);
    assert_true(stats_of(arena).cached_blocks != 0);
}

static void until_then_it_gets_chunks_of_just_the_size(void **state)
{
    (void)state;
    for (size_t size = SMALL_MAX + 8; size < LARGE_MIN_BYTES; size += size / 20 * 8) {
        size_t chunk = align_up(size + CHUNK_HEADER, 16);
        size_t own = align_up(chunk, chunk > CHUNK_LINES_MIN ? CHUNK_LINE : 16) - CHUNK_HEADER;
        void *block = take(size);
        assert_int_equal(arena_usable_size(arena, block), own);
        assert_int_equal(arena_good_size(arena, size), own);
        arena_free(arena, block);
        earn(size);
        block = take(size);
        assert_int_equal(arena_usable_size(arena, block), class_bytes(size));
        assert_int_equal(arena_good_size(arena, size), class_bytes(size));
        arena_free(arena, block);
    }
}

static void the_good_size_holds_over_an_idle_while(void **state)
{
    size_t own = class_bytes(5000);

    (void)state;
    earn(5000);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < TICK_ALLOCATIONS; i++) { /* a look at the clock is among them */
            void *block = take(5000);
            assert_int_equal(arena_good_size(arena, 5000), own);
            arena_free(arena, block);
        }
        must(usleep((PURGE_DELAY_MS + 10) * 1000) == 0);
    }
}

static int leave_out(void *context, const arena_block_t *block)
{
    (void)context;
    (void)block;
    return 0;
}

/* All of these stop the caches, the caller's too. */
static void the_good_size_holds_after_a_look_at_the_arena(void **state)
{
    (void)state;
    earn(5000);
    for (int look = 0; look < 4; look++) {
        assert_true(look != 0 || stats_of(arena).caches == 1);
        assert_true(look != 1 || arena_walk(arena, leave_out, NULL) == 0);
        assert_true(look != 2 || arena_check(arena) == 0);
        (void)(look == 3 ? arena_trim(arena, 0) : 0);
        size_t good = arena_good_size(arena, 5000);
        void *block = take(5000);
        assert_int_equal(arena_usable_size(arena, block), good);
        arena_free(arena, block);
    }
}

static void asking_brings_no_cache_back_into_an_arena_that_logs(void **state)
{
    (void)state;
    earn(5000);
    assert_true(arena_log_open(arena, "/dev/null"));
    assert_true(arena_good_size(arena, 5000) >= 5000);
    assert_null(own_cache());
    assert_true(arena_log_close(arena));
    assert_int_equal(arena_good_size(arena, 5000), class_bytes(5000));
}

/* --- order and bounds --- */

static void the_last_one_freed_is_the_next_given_out(void **state)
{
    (void)state;
    for (size_t size = 8; size <= CLASS_MAX; size *= 2) {
        earn(size);
        if (size > SMALL_MAX && size <= SLAB_MAX)
            graduate(size);
        void *first = take(size), *second = take(size);
        arena_free(arena, first);
        arena_free(arena, second);
        assert_ptr_equal(take(size), second);
        assert_ptr_equal(take(size), first);
    }
}

static void next_is_always_what_top_points_to(void **state)
{
    (void)state;
    enum { SLOTS = 3000, STEPS = 60000 };
    static void *blocks[SLOTS];
    uint64_t random = 1;
    for (int step = 0; step < STEPS; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        void **slot = &blocks[(random >> 33) % SLOTS];
        arena_free(arena, *slot);
        *slot = step / SLOTS % 4 == 3 ? NULL
                                      : arena_alloc(arena, (random >> 45) % (step % 64 == 0 ? 20000 : 700));
        if (step % 10000 == 9999)
            arena_trim(arena, 0);
        if (step % 97 == 0 && arena->caches != NULL)
            next_is_what_top_points_to(arena->caches);
    }
    for (int i = 0; i < SLOTS; i++) {
        arena_free(arena, blocks[i]);
        blocks[i] = NULL;
    }
}

static void a_refill_of_large_classes_is_one_block(void **state)
{
    (void)state;
    earn(FILL_ONE_BYTES);
    earn(FILL_ONE_BYTES / 2);
    arena_trim(arena, 0);
    arena_alloc(arena, FILL_ONE_BYTES / 2);
    assert_true(stats_of(arena).cached_blocks != 0);
    arena_trim(arena, 0);
    arena_alloc(arena, FILL_ONE_BYTES);
    assert_int_equal(stats_of(arena).cached_blocks, 0);
}

static void *free_and_alloc_again(void *unused)
{
    enum { BLOCKS = 100, BYTES = 2048 };
    static void *blocks[BLOCKS];

    graduate(BYTES);
    must(arena_alloc_batch(arena, BYTES, BLOCKS, blocks) == BLOCKS);
    arena_free_batch(arena, blocks, BLOCKS);
    size_t cached = stats_of(arena).cached_blocks;
    must(cached >= BLOCKS);
    must(arena_alloc_batch(arena, BYTES, BLOCKS, blocks) == BLOCKS);
    must(stats_of(arena).cached_blocks == cached - BLOCKS);
    arena_free_batch(arena, blocks, BLOCKS);
    return unused;
}

/* In a thread of its own: a cache that served other arenas before may be near a tick. */
static void what_a_cache_holds_is_used_before_the_arena_is_asked(void **state)
{
    (void)state;
    run_thread(free_and_alloc_again, NULL);
}

static void check_bounds(const cache_t *cache)
{
    size_t bytes = 0;

    for (unsigned class = 1; class <= CLASSES; class ++) {
        size_t count = 0;
        for (const magazine_t *magazine = cache->full[class]; magazine != NULL;
             magazine = magazine_next(magazine))
            count++;
        assert_int_equal(count, cache->full_count[class]);
        assert_true(count * magazine_bytes(class) <= CACHE_MOST_BYTES / 4);
        bytes += count * magazine_bytes(class);
    }
    assert_int_equal(bytes, cache->full_bytes);
    assert_true(bytes <= cache->full_most);
    assert_in_range(cache->full_most, CACHE_FIRST_BYTES, CACHE_MOST_BYTES);
}

static void a_cache_is_bounded_in_bytes(void **state)
{
    enum { BLOCKS = 2000 };
    static void *blocks[BLOCKS];
    static const size_t sizes[] = {8, 64, 1000, 2048, 4096, 8192, 16384, 32768};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t count = sizes[i] > 1000 ? BLOCKS / 10 : BLOCKS;
        earn(sizes[i]);
        must(arena_alloc_batch(arena, sizes[i], count, blocks) == count);
        arena_free_batch(arena, blocks, count);
        check_bounds(own_cache());
    }
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.live_blocks, 0);
    size_t depot_bytes = depot_held_bytes(depot_of(arena), 1);
    assert_true(depot_bytes != 0 && depot_bytes <= DEPOT_HELD_BYTES + MAGAZINE_HELD_BYTES);
    assert_true(stats.cached_bytes <= CACHE_MOST_BYTES + 8 * MAGAZINE_HELD_BYTES + depot_bytes);
    assert_true(stats.cached_bytes >= CACHE_HELD_BYTES / 4); /* it does keep something */
}

/* --- what flows back --- */

static void come_to_a_tick_after_a_while(void)
{
    must(usleep((PURGE_DELAY_MS + 10) * 1000) == 0);
    churn(TICK_ALLOCATIONS, 64);
}

/* A class that is used now and then would take a magazine full each time. */
static void a_refill_takes_many_blocks_only_where_they_are_used_up_soon(void **state)
{
    unsigned class = sizeclass_of(256);
    uint8_t fill = 0;

    (void)state;
    churn(1, 64);
    churn(own_cache()->until_tick, 64); /* so that ticks fall on 64 bytes, however many there were before */
    for (int i = 0; i < 1000; i++) {
        take(256);
        assert_true(own_cache()->fill[class] <= (fill == 0 ? 4 : 2 * fill));
        fill = own_cache()->fill[class];
    }
    assert_int_equal(fill, magazine_capacity(class));
    for (int i = 0; i < 5; i++) {
        while (own_cache()->next[class] != NULL)
            take(256);
        churn(2500, 64);
        take(256);
        fill = (uint8_t)((fill + 3) / 4);
        assert_int_equal(own_cache()->fill[class], fill);
    }
    assert_int_equal(fill, 1);
}

/* Frees many and takes them back, some from the depot. */
static cache_t *cache_that_took_back(size_t size)
{
    enum { BLOCKS = 2000 };
    static void *blocks[BLOCKS];

    earn(size);
    for (int round = 0; round < 3; round++) {
        must(arena_alloc_batch(arena, size, BLOCKS, blocks) == BLOCKS);
        arena_free_batch(arena, blocks, BLOCKS);
        check_bounds(own_cache());
    }
    return own_cache();
}

/* Else each of many threads would, of all the classes it uses. */
static void blocks_of_slabs_are_no_reason_to_keep_more(void **state)
{
    (void)state;
    assert_int_equal(cache_that_took_back(sizeclass_bytes[GRANULE_CLASSES])->full_most, CACHE_HELD_BYTES);
}

static void a_cache_keeps_more_once_it_takes_back_what_it_gave(void **state)
{
    (void)state;
    cache_t *cache = cache_that_took_back(sizeclass_bytes[GRANULE_CLASSES] + 1);
    assert_int_equal(cache->full_most, CACHE_MOST_BYTES);
    assert_true(cache->full_bytes >= CACHE_MOST_BYTES / 4 - MAGAZINE_HELD_BYTES);
    cache_that_took_back(70000); /* but of blocks above SLAB_MAX no more than a magazine */
    assert_true(cache_held_of(cache, sizeclass_of(70000)) != 0);
    assert_int_equal(cache->full_count[sizeclass_of(70000)], 0);
    for (int round = 0; round < 4; round++) /* and less again when it stands still */
        come_to_a_tick_after_a_while();
    assert_int_equal(cache->full_most, CACHE_FIRST_BYTES);
    assert_true(cache->full_bytes < CACHE_HELD_BYTES / 4);
}

static void a_class_that_stands_still_goes_home_and_no_other(void **state)
{
    unsigned class = sizeclass_of(20000);

    (void)state;
    earn(20000);
    void *first = take(20000), *second = take(20000);
    arena_free(arena, first);
    arena_free(arena, second);
    come_to_a_tick_after_a_while();
    size_t held = cache_held_bytes(own_cache(), class);
    must(arena_alloc(arena, 20000) == second && arena_alloc(arena, 20000) == first);
    arena_free(arena, second);
    arena_free(arena, first); /* as many as before */
    come_to_a_tick_after_a_while();
    assert_int_equal(cache_held_bytes(own_cache(), class), held);
    come_to_a_tick_after_a_while();
    assert_int_equal(cache_held_bytes(own_cache(), class), 0);
}

static void *idle_in_the_class_of_the_arena(void *unused)
{
    earn(300000);
    for (int round = 0; round < 3; round++)
        come_to_a_tick_after_a_while();
    return unused;
}

static void the_good_size_holds_after_another_thread_gave_the_class_up(void **state)
{
    (void)state;
    arena_free(arena, arena_alloc(arena, 20 * MIB)); /* so that blocks of 300,000 bytes are chunks */
    earn(300000);
    void *kept = take(300000); /* its magazine is empty now */
    run_thread(idle_in_the_class_of_the_arena, NULL);
    for (int i = 0; i < 3; i++) {
        size_t good = arena_good_size(arena, 300000);
        void *block = take(300000);
        assert_int_equal(arena_usable_size(arena, block), good);
    }
    arena_free(arena, kept);
}

static void larger_blocks_make_room_before_small_ones(void **state)
{
    enum { BLOCKS = 100 };
    void *small[BLOCKS], *larger[BLOCKS], *culprit;

    (void)state;
    earn(20000);
    must(arena_alloc_batch(arena, 64, BLOCKS, small) == BLOCKS);
    must(arena_alloc_batch(arena, 20000, BLOCKS, larger) == BLOCKS);
    arena_free_batch(arena, small, BLOCKS);
    arena_free_batch(arena, larger, BLOCKS);
    size_t held = cache_held_bytes(own_cache(), 1);
    size_t held_larger = cache_held_bytes(own_cache(), sizeclass_of(FLOW_LEAST_BYTES) + 1);
    assert_true(held_larger >= 20000 && held - held_larger >= 64);
    assert_int_equal(cachehook_flow_back(arena, FLOW_LEAST_BYTES, held, &culprit), MISUSE_NONE);
    assert_int_equal(cache_held_bytes(own_cache(), 1), held); /* it is no more than may stay */
    assert_int_equal(cachehook_flow_back(arena, FLOW_LEAST_BYTES, 0, &culprit), MISUSE_NONE);
    assert_int_equal(cache_held_bytes(own_cache(), 1), held - held_larger);
    assert_int_equal(cachehook_flow_back(arena, 0, 0, &culprit), MISUSE_NONE);
    assert_int_equal(cache_held_bytes(own_cache(), 1), 0);
}

static void one_that_serves_makes_room_before_all(void **state)
{
    enum { BLOCKS = 100 };
    void *medium[BLOCKS], *larger[BLOCKS], *culprit;
    misuse_t wrong;

    (void)state;
    earn(70000);
    earn(90000);
    must(arena_alloc_batch(arena, 70000, BLOCKS, medium) == BLOCKS);
    must(arena_alloc_batch(arena, 90000, BLOCKS, larger) == BLOCKS);
    arena_free_batch(arena, medium, BLOCKS / 2);
    must(depot_take(depot_of(arena), (const cache_t *)medium, 1, NULL) == NULL); /* as another thread does */
    arena_free_batch(arena, medium + BLOCKS / 2, BLOCKS / 2);
    arena_free_batch(arena, larger, BLOCKS);
    size_t depot = depot_held_bytes(depot_of(arena), 1), own = cache_held_bytes(own_cache(), 1);
    assert_true(cachehook_flow_one(arena, 80000, &wrong, &culprit)); /* the depot's first */
    assert_int_equal(wrong, MISUSE_NONE);
    assert_in_range(depot - depot_held_bytes(depot_of(arena), 1), 1, magazine_bytes(sizeclass_of(90000)));
    assert_int_equal(cache_held_bytes(own_cache(), 1), own);
    while (depot_held_bytes(depot_of(arena), sizeclass_of(80000)) != 0)
        assert_true(cachehook_flow_one(arena, 80000, &wrong, &culprit));
    while (cache_held_bytes(own_cache(), sizeclass_of(80000)) != 0)
        assert_true(cachehook_flow_one(arena, 80000, &wrong, &culprit));
    assert_false(cachehook_flow_one(arena, 80000, &wrong, &culprit));
    assert_true(cache_held_bytes(own_cache(), 1) >= 70000); /* what would not serve stays */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_roomy_arena(a_class_above_the_slabs_earns_its_magazine),
        in_roomy_arena(one_that_allocates_for_another_thread_earns_it_too),
        in_roomy_arena(until_then_it_gets_chunks_of_just_the_size),
        in_roomy_arena(the_good_size_holds_over_an_idle_while),
        in_roomy_arena(the_good_size_holds_after_a_look_at_the_arena),
        in_roomy_arena(asking_brings_no_cache_back_into_an_arena_that_logs),
        in_roomy_arena(the_last_one_freed_is_the_next_given_out),
        in_roomy_arena(a_cache_is_bounded_in_bytes),
        in_roomy_arena(a_class_that_stands_still_goes_home_and_no_other),
        in_roomy_arena(larger_blocks_make_room_before_small_ones),
        in_roomy_arena(one_that_serves_makes_room_before_all),
        in_roomy_arena(a_refill_of_large_classes_is_one_block),
        in_roomy_arena(a_cache_keeps_more_once_it_takes_back_what_it_gave),
        in_roomy_arena(blocks_of_slabs_are_no_reason_to_keep_more),
        in_roomy_arena(what_a_cache_holds_is_used_before_the_arena_is_asked),
        in_roomy_arena(the_good_size_holds_after_another_thread_gave_the_class_up),
        in_arena(a_refill_takes_many_blocks_only_where_they_are_used_up_soon),
        in_roomy_arena(next_is_always_what_top_points_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
