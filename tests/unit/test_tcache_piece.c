/*
 * test_tcache_piece.c: how a class begins in a thread's cache: blocks carved from a piece, and slabs once they are many.
 */
#define _GNU_SOURCE
#include "../../tcache/surplus.h"
#include "tcache_support.h"

/* --- pieces --- */

static void the_first_use_makes_a_cache_and_puts_it_into_the_table(void **state)
{
    (void)state;
    assert_null(own_cache());
    void *block = take(100);
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
    assert_int_equal(stats.live_bytes, 10 * class_bytes(100));
    assert_int_equal(stats.allocations, 10);
    assert_true(stats_add_up(&stats));
    assert_non_null(arena_alloc(arena, 100)); /* and go on */
    assert_non_null(own_cache()->piece);
}

enum { CARVED = 10 };
static void *carved[CARVED];

static void *carve_and_stay_inside(void *barrier)
{
    for (size_t i = 0; i < CARVED; i++)
        carved[i] = take(i % 2 == 0 ? 100 : 2000);
    cache_enter(&thread_self);
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    cache_leave(&thread_self);
    return NULL;
}

/* Others may have it cached before it is counted as allocated. */
static void what_a_thread_carved_that_cannot_be_stopped_is_never_less_than_nothing(void **state)
{
    pthread_barrier_t barrier;
    pthread_t thread;

    (void)state;
    must(pthread_barrier_init(&barrier, NULL, 2) == 0);
    start_thread(&thread, carve_and_stay_inside, &barrier);
    pthread_barrier_wait(&barrier);
    arena_free_batch(arena, carved, CARVED);
    arena_stats_t stats = stats_of(arena);
    pthread_barrier_wait(&barrier);
    must(pthread_join(thread, NULL) == 0 && pthread_barrier_destroy(&barrier) == 0);
    assert_int_equal(stats.skipped_caches, 1);
    assert_int_equal(stats.live_blocks, 0);
    assert_int_equal(stats.live_bytes, 0);
    assert_true(stats_add_up(&stats));
    stats = stats_of(arena);
    assert_int_equal(stats.skipped_caches, 0);
    assert_int_equal(stats.live_blocks, 0);
    assert_int_equal(stats.allocations, CARVED);
    assert_int_equal(stats.frees, CARVED);
}

static int count_in_child(void *unused)
{
    (void)unused;
    arena_stats_t stats = stats_of(arena);
    return stats.live_blocks == CARVED && stats.skipped_caches == 0 && stats_add_up(&stats) &&
                   arena_check(arena) == 0
               ? 0
               : 1;
}

/* Its cache is abandoned there, and what it carved is live. */
static void the_child_of_a_fork_counts_what_such_a_thread_carved(void **state)
{
    pthread_barrier_t barrier;
    pthread_t thread;

    (void)state;
    must(pthread_barrier_init(&barrier, NULL, 2) == 0);
    start_thread(&thread, carve_and_stay_inside, &barrier);
    pthread_barrier_wait(&barrier);
    must_end_well(status_of_child(count_in_child, NULL, 60));
    pthread_barrier_wait(&barrier);
    must(pthread_join(thread, NULL) == 0 && pthread_barrier_destroy(&barrier) == 0);
    arena_free_batch(arena, carved, CARVED);
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
    size_t most = own_cache()->next_piece_bytes;
    assert_true(most >= PIECE_MAX_BYTES);
    assert_true(most <= max_size(PIECE_MAX_BYTES, arena->totals.chunk_run_bytes / 8));
}

/* --- plain ones --- */

static void larger_ones_are_carved_of_just_their_size(void **state)
{
    (void)state;
    char *small = take(100), *plain = take(2000), *largest = take(PIECE_PLAIN_MAX), *behind = take(100);
    assert_ptr_equal(plain, small + chunk_size(chunk_of(small)));
    assert_ptr_equal(largest, plain + chunk_size(chunk_of(plain)));
    assert_ptr_equal(behind, largest + chunk_size(chunk_of(largest)));
    assert_true(chunk_is_plain(chunk_class(chunk_of(plain))));
    assert_int_equal(arena_usable_size(arena, plain), arena_good_size(arena, 2000));
    const cache_t *cache = own_cache();
    assert_int_equal(cache->plain_blocks, 2);
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(cache->plain_blocks, 0);
    assert_int_equal(stats.live_blocks, 4);
    assert_true(stats_add_up(&stats));
    arena_free(arena, plain);
    arena_free(arena, largest);
    assert_int_equal(stats_of(arena).live_blocks, 2);
    assert_int_equal(arena_check(arena), 0);
}

static void still_larger_ones_are_not(void **state)
{
    (void)state;
    char *block = take(100);
    chunk_t *piece = own_cache()->piece;
    take(PIECE_PLAIN_MAX + 1);
    assert_ptr_equal(own_cache()->piece, piece);
    assert_ptr_equal(piece, chunk_next(chunk_of(block)));
}

static void *free_it(void *block)
{
    arena_free(arena, block);
    return NULL;
}

enum { LARGER_ONES = 480 };

/* Of 24 sizes above PIECE_PLAIN_MAX, in turn. */
static void *take_larger(unsigned i)
{
    size_t size = 2 * PIECE_PLAIN_MAX - i / 3 % 8 * (PIECE_PLAIN_MAX / 8);
    return take(size << i % 3);
}

/* Of each so few that none gets a magazine. */
static void take_larger_ones(void)
{
    for (unsigned i = 0; i < LARGER_ONES; i++)
        take_larger(i);
}

/* And on, until one is carved of a piece with much left, which depends on where the system maps: that block. */
static void *carve_of_a_large_piece(void)
{
    take_larger_ones();
    for (unsigned i = 0; i < LARGER_ONES; i++) {
        void *block = take_larger(i);
        const cache_t *cache = own_cache();
        if (cache->piece == chunk_next(chunk_of(block)) && cache->piece_bytes > 3 * PIECE_MAX_BYTES)
            return block;
    }
    must(false);
    return NULL;
}

static void as_an_arena_grows_so_do_its_pieces(void **state)
{
    (void)state;
    take_larger_ones();
    must(arena->totals.chunk_run_bytes > 4 * MIB);
    size_t in_piece = 0, count = 0;
    for (size_t size = PIECE_MAX_BYTES; size > PIECE_MAX_BYTES / 2; size -= 512) {
        const chunk_t *block = chunk_of(take(size));
        in_piece += own_cache()->piece == chunk_next(block);
        count++;
    }
    assert_in_range(in_piece, count - 1, count); /* for one the arena may have grown */
    arena_stats_t stats = stats_of(arena);
    assert_true(stats_add_up(&stats));
}

static void but_not_once_one_was_freed(void **state)
{
    (void)state;
    void *last = carve_of_a_large_piece();
    const chunk_t *piece = own_cache()->piece;
    arena_free(arena, last);
    take(PIECE_PLAIN_MAX + 1);
    assert_ptr_equal(own_cache()->piece, piece);
}

/* Before the arena grows. */
static void then_what_is_left_of_its_piece_is_there_for_all(void **state)
{
    (void)state;
    void *last = carve_of_a_large_piece();
    size_t left = own_cache()->piece_bytes;
    arena_free(arena, last);
    size_t mapped = arena->totals.mapped_bytes;
    size_t size = PIECE_PLAIN_MAX;
    for (size_t taken = 0; taken + 2 * PIECE_MAX_BYTES < left; taken += size) {
        size = size % (4 * PIECE_PLAIN_MAX) + PIECE_PLAIN_MAX / 2; /* of each class a few */
        take(size);
    }
    assert_int_equal(arena->totals.mapped_bytes, mapped);
    assert_true(own_cache()->piece_bytes <= PIECE_MAX_BYTES);
}

static void one_that_serves_nothing_is_closed(void **state)
{
    (void)state;
    carve_of_a_large_piece();
    for (double until = now_seconds() + 60; own_cache()->piece != NULL; usleep(1000)) {
        must(now_seconds() < until);
        churn(TICK_ALLOCATIONS, 100);
    }
    assert_int_equal(arena_check(arena), 0);
}

static void what_is_carved_is_counted_with_the_next_piece(void **state)
{
    (void)state;
    take_larger_ones();
    for (int i = 0; i < 100; i++)
        take(20000);
    assert_true(arena->totals.chunk_usable >= arena->totals.chunk_run_bytes / 2);
    assert_true(own_cache()->plain_usable <= 2 * PIECE_GROWN_MAX);
}

/* And leaves the piece as it is. */
static void what_may_be_zero_is_not_carved(void **state)
{
    (void)state;
    carve_of_a_large_piece();
    const chunk_t *piece = own_cache()->piece;
    char *block = arena_calloc(arena, 1, FILL_ONE_BYTES);
    assert_true(block != NULL && block[0] == 0 && memcmp(block, block + 1, FILL_ONE_BYTES - 1) == 0);
    assert_ptr_equal(own_cache()->piece, piece);
}

/* Another thread frees them, so that this one would carve more: it tries once, not for each. */
static void where_only_holes_are_left_no_piece_is_tried_again(void **state)
{
    enum { MOST = 600, SIZES = 16 }; /* too few of each for a magazine */
    static void *blocks[MOST];
    size_t count = 0;

    (void)state;
    take_larger_ones();
    for (; arena->totals.free_run_bytes != 0; count++) {
        must(count < MOST);
        blocks[count] = take(9000 + count % SIZES * 700);
    }
    size_t mapped = arena->totals.mapped_bytes;
    for (size_t i = 0; i < count; i += 2)
        run_thread(free_it, blocks[i]);
    must(!own_cache()->plain_freed);
    own_cache()->next_piece_bytes = PIECE_GROWN_MAX;
    for (size_t i = 0; own_cache()->next_piece_bytes == PIECE_GROWN_MAX; i++)
        take(8300 + i % SIZES * 40);
    assert_int_equal(own_cache()->next_piece_bytes, PIECE_MAX_BYTES);
    assert_int_equal(arena->totals.mapped_bytes, mapped);
}

/* Then what was a small part of a piece is more than the whole one. */
static void nor_where_it_has_shrunk(void **state)
{
    (void)state;
    take_larger_ones();
    arena_reset(arena);
    take(64);
    own_cache()->next_piece_bytes = PIECE_GROWN_MAX;
    take(PIECE_GROWN_MAX / 8);
    assert_true(own_cache()->next_piece_bytes <= 2 * PIECE_MAX_BYTES);
    assert_int_equal(arena_check(arena), 0);
}

static void nor_under_a_limit(void **state)
{
    (void)state;
    arena_destroy(arena);
    arena = arena_create(&(arena_options_t){.limit_bytes = TIGHT_BYTES - 1});
    must(arena != NULL);
    take_larger_ones();
    assert_true(own_cache()->next_piece_bytes <= PIECE_MAX_BYTES);
}

static void what_was_freed_serves_before_more_is_carved(void **state)
{
    (void)state;
    void *first = take(2000);
    take(100);
    arena_free(arena, first);
    chunk_t *piece = own_cache()->piece;
    assert_ptr_equal(take(2000), first);
    take(2000);
    assert_ptr_equal(own_cache()->piece, piece);
    arena_reset(arena);
    first = take(2000);
    assert_ptr_equal(take(2000), (char *)first + chunk_size(chunk_of(first)));
}

static void many_of_a_class_are_in_slabs_all_the_same(void **state)
{
    (void)state;
    unsigned uses = uses_to_earn(2000);
    for (unsigned i = 0; i < uses; i++)
        assert_true(is_chunk(take(2000)));
    for (size_t bytes = 0; bytes < GRADUATE_MEDIUM; bytes += class_bytes(2000))
        assert_true(is_chunk(take(2000)));
    graduate(2000);
    assert_true(is_in_slab(take(2000)));
}

/* --- slabs --- */

static size_t in_chunks_of(size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < 3000; i++)
        count += is_chunk(take(size));
    must(is_in_slab(take(size)));
    return count;
}

static void a_class_with_enough_live_blocks_gets_slabs(void **state)
{
    (void)state;
    arena_free(arena, take(300));
    size_t bytes = in_chunks_of(64) * class_bytes(64);
    assert_true(bytes <= 2 * GRADUATE_BYTES);
    assert_true(bytes >= GRADUATE_BYTES / 2);
    assert_true(stats_of(arena).slabs != 0);
}

static void where_nothing_was_freed_it_takes_more_of_them(void **state)
{
    (void)state;
    assert_int_equal(in_chunks_of(16), GRADUATE_BLOCKS);
    assert_int_equal(in_chunks_of(64), GRADUATE_BLOCKS);
    size_t bytes = in_chunks_of(1024) * class_bytes(1024);
    assert_true(bytes >= GRADUATE_MOST - 2048 && bytes <= GRADUATE_MOST);
    arena_reset(arena);
    assert_int_equal(in_chunks_of(16), GRADUATE_BLOCKS);
}

static void a_free_of_a_medium_one_does_not_count(void **state)
{
    (void)state;
    enum { BLOCKS = 100 }; /* more than a magazine has room for */
    void *blocks[BLOCKS];
    earn(2000);
    must(arena_alloc_batch(arena, 2000, BLOCKS, blocks) == BLOCKS);
    arena_free_batch(arena, blocks, BLOCKS);
    assert_int_equal(in_chunks_of(64), GRADUATE_BLOCKS);
}

/* Whoever freed it, and whatever took it: a magazine, or the arena where another thread begins with a free. */
static void a_free_by_another_thread_counts_as_well(void **state)
{
    (void)state;
    run_thread(free_it, take(300));
    assert_true(in_chunks_of(64) * class_bytes(64) <= 2 * GRADUATE_BYTES);
}

/* An arena for one task takes little more than its blocks, and hardly a lock: what a piece leaves, or a region, is carved. */
static void many_blocks_of_many_sizes_take_little_room(void **state)
{
    size_t pieces = 0, bytes = 0;
    rng_t rng = {1};

    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        size_t size = 1 + rng_below(&rng, (size_t)16 << rng_below(&rng, 7));
        const chunk_t *block = chunk_of(take(size));
        const cache_t *cache = own_cache();
        must(is_chunk(chunk_block(block)));
        pieces += cache->piece != chunk_next(block);
        bytes += arena_good_size(arena, size);
    }
    arena_stats_t stats = stats_of(arena);
    assert_true(pieces <= 4 * bytes / PIECE_MAX_BYTES);
    assert_int_equal(stats.slabs, 0);
    assert_true(stats.mapped_bytes - stats.free_bytes <= bytes + bytes / 8);
}

static void *alloc_and_free_often(void *unused)
{
    for (int i = 0; i < 1000; i++) {
        void *block = take(64);
        must(is_chunk(block));
        arena_free(arena, block);
    }
    return unused;
}

/* In a thread of its own: a cache that served other arenas before may be near a tick. */
static void a_class_with_few_live_blocks_stays_in_chunks_for_a_while(void **state)
{
    (void)state;
    run_thread(alloc_and_free_often, NULL);
    assert_int_equal(stats_of(arena).slabs, 0);
}

static void a_class_found_busy_at_a_tick_gets_slabs(void **state)
{
    (void)state;
    churn(2 * TICK_ALLOCATIONS + 10, 64);
    void *block = take(64);
    assert_true(is_in_slab(block));
    assert_true((arena->granules->graduated >> sizeclass_of(64) & 1) != 0);
    arena_free(arena, block);
}

static void *use_this_arena_among_many(void *unused)
{
    enum { OTHERS = CACHES_LEAST };
    arena_t *others[OTHERS];

    for (size_t i = 0; i < OTHERS; i++)
        must((others[i] = arena_create(NULL)) != NULL && arena_alloc(others[i], 16) != NULL);
    arena_free(arena, take(300));
    must(thread_self.record->crowded);
    churn(2 * TICK_ALLOCATIONS + 10, 32);
    must(is_chunk(take(32)));
    must(in_chunks_of(64) == GRADUATE_BLOCKS);
    for (size_t i = 0; i < OTHERS; i++)
        arena_destroy(others[i]);
    churn(2 * TICK_ALLOCATIONS + 10, 128);
    must(!thread_self.record->crowded && is_in_slab(take(128)));
    return unused;
}

static void where_a_thread_has_many_arenas_none_is_busy(void **state)
{
    (void)state;
    run_thread(use_this_arena_among_many, NULL);
}

static void a_hole_is_carved_before_more_room_is_taken(void **state)
{
    (void)state;
    void *hole = take(PIECE_PLAIN_MAX + 1), *behind = take(PIECE_PLAIN_MAX + 1);
    must(is_chunk(hole) && is_chunk(behind));
    take(chunk_size(chunk_next(chunk_of(behind))) - PIECE_LEAST_BYTES / 2);
    arena_free(arena, hole);
    char *first = take(64);
    assert_ptr_equal(first, hole);
    assert_ptr_equal(take(100), first + chunk_size(chunk_of(first)));
}

static void without_slabs_no_class_ever_gets_one(void **state)
{
    (void)state;
    churn(2 * TICK_ALLOCATIONS + 10, 64);
    for (int i = 0; i < 3000; i++)
        assert_true(is_chunk(take(64)));
    assert_int_equal(stats_of(arena).slabs, 0);
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

static void a_refill_gives_ascending_addresses(void **state)
{
    (void)state;
    while (!is_in_slab(take(64))) {
    }
    size_t ascending = 0;
    char *last = take(64);
    for (int i = 0; i < 500; i++) {
        char *next = take(64);
        ascending += next == last + 64;
        last = next;
    }
    assert_true(ascending >= 490);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_roomy_arena(the_first_use_makes_a_cache_and_puts_it_into_the_table),
        in_roomy_arena(young_blocks_are_carved_one_behind_the_other),
        in_roomy_arena(a_piece_serves_several_classes),
        in_roomy_arena(what_is_left_of_a_piece_is_an_open_chunk_of_its_owner),
        in_roomy_arena(statistics_close_a_piece_and_count_what_was_carved),
        in_roomy_arena(what_a_thread_carved_that_cannot_be_stopped_is_never_less_than_nothing),
        in_roomy_arena(the_child_of_a_fork_counts_what_such_a_thread_carved),
        in_roomy_arena(pieces_grow_up_to_their_bound),
        in_roomy_arena(larger_ones_are_carved_of_just_their_size),
        in_roomy_arena(still_larger_ones_are_not),
        in_roomy_arena(as_an_arena_grows_so_do_its_pieces),
        in_roomy_arena(but_not_once_one_was_freed),
        in_roomy_arena(then_what_is_left_of_its_piece_is_there_for_all),
        in_roomy_arena(one_that_serves_nothing_is_closed),
        in_roomy_arena(what_is_carved_is_counted_with_the_next_piece),
        in_roomy_arena(what_may_be_zero_is_not_carved),
        in_roomy_arena(where_only_holes_are_left_no_piece_is_tried_again),
        in_roomy_arena(nor_where_it_has_shrunk),
        in_roomy_arena(nor_under_a_limit),
        in_roomy_arena(what_was_freed_serves_before_more_is_carved),
        in_roomy_arena(many_of_a_class_are_in_slabs_all_the_same),
        in_roomy_arena(a_class_with_enough_live_blocks_gets_slabs),
        in_roomy_arena(where_nothing_was_freed_it_takes_more_of_them),
        in_roomy_arena(a_free_of_a_medium_one_does_not_count),
        in_roomy_arena(a_free_by_another_thread_counts_as_well),
        in_arena(many_blocks_of_many_sizes_take_little_room),
        in_roomy_arena(a_class_with_few_live_blocks_stays_in_chunks_for_a_while),
        in_roomy_arena(a_class_found_busy_at_a_tick_gets_slabs),
        in_roomy_arena(where_a_thread_has_many_arenas_none_is_busy),
        in_roomy_arena(a_hole_is_carved_before_more_room_is_taken),
        without_slabs(without_slabs_no_class_ever_gets_one),
        in_roomy_arena(every_allocation_is_counted_over_ticks),
        in_roomy_arena(a_refill_gives_ascending_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
