/*
 * test_tcache_cache.c: a thread's caches: young pieces, promotion to slabs, bounds, the table and its collisions, and how
 * caches come and go with arenas and threads.
 */
#define _GNU_SOURCE
#include "../../tcache/tcache.h"

#include "../../arena/cachehook.h"
#include "../../arena/chunk.h"
#include "../../arena/registry.h"
#include "../../arena/slab.h"
#include "../../tcache/depot.h"
#include "../support.h"

enum { CACHES_MAX = 1024 }; /* of one thread, as thread.c has it */

static arena_t *arena;

/* With a first region that has room for slabs: a class falls back on chunks rather than grow the arena. */
static int open_arena(void **state)
{
    (void)state;
    arena = arena_create(&(arena_options_t){.first_region_bytes = MIB});
    return arena == NULL;
}

static int close_arena(void **state)
{
    (void)state;
    int broken = arena_check(arena);
    arena_destroy(arena);
    return broken;
}

static cache_t *own_cache(void)
{
    cache_t *cache = table_lookup(arena);

    return cache->arena == arena ? cache : NULL;
}

/* A block whose header may be looked at: the compiler does not know where it came from. */
static char *take(size_t size)
{
    return any_size(arena_alloc(arena, size));
}

static bool is_in_slab(const void *block)
{
    return (pagemap_entry(block) ^ arena->tag) <= SLAB_CLASSES;
}

static bool is_chunk(const void *block)
{
    return (pagemap_entry(block) ^ arena->tag) == KIND_CHUNKS;
}

/* --- the home --- */

/* For ever, as a home must be; the other is settled in last, so that no test of another arena meets it. */
static void the_cache_of_the_home_is_in_slot_0_until_it_is_taken_away(void **state)
{
    (void)state;
    arena_t *home = arena_create(NULL);
    arena_t *other = arena_create(NULL);
    assert_ptr_equal(table_home(), &cache_none);
    thread_settle(home);
    assert_ptr_equal(table_home(), &cache_none);
    arena_free(home, arena_alloc(home, 100));
    cache_t *cache = table_home();
    assert_ptr_equal(cache->arena, home);
    assert_ptr_equal(cache, table_lookup(home));
    arena_free(other, arena_alloc(other, 100));
    assert_ptr_equal(table_home(), cache);
    arena_trim(home, 0);
    assert_ptr_equal(table_home(), &cache_none);
    arena_free(home, arena_alloc(home, 100));
    assert_ptr_equal(table_home(), cache);

    arena_stats_t stats;
    thread_settle(other);
    arena_stats(home, &stats, sizeof stats);
    assert_int_equal(stats.caches, 0);
    assert_int_equal(stats.cached_blocks, 0);
    assert_ptr_equal(table_home()->arena, other); /* it had a cache of that before */
    assert_int_equal(arena_check(home) + arena_check(other), 0);
}

static void no_cache_at_all_is_empty_full_and_of_no_tag(void **state)
{
    (void)state;
    for (unsigned class = 0; class <= CLASSES; class ++) {
        assert_null(*cache_none.top[class]);
        assert_true(magazine_top_is_full(cache_none.top[class]));
    }
    assert_true((UINT32_MAX ^ cache_none.tag) > UINT32_MAX && (0 ^ cache_none.tag) > UINT32_MAX);
}

/* --- the first use, and pieces --- */

static void the_first_use_makes_a_cache_and_puts_it_into_the_table(void **state)
{
    (void)state;
    assert_null(own_cache());
    void *block = arena_alloc(arena, 100);
    assert_non_null(own_cache());
    assert_ptr_equal(arena->caches, own_cache());
    assert_int_equal(arena->cache_count, 1);
    assert_ptr_equal(own_cache()->thread, thread_self.record);
    assert_ptr_equal(own_cache()->thread->thread, &thread_self);
    arena_free(arena, block);
    assert_int_equal(thread_self.busy, 0);
}

static void young_blocks_are_carved_one_behind_the_other(void **state)
{
    (void)state;
    char *last = take(100);
    for (int i = 0; i < 10; i++) {
        char *next = take(100);
        assert_ptr_equal(next, last + chunk_size(chunk_of(last)));
        assert_int_equal(chunk_class(chunk_of(last)), sizeclass_of(100));
        assert_true(is_chunk(last));
        last = next;
    }
}

static void a_piece_serves_several_classes(void **state)
{
    (void)state;
    char *small = take(24), *larger = take(300), *small_again = take(24);
    assert_ptr_equal(larger, small + chunk_size(chunk_of(small)));
    assert_ptr_equal(small_again, larger + chunk_size(chunk_of(larger)));
}

static void what_is_left_of_a_piece_is_an_open_chunk_of_its_owner(void **state)
{
    (void)state;
    char *block = take(100);
    cache_t *cache = own_cache();
    assert_ptr_equal(cache->piece, chunk_next(chunk_of(block)));
    assert_int_equal(chunk_class(cache->piece), CHUNK_PIECE);
    assert_true(chunk_has_flag(cache->piece, CHUNK_OPEN));
    assert_int_equal(chunk_size(cache->piece), cache->piece_bytes);
}

static void statistics_close_a_piece_and_count_what_was_carved(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        arena_alloc(arena, 100);
    cache_t *cache = own_cache();
    arena_stats_t stats = stats_of(arena);
    assert_null(cache->piece);
    assert_int_equal(cache->piece_bytes, 0);
    assert_int_equal(stats.live_blocks, 10);
    assert_int_equal(stats.live_bytes, 10 * sizeclass_bytes[sizeclass_of(100)]);
    assert_int_equal(stats.allocations, 10);
    assert_true(stats_add_up(&stats));
    assert_non_null(arena_alloc(arena, 100)); /* and go on */
    assert_non_null(own_cache()->piece);
}

static void pieces_grow_up_to_their_bound(void **state)
{
    (void)state;
    arena_alloc(arena, 16);
    size_t first = own_cache()->next_piece_bytes;
    assert_int_equal(first, 2 * PIECE_FIRST_BYTES);
    for (size_t size = 16; size <= SMALL_MAX; size += 16) {
        for (int i = 0; i < 10; i++)
            arena_alloc(arena, size);
    }
    assert_int_equal(own_cache()->next_piece_bytes, PIECE_MAX_BYTES);
}

/* --- slabs --- */

static void a_class_with_enough_live_blocks_gets_slabs(void **state)
{
    size_t in_chunks = 0, usable = sizeclass_bytes[sizeclass_of(64)];

    (void)state;
    for (size_t i = 0; i < 3000; i++)
        in_chunks += is_chunk(arena_alloc(arena, 64));
    assert_true(in_chunks * usable <= 2 * GRADUATE_BYTES);
    assert_true(in_chunks * usable >= GRADUATE_BYTES / 2);
    assert_true(is_in_slab(arena_alloc(arena, 64)));
    assert_true(stats_of(arena).slabs != 0);
}

static void *alloc_and_free_often(void *unused)
{
    for (int i = 0; i < 1000; i++) {
        void *block = arena_alloc(arena, 64);
        must(is_chunk(block));
        arena_free(arena, block);
    }
    return unused;
}

/* In a thread of its own: a cache that served other arenas before may be near a tick. */
static void a_class_with_few_live_blocks_stays_in_chunks_for_a_while(void **state)
{
    (void)state;
    run_threads(1, alloc_and_free_often);
    assert_int_equal(stats_of(arena).slabs, 0);
}

static void a_class_found_busy_at_a_tick_gets_slabs(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * TICK_ALLOCATIONS + 10; i++)
        arena_free(arena, arena_alloc(arena, 64));
    void *block = arena_alloc(arena, 64);
    assert_true(is_in_slab(block));
    assert_true(arena->granules->slab_class[sizeclass_of(64)].graduated);
    arena_free(arena, block);
}

static void without_slabs_no_class_ever_gets_one(void **state)
{
    (void)state;
    arena_t *kept = arena;
    arena = arena_create(&(arena_options_t){.flags = ARENA_NO_SLABS});
    for (int i = 0; i < 2 * TICK_ALLOCATIONS + 10; i++)
        arena_free(arena, arena_alloc(arena, 64));
    for (int i = 0; i < 3000; i++)
        assert_true(is_chunk(arena_alloc(arena, 64)));
    assert_int_equal(stats_of(arena).slabs, 0);
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
    arena = kept;
}

static void every_allocation_is_counted_over_ticks(void **state)
{
    enum { MANY = 3 * TICK_ALLOCATIONS + 777 };

    (void)state;
    for (int i = 0; i < MANY; i++)
        arena_free(arena, arena_alloc(arena, i % 5 == 0 ? 5000 : 64));
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.allocations, MANY);
    assert_int_equal(stats.frees, MANY);
    assert_int_equal(stats.live_blocks, 0);
}

/* --- order and bounds --- */

/* Until the class of `size` has a magazine. */
static void earn(size_t size)
{
    for (int i = 0; i <= EARN_FREES; i++)
        arena_free(arena, arena_alloc(arena, size));
}

static void a_class_above_the_slabs_earns_its_magazine(void **state)
{
    (void)state;
    for (int i = 0; i < EARN_FREES; i++)
        arena_free(arena, arena_alloc(arena, 5000));
    assert_int_equal(stats_of(arena).cached_blocks, 0);
    arena_free(arena, arena_alloc(arena, 5000));
    size_t cached = stats_of(arena).cached_blocks;
    assert_true(cached != 0);
    void *block = arena_alloc(arena, 5000);
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
    enum { SIZE = 11000 };
    void *blocks[EARN_FREES];
    pthread_t thread;

    (void)state;
    must(arena_alloc_batch(arena, SIZE, EARN_FREES, blocks) == EARN_FREES);
    assert_int_equal(arena_good_size(arena, SIZE), SIZE);
    must(pthread_create(&thread, NULL, free_them, blocks) == 0);
    must(pthread_join(thread, NULL) == 0);
    assert_int_equal(arena_good_size(arena, SIZE), sizeclass_bytes[sizeclass_of(SIZE)]);
    must((blocks[0] = arena_alloc(arena, SIZE)) != NULL);
    arena_free(arena, blocks[0]);
    assert_true(stats_of(arena).cached_blocks != 0);
}

static void until_then_it_gets_chunks_of_just_the_size(void **state)
{
    (void)state;
    for (size_t size = SMALL_MAX + 8; size < LARGE_MIN_BYTES; size += size / 20 * 8) {
        size_t own = align_up(size + CHUNK_HEADER, size > SLAB_MAX ? CHUNK_LINE : 16) - CHUNK_HEADER;
        void *block = arena_alloc(arena, size);
        assert_int_equal(arena_usable_size(arena, block), own);
        assert_int_equal(arena_good_size(arena, size), own);
        arena_free(arena, block);
        earn(size);
        block = arena_alloc(arena, size);
        assert_int_equal(arena_usable_size(arena, block), sizeclass_bytes[sizeclass_of(size)]);
        assert_int_equal(arena_good_size(arena, size), sizeclass_bytes[sizeclass_of(size)]);
        arena_free(arena, block);
    }
}

static void the_good_size_holds_over_an_idle_while(void **state)
{
    size_t own = sizeclass_bytes[sizeclass_of(5000)];

    (void)state;
    earn(5000);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < TICK_ALLOCATIONS; i++) { /* a look at the clock is among them */
            void *block = arena_alloc(arena, 5000);
            assert_int_equal(arena_good_size(arena, 5000), own);
            arena_free(arena, block);
        }
        must(usleep((PURGE_DELAY_MS + 10) * 1000) == 0);
    }
}

static void the_last_one_freed_is_the_next_given_out(void **state)
{
    (void)state;
    for (size_t size = 8; size <= CLASS_MAX; size *= 2) {
        earn(size);
        void *first = arena_alloc(arena, size), *second = arena_alloc(arena, size);
        arena_free(arena, first);
        arena_free(arena, second);
        assert_ptr_equal(arena_alloc(arena, size), second);
        assert_ptr_equal(arena_alloc(arena, size), first);
    }
}

static void a_refill_gives_ascending_addresses(void **state)
{
    (void)state;
    while (!is_in_slab(arena_alloc(arena, 64))) {
    }
    size_t ascending = 0;
    char *last = arena_alloc(arena, 64);
    for (int i = 0; i < 500; i++) {
        char *next = arena_alloc(arena, 64);
        ascending += next == last + 64;
        last = next;
    }
    assert_true(ascending >= 490);
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
    assert_in_range(cache->full_most, CACHE_HELD_BYTES, CACHE_MOST_BYTES);
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

static void a_cache_keeps_more_once_it_takes_back_what_it_gave(void **state)
{
    enum { BLOCKS = 2000 };
    static void *blocks[BLOCKS];

    (void)state;
    earn(9216);
    for (int round = 0; round < 3; round++) {
        must(arena_alloc_batch(arena, 9216, BLOCKS, blocks) == BLOCKS);
        arena_free_batch(arena, blocks, BLOCKS);
        check_bounds(own_cache());
    }
    cache_t *cache = own_cache();
    assert_int_equal(cache->full_most, CACHE_MOST_BYTES);
    assert_true(cache->full_bytes >= CACHE_MOST_BYTES / 4 - MAGAZINE_HELD_BYTES);
    for (int round = 0; round < 4; round++) { /* and less again when it stands still */
        must(usleep((PURGE_DELAY_MS + 10) * 1000) == 0);
        for (int i = 0; i < TICK_ALLOCATIONS; i++)
            arena_free(arena, arena_alloc(arena, 64));
    }
    assert_int_equal(cache->full_most, CACHE_HELD_BYTES);
    assert_true(cache->full_bytes < CACHE_HELD_BYTES / 4);
}

static void come_to_a_tick_after_a_while(void)
{
    must(usleep((PURGE_DELAY_MS + 10) * 1000) == 0);
    for (int i = 0; i < TICK_ALLOCATIONS; i++)
        arena_free(arena, arena_alloc(arena, 64));
}

static void a_class_that_stands_still_goes_home_and_no_other(void **state)
{
    unsigned class = sizeclass_of(20000);

    (void)state;
    earn(20000);
    void *first = arena_alloc(arena, 20000), *second = arena_alloc(arena, 20000);
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
    assert_true(held_larger >= 20000 && held - held_larger >= BLOCKS * 64);
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
    earn(20000);
    earn(40000);
    must(arena_alloc_batch(arena, 20000, BLOCKS, medium) == BLOCKS);
    must(arena_alloc_batch(arena, 40000, BLOCKS, larger) == BLOCKS);
    arena_free_batch(arena, medium, BLOCKS);
    arena_free_batch(arena, larger, BLOCKS);
    size_t depot = depot_held_bytes(depot_of(arena), 1), own = cache_held_bytes(own_cache(), 1);
    assert_true(cachehook_flow_one(arena, 30000, &wrong, &culprit)); /* the depot's first */
    assert_int_equal(wrong, MISUSE_NONE);
    assert_in_range(depot - depot_held_bytes(depot_of(arena), 1), 1, magazine_bytes(sizeclass_of(40000)));
    assert_int_equal(cache_held_bytes(own_cache(), 1), own);
    while (depot_held_bytes(depot_of(arena), sizeclass_of(30000)) != 0)
        assert_true(cachehook_flow_one(arena, 30000, &wrong, &culprit));
    while (cache_held_bytes(own_cache(), sizeclass_of(30000)) != 0)
        assert_true(cachehook_flow_one(arena, 30000, &wrong, &culprit));
    assert_false(cachehook_flow_one(arena, 30000, &wrong, &culprit));
    assert_true(cache_held_bytes(own_cache(), 1) >= 20000); /* what would not serve stays */
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
    enum { BLOCKS = 100, BYTES = 2048 }; /* no class of slabs: those send their first blocks home */
    static void *blocks[BLOCKS];

    earn(BYTES);
    must(arena_alloc_batch(arena, BYTES, BLOCKS, blocks) == BLOCKS);
    arena_free_batch(arena, blocks, BLOCKS);
    size_t cached = stats_of(arena).cached_blocks;
    must(cached >= BLOCKS);
    must(arena_alloc_batch(arena, BYTES, BLOCKS, blocks) == BLOCKS);
    must(stats_of(arena).cached_blocks == cached - BLOCKS);
    arena_free_batch(arena, blocks, BLOCKS);
    return unused;
}

static void what_a_cache_holds_is_used_before_the_arena_is_asked(void **state)
{
    (void)state;
    run_threads(1, free_and_alloc_again); /* of its own, for the same reason */
}

/* --- the table --- */

static void statistics_take_the_cache_out_of_the_table_and_use_puts_it_back(void **state)
{
    (void)state;
    arena_alloc(arena, 100);
    cache_t *cache = own_cache();
    stats_of(arena);
    assert_ptr_equal(table_lookup(arena), &cache_none);
    arena_alloc(arena, 100);
    assert_ptr_equal(own_cache(), cache);
    assert_int_equal(arena->cache_count, 1);
}

static void no_arena_has_the_slot_of_null(void **state)
{
    enum { MANY = 3 * TABLE_SLOTS };
    arena_t *arenas[MANY];
    size_t slots_used = 0;
    bool used[TABLE_SLOTS] = {false};

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        arenas[i] = arena_create(NULL);
        arena_alloc(arenas[i], 100);
        size_t slot = (size_t)(table_slot(&thread_self, arenas[i]) - thread_self.table);
        assert_in_range(slot, 1, TABLE_SLOTS - 1);
        slots_used += !used[slot];
        used[slot] = true;
    }
    assert_ptr_equal(table_lookup(NULL), &cache_none);
    assert_true(slots_used >= TABLE_SLOTS - 2); /* they are spread */
    for (size_t i = 0; i < MANY; i++)
        arena_destroy(arenas[i]);
    assert_ptr_equal(cache_none.arena, (arena_t *)1);
}

static void more_arenas_than_slots_keep_their_caches(void **state)
{
    enum { MANY = 3 * TABLE_SLOTS, BLOCKS = 20 };
    static arena_t *arenas[MANY];
    static void *blocks[MANY][BLOCKS];

    (void)state;
    for (size_t i = 0; i < MANY; i++)
        must((arenas[i] = arena_create(NULL)) != NULL);
    for (size_t k = 0; k < BLOCKS; k++) {
        for (size_t i = 0; i < MANY; i++) {
            must((blocks[i][k] = arena_alloc(arenas[i], 32 + 16 * k)) != NULL);
            fill(blocks[i][k], 32 + 16 * k, i * BLOCKS + k);
            assert_ptr_equal(arena_of(blocks[i][k]), arenas[i]);
        }
    }
    for (size_t k = 0; k < BLOCKS; k++) {
        for (size_t i = 0; i < MANY; i++) {
            assert_true(holds(blocks[i][k], 32 + 16 * k, i * BLOCKS + k));
            arena_free(arenas[i], blocks[i][k]);
        }
    }
    for (size_t i = 0; i < MANY; i++) {
        arena_stats_t stats = stats_of(arenas[i]);
        assert_int_equal(stats.caches, 1);
        assert_int_equal(stats.live_blocks, 0);
        assert_int_equal(stats.cached_blocks, BLOCKS);
        assert_int_equal(arena_check(arenas[i]), 0);
        arena_destroy(arenas[i]);
    }
}

enum { SURPLUS_ARENAS = CACHES_MAX + 60 };
static arena_t *surplus_arenas[SURPLUS_ARENAS];

/* Each of which has a cache of the thread that made it. */
static void *use_them_all(void *unused)
{
    size_t with_cache = 0;

    for (size_t i = 0; i < SURPLUS_ARENAS; i++) {
        arena_free(surplus_arenas[i], arena_alloc(surplus_arenas[i], 100));
        must(thread_self.record->caches <= CACHES_MAX);
    }
    must(thread_self.record->caches == CACHES_MAX);
    for (size_t i = 0; i < SURPLUS_ARENAS; i++) {
        arena_stats_t stats = stats_of(surplus_arenas[i]);
        with_cache += stats.caches - 1;
        must(stats.cached_blocks == stats.caches); /* an evicted one's block went home */
        must(stats.allocations == 2);
        must(stats.live_blocks == 0);
    }
    must(with_cache == CACHES_MAX);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < SURPLUS_ARENAS; i++) {
            arena_free(surplus_arenas[i], arena_alloc(surplus_arenas[i], 100)); /* evicted ones come back */
            must(arena_check(surplus_arenas[i]) == 0);
        }
    return unused;
}

/* Two of one colour: the second displaces the first, which comes back although the second is still there. */
static void a_displaced_cache_is_back_in_the_table_after_a_tick(void **state)
{
    enum { MANY = 2 * TABLE_SLOTS };
    arena_t *arenas[MANY];

    (void)state;
    arena_free(arena, arena_alloc(arena, 100));
    for (size_t i = 0; i < MANY; i++) {
        must((arenas[i] = arena_create(NULL)) != NULL);
        arena_free(arenas[i], arena_alloc(arenas[i], 100));
    }
    assert_true(table_lookup(arena)->arena != arena);
    for (int i = 0; i <= TICK_ALLOCATIONS; i++)
        arena_free(arena, arena_alloc(arena, 100));
    assert_ptr_equal(table_lookup(arena)->arena, arena);
    for (size_t i = 0; i < MANY; i++)
        arena_destroy(arenas[i]);
}

static void *idle_in_the_class_of_the_arena(void *unused)
{
    for (int i = 0; i <= EARN_FREES; i++)
        arena_free(arena, arena_alloc(arena, 300000));
    for (int round = 0; round < 3; round++) {
        must(usleep((PURGE_DELAY_MS + 10) * 1000) == 0);
        for (int i = 0; i < TICK_ALLOCATIONS; i++)
            arena_free(arena, arena_alloc(arena, 64));
    }
    return unused;
}

static void the_good_size_holds_after_another_thread_gave_the_class_up(void **state)
{
    (void)state;
    arena_free(arena, arena_alloc(arena, 20 * MIB)); /* so that blocks of 300,000 bytes are chunks */
    earn(300000);
    void *kept = arena_alloc(arena, 300000); /* its magazine is empty now */
    run_threads(1, idle_in_the_class_of_the_arena);
    for (int i = 0; i < 3; i++) {
        size_t good = arena_good_size(arena, 300000);
        void *block = arena_alloc(arena, 300000);
        assert_int_equal(arena_usable_size(arena, block), good);
    }
    arena_free(arena, kept);
}

static void beyond_its_bound_a_thread_gives_its_oldest_caches_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < SURPLUS_ARENAS; i++) {
        must((surplus_arenas[i] = arena_create(&(arena_options_t){.first_region_bytes = GRANULE})) != NULL);
        arena_free(surplus_arenas[i], arena_alloc(surplus_arenas[i], 100));
    }
    assert_int_equal(thread_self.record->caches, SURPLUS_ARENAS); /* each arena's first is always made */
    run_threads(1, use_them_all);
    for (size_t i = 0; i < SURPLUS_ARENAS; i++)
        arena_destroy(surplus_arenas[i]);
    assert_int_equal(thread_self.record->caches, 0);
}

static arena_t *hooked;

/* Uses other arenas until the thread has given up its cache of the one that grows. */
static void *map_at_the_price_of_the_cache(void *book, size_t bytes, size_t alignment, bool *zeroed)
{
    for (size_t i = 0; record_lookup(hooked->index) != NULL; i = (i + 1) % SURPLUS_ARENAS)
        arena_free(surplus_arenas[i], arena_alloc(surplus_arenas[i], 100));
    return book_map(book, bytes, alignment, zeroed);
}

static void *grow_by_that_hook(void *unused)
{
    book_t book = {0};
    arena_hooks_t hooks = book_hooks(&book);

    for (size_t i = 0; i < CACHES_MAX; i++)
        arena_free(surplus_arenas[i], arena_alloc(surplus_arenas[i], 100));
    hooks.map = map_at_the_price_of_the_cache;
    must((hooked = arena_create(&(arena_options_t){.source = ARENA_SOURCE_HOOKS, .hooks = hooks})) != NULL);
    void *block = arena_alloc(hooked, 100);
    must(block != NULL);
    must(arena_of(block) == hooked);
    arena_free(hooked, block);
    must(arena_check(hooked) == 0);
    arena_destroy(hooked);
    book_close(&book);
    return unused;
}

static void growth_that_costs_the_thread_its_cache_serves_from_the_arena(void **state)
{
    (void)state;
    for (size_t i = 0; i < SURPLUS_ARENAS; i++) {
        must((surplus_arenas[i] = arena_create(&(arena_options_t){.first_region_bytes = GRANULE})) != NULL);
        arena_free(surplus_arenas[i], arena_alloc(surplus_arenas[i], 100));
    }
    run_threads(1, grow_by_that_hook);
    for (size_t i = 0; i < SURPLUS_ARENAS; i++)
        arena_destroy(surplus_arenas[i]);
}

static void an_arena_beside_the_table_is_used_without_the_registry(void **state)
{
    enum { MANY = CACHES_FEW + 2 * TABLE_SLOTS };
    arena_t *arenas[MANY];

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        must((arenas[i] = arena_create(NULL)) != NULL);
        arena_free(arenas[i], arena_alloc(arenas[i], 100));
    }
    lock_acquire(&registry_lock); /* who comes to it now waits for ever */
    for (size_t i = 0; i < MANY; i++) {
        cache_t *cache = record_lookup(arenas[i]->index);
        assert_ptr_equal(cache->arena, arenas[i]);
        arena_free(arenas[i], arena_alloc(arenas[i], 100));
    }
    lock_release(&registry_lock);
    for (size_t i = 0; i < MANY; i++) {
        stats_of(arenas[i]);
        assert_null(record_lookup(arenas[i]->index)); /* evicted */
        arena_free(arenas[i], arena_alloc(arenas[i], 100));
        assert_non_null(record_lookup(arenas[i]->index));
        uint32_t index = arenas[i]->index;
        arena_destroy(arenas[i]);
        assert_null(record_lookup(index));
    }
}

/* --- life --- */

static void a_flush_sends_all_home_and_the_next_use_begins_anew(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        arena_free(arena, arena_alloc(arena, 16 + (size_t)i * 50));
    assert_true(stats_of(arena).cached_blocks != 0);
    arena_thread_flush();
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.caches, 0);
    assert_int_equal(stats.cached_blocks, 0);
    assert_int_equal(stats.allocations, 100);
    assert_null(own_cache());
    arena_free(arena, arena_alloc(arena, 100));
    assert_int_equal(stats_of(arena).caches, 1);
}

static void a_reset_keeps_the_callers_cache_emptied(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        arena_free(arena, arena_alloc(arena, 16 + (size_t)i));
    cache_t *cache = arena->caches;
    arena_reset(arena);
    assert_ptr_equal(arena->caches, cache);
    assert_null(cache->piece);
    assert_int_equal(cache->full_bytes, 0);
    for (unsigned class = 1; class <= CLASSES; class ++)
        assert_null(*cache->top[class]);
    assert_int_equal(stats_of(arena).allocations, 1000);
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
        const cache_t *cache = arena->caches;
        for (unsigned class = 0; class <= CLASSES && step % 97 == 0 && cache != NULL; class ++)
            assert_ptr_equal(cache->next[class], *cache->top[class]);
    }
    for (int i = 0; i < SLOTS; i++) {
        arena_free(arena, blocks[i]);
        blocks[i] = NULL;
    }
}

static void an_arena_made_after_another_reuses_its_cache(void **state)
{
    (void)state;
    arena_alloc(arena, 100);
    cache_t *cache = own_cache();
    arena_destroy(arena);
    arena = arena_create(NULL);
    arena_alloc(arena, 100);
    assert_ptr_equal(own_cache(), cache);
    assert_int_equal(stats_of(arena).allocations, 1);
}

static void *use_and_leave(void *blocks)
{
    void **out = blocks;

    for (size_t i = 0; i < 50; i++)
        must((out[i] = arena_alloc(arena, 200)) != NULL);
    for (size_t i = 0; i < 40; i++)
        arena_free(arena, out[i]);
    must(arena->cache_count == 1);
    return NULL;
}

static void *take_its_place(void *blocks)
{
    must(own_cache() == NULL);
    void *block = arena_alloc(arena, 200);
    must(block == ((void **)blocks)[39]); /* the last that the other thread freed */
    must(arena->cache_count == 1 && arena->caches == own_cache());
    arena_free(arena, block);
    return NULL;
}

static void a_threads_cache_serves_the_next_thread(void **state)
{
    pthread_t thread;
    void *blocks[50];

    (void)state;
    must(pthread_create(&thread, NULL, use_and_leave, blocks) == 0);
    must(pthread_join(thread, NULL) == 0);
    assert_int_equal(arena->cache_count, 0); /* of living threads */
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.live_blocks, 10);
    assert_int_equal(stats.cached_blocks, 40);
    assert_int_equal(stats.caches, 1);
    assert_int_equal(stats.allocations, 50);
    assert_int_equal(arena_check(arena), 0);
    must(pthread_create(&thread, NULL, take_its_place, blocks) == 0);
    must(pthread_join(thread, NULL) == 0);
    assert_int_equal(arena->cache_count, 0);
    assert_int_equal(stats_of(arena).caches, 1);
    assert_int_equal(stats_of(arena).allocations, 51);
    arena_trim(arena, 0);
    assert_int_equal(stats_of(arena).cached_blocks, 0);
    arena_free_batch(arena, blocks + 40, 10);
}

static void a_cache_that_no_thread_takes_over_goes_after_a_while(void **state)
{
    pthread_t thread;
    void *blocks[50];

    (void)state;
    must(pthread_create(&thread, NULL, use_and_leave, blocks) == 0);
    must(pthread_join(thread, NULL) == 0);
    arena_t *other = arena_create(NULL); /* whose ticks look after it */
    must(usleep(1000 * PURGE_DELAY_MS + 10000) == 0);
    for (size_t i = 0; i < 2 * TICK_ALLOCATIONS; i++)
        arena_free(other, arena_alloc(other, 100));
    assert_null(arena->caches);
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.live_blocks, 10);
    assert_int_equal(stats.cached_blocks, 0);
    assert_int_equal(stats.allocations, 50);
    arena_destroy(other);
    arena_free_batch(arena, blocks + 40, 10);
}

/* So many sizes that the loaded magazines alone are much. */
static void *hold_much_and_leave(void *unused)
{
    enum { SIZES = 16, BLOCKS = 72 };
    static void *blocks[SIZES][BLOCKS];

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < SIZES; i++)
            for (size_t k = 0; k < BLOCKS; k++)
                must((blocks[i][k] = arena_alloc(arena, sizeclass_bytes[SMALL_CLASSES + 8 + i])) != NULL);
        for (size_t i = 0; i < SIZES; i++)
            arena_free_batch(arena, blocks[i], BLOCKS);
    }
    must(cache_held_bytes(own_cache(), 1) - own_cache()->full_bytes >
         max_size(arena->totals.mapped_bytes / 16, 128 * KIB));
    return unused;
}

static void one_that_holds_too_much_goes_with_its_thread(void **state)
{
    pthread_t thread;

    (void)state;
    must(pthread_create(&thread, NULL, hold_much_and_leave, NULL) == 0);
    must(pthread_join(thread, NULL) == 0);
    assert_null(arena->caches);
}

/* --- the depot between two threads --- */

enum { PASSED = 20000 };
static void *passed[PASSED];

static void *free_passed(void *unused)
{
    for (size_t i = 0; i < PASSED; i++)
        arena_free(arena, passed[i]);
    return unused;
}

static void *free_passed_and_sleep(void *barrier)
{
    free_passed(NULL);
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return NULL;
}

static void a_depot_is_made_when_a_thread_has_more_than_it_keeps(void **state)
{
    const size_t kept = (CACHE_HELD_BYTES / 4) / 64;

    (void)state;
    must(PASSED > 2 * kept && arena_alloc_batch(arena, 64, PASSED, passed) == PASSED);
    arena_free_batch(arena, passed, kept);
    assert_null(depot_of(arena));
    arena_free_batch(arena, passed + kept, PASSED - kept);
    assert_non_null(depot_of(arena));
    assert_true(depot_of(arena)->count[sizeclass_of(64)] != 0);
}

/* So that what caches hold does not add to the peak. */
static void a_depot_is_emptied_before_its_arena_grows(void **state)
{
    enum { LARGE = 1000, FREED = PASSED / 5 };
    static void *large[LARGE];
    size_t count = 0;

    (void)state;
    earn(9216);
    must(arena_alloc_batch(arena, 9216, FREED, passed) == FREED);
    arena_free_batch(arena, passed, FREED);
    must(depot_held_bytes(depot_of(arena), 1) > arena->totals.mapped_bytes / 32);
    size_t mapped = arena->totals.mapped_bytes;
    while (count < LARGE && arena->totals.mapped_bytes <= mapped)
        must((large[count++] = arena_alloc(arena, 200000)) != NULL);
    assert_true(count < LARGE);
    assert_true(depot_held_bytes(depot_of(arena), 1) <= mapped / 32);
    arena_free_batch(arena, large, count);
}

static void what_another_thread_frees_comes_back_by_the_depot(void **state)
{
    pthread_t thread;
    pthread_barrier_t barrier;

    (void)state;
    must(pthread_barrier_init(&barrier, NULL, 2) == 0);
    must(arena_alloc_batch(arena, 64, PASSED, passed) == PASSED);
    must(pthread_create(&thread, NULL, free_passed_and_sleep, &barrier) == 0);
    pthread_barrier_wait(&barrier);
    depot_t *depot = depot_of(arena);
    assert_non_null(depot);
    unsigned class = sizeclass_of(64);
    assert_true(depot->count[class] != 0);
    assert_true(depot->held_bytes <= DEPOT_HELD_BYTES);
    assert_true(depot->count[class] * magazine_bytes(class) < DEPOT_CLASS_BYTES + magazine_bytes(class));
    uint32_t count = depot->count[class];
    for (size_t i = 0; i < 2 * magazine_capacity(class); i++)
        must(arena_alloc(arena, 64) != NULL);
    assert_true(depot->count[class] < count);
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.live_blocks, 2 * magazine_capacity(class));
    assert_int_equal(stats.caches, 2);
    pthread_barrier_wait(&barrier);
    must(pthread_join(thread, NULL) == 0);
    pthread_barrier_destroy(&barrier);
}

#define in_arena(test) cmocka_unit_test_setup_teardown(test, open_arena, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_arena(the_first_use_makes_a_cache_and_puts_it_into_the_table),
        in_arena(young_blocks_are_carved_one_behind_the_other),
        in_arena(a_piece_serves_several_classes),
        in_arena(what_is_left_of_a_piece_is_an_open_chunk_of_its_owner),
        in_arena(statistics_close_a_piece_and_count_what_was_carved),
        in_arena(pieces_grow_up_to_their_bound),
        in_arena(a_class_with_enough_live_blocks_gets_slabs),
        in_arena(a_class_with_few_live_blocks_stays_in_chunks_for_a_while),
        in_arena(a_class_found_busy_at_a_tick_gets_slabs),
        in_arena(without_slabs_no_class_ever_gets_one),
        in_arena(every_allocation_is_counted_over_ticks),
        in_arena(a_class_above_the_slabs_earns_its_magazine),
        in_arena(one_that_allocates_for_another_thread_earns_it_too),
        in_arena(until_then_it_gets_chunks_of_just_the_size),
        in_arena(the_good_size_holds_over_an_idle_while),
        in_arena(the_last_one_freed_is_the_next_given_out),
        in_arena(a_refill_gives_ascending_addresses),
        in_arena(a_cache_is_bounded_in_bytes),
        in_arena(a_class_that_stands_still_goes_home_and_no_other),
        in_arena(larger_blocks_make_room_before_small_ones),
        in_arena(one_that_serves_makes_room_before_all),
        in_arena(a_refill_of_large_classes_is_one_block),
        in_arena(a_cache_keeps_more_once_it_takes_back_what_it_gave),
        in_arena(what_a_cache_holds_is_used_before_the_arena_is_asked),
        in_arena(statistics_take_the_cache_out_of_the_table_and_use_puts_it_back),
        in_arena(no_arena_has_the_slot_of_null),
        in_arena(more_arenas_than_slots_keep_their_caches),
        in_arena(an_arena_beside_the_table_is_used_without_the_registry),
        in_arena(a_displaced_cache_is_back_in_the_table_after_a_tick),
        in_arena(the_good_size_holds_after_another_thread_gave_the_class_up),
        in_arena(beyond_its_bound_a_thread_gives_its_oldest_caches_up),
        in_arena(growth_that_costs_the_thread_its_cache_serves_from_the_arena),
        in_arena(a_flush_sends_all_home_and_the_next_use_begins_anew),
        in_arena(a_reset_keeps_the_callers_cache_emptied),
        in_arena(next_is_always_what_top_points_to),
        in_arena(an_arena_made_after_another_reuses_its_cache),
        in_arena(a_threads_cache_serves_the_next_thread),
        in_arena(a_cache_that_no_thread_takes_over_goes_after_a_while),
        in_arena(one_that_holds_too_much_goes_with_its_thread),
        in_arena(a_depot_is_made_when_a_thread_has_more_than_it_keeps),
        in_arena(a_depot_is_emptied_before_its_arena_grows),
        in_arena(what_another_thread_frees_comes_back_by_the_depot),
        cmocka_unit_test(no_cache_at_all_is_empty_full_and_of_no_tag),
        cmocka_unit_test(the_cache_of_the_home_is_in_slot_0_until_it_is_taken_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
