/*
 * test_api_figures.c: arena_stats, arena_walk, arena_trim, arena_reset and arena_thread_flush as seen by one
 * thread: the figures are exact, explain each other, and move as the contracts say.
 */
#define _GNU_SOURCE
#include "../support.h"

static book_t book;
static char buffer[4 * MIB];

/* One arena of each kind that the tests below go through. */
static const struct {
    const char *name;
    arena_options_t options;
} kinds[] = {
    {"mmap", {0}},
    {"mmap, no cache", {.flags = ARENA_NO_CACHE}},
    {"mmap, no slabs", {.flags = ARENA_NO_SLABS}},
    {"mmap, checked", {.flags = ARENA_CHECKED}},
    {"mmap, single thread", {.flags = ARENA_SINGLE_THREAD}},
    {"mmap, quantum 8", {.quantum = 8, .flags = ARENA_NO_SLABS | ARENA_NO_CACHE}},
    {"mmap, limit", {.limit_bytes = 64 * MIB}},
    {"sbrk", {.source = ARENA_SOURCE_SBRK}},
    {"sbrk, by pages",
     {.source = ARENA_SOURCE_SBRK, .flags = ARENA_NO_CACHE | ARENA_NO_SLABS, .growth_bytes = 4096}},
    {"buffer", {.source = ARENA_SOURCE_BUFFER, .buffer = buffer, .buffer_bytes = sizeof buffer}},
    {"hooks", {.source = ARENA_SOURCE_HOOKS, .hooks = {book_map, book_unmap, book_purge, &book}}},
};
enum { KINDS = sizeof kinds / sizeof kinds[0], BLOCKS = 1500 };

typedef struct {
    arena_t *arena;
    void *blocks[BLOCKS];
    size_t bytes, count;
} holding_t;

/* Random blocks, of which every third is freed again; the rest is what `holding` holds. */
static void hold_some(holding_t *holding, arena_t *arena, uint64_t seed)
{
    rng_t rng = {seed};

    memset(holding, 0, sizeof *holding);
    holding->arena = arena;
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = i % 100 == 0 ? 20000 : rng_size(&rng, 11);
        holding->blocks[i] =
            i % 2 ? arena_alloc(arena, size) : arena_aligned_alloc(arena, (size_t)1 << (i % 9), size);
        assert_non_null(holding->blocks[i]);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        if (i % 3 == 0) {
            arena_free(arena, holding->blocks[i]);
            holding->blocks[i] = NULL;
        } else {
            holding->bytes += arena_usable_size(arena, holding->blocks[i]);
            holding->count++;
        }
}

static void live_figures_are_exact_and_the_sum_explains_the_mapping(void **state)
{
    static holding_t holding;

    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        arena_t *arena = arena_create(&kinds[k].options);
        assert_non_null(arena);
        for (uint64_t round = 1; round < 8; round++) {
            hold_some(&holding, arena, round);
            arena_stats_t stats = stats_of(arena);
            assert_int_equal(stats.live_bytes, holding.bytes);
            assert_int_equal(stats.live_blocks, holding.count);
            assert_int_equal(stats.allocations - stats.frees, holding.count);
            assert_int_equal(stats.allocations, round * BLOCKS);
            assert_true(stats_add_up(&stats));
            assert_true(stats.peak_mapped_bytes >= stats.mapped_bytes &&
                        stats.mapped_bytes > stats.live_bytes);
            assert_int_equal(stats.arenas, 1);
            arena_free_batch(arena, holding.blocks, BLOCKS);
            stats = stats_of(arena);
            assert_true(stats.live_bytes == 0 && stats.live_blocks == 0 && stats_add_up(&stats));
        }
        arena_destroy(arena);
    }
}

static void a_fresh_arena_has_mapped_nothing(void **state)
{
    (void)state;
    arena_t *arena = arena_create(NULL);
    arena_stats_t stats = stats_of(arena);
    assert_true(stats.mapped_bytes == 0 && stats.live_blocks == 0 && stats.allocations == 0 &&
                stats.regions == 0);
    assert_true(stats_add_up(&stats));
    arena_destroy(arena);
}

static void only_the_first_struct_bytes_are_written(void **state)
{
    struct {
        arena_stats_t stats;
        char beyond[64];
    } wide;
    unsigned char *bytes = (unsigned char *)&wide;

    (void)state;
    arena_t *arena = arena_create(NULL);
    void *block = arena_alloc(arena, 100);
    arena_stats_t whole = stats_of(arena);
    for (size_t size = 0; size <= sizeof whole; size++) {
        memset(&wide, 0xdd, sizeof wide);
        arena_stats(arena, (arena_stats_t *)any_size(&wide), size);
        assert_memory_equal(&wide, &whole, size < 40 ? size : 40);
        for (size_t i = size; i < sizeof wide; i++)
            assert_int_equal(bytes[i], 0xdd);
    }
    memset(&wide, 0xdd, sizeof wide);
    arena_stats(arena, (arena_stats_t *)any_size(&wide), sizeof wide);
    assert_int_equal(wide.stats.live_blocks, 1);
    assert_true(all_zero(wide.beyond, sizeof wide.beyond));
    arena_free(arena, block);
    arena_destroy(arena);
}

static void the_process_figures_sum_up_the_arenas(void **state)
{
    (void)state;
    arena_stats_t before = stats_of(NULL);
    arena_t *a = arena_create(NULL), *b = arena_create(NULL);
    void *one = arena_alloc(a, 1000), *two = arena_alloc(b, 2 * MIB);
    arena_stats_t now = stats_of(NULL), of_a = stats_of(a), of_b = stats_of(b);
    assert_int_equal(now.arenas, before.arenas + 2);
    assert_int_equal(now.live_blocks, before.live_blocks + 2);
    assert_int_equal(now.live_bytes,
                     before.live_bytes + arena_usable_size(a, one) + arena_usable_size(b, two));
    assert_int_equal(now.mapped_bytes, before.mapped_bytes + of_a.mapped_bytes + of_b.mapped_bytes);
    assert_true(now.process_metadata_bytes > 0);
    assert_true(stats_add_up(&now));
    arena_destroy(a);
    arena_destroy(b);
    now = stats_of(NULL);
    assert_int_equal(now.arenas, before.arenas);
    assert_int_equal(now.live_blocks, before.live_blocks);
}

/* --- walks --- */

typedef struct {
    const holding_t *holding;
    unsigned char seen[BLOCKS];
    size_t bytes[3], blocks[3], strangers, backwards;
    const char *last;
} view_t;

static int look(void *context, const arena_block_t *block)
{
    view_t *view = context;

    view->bytes[block->state] += block->usable;
    view->blocks[block->state]++;
    view->backwards += (const char *)block->start < view->last;
    view->last = (const char *)block->start + block->usable;
    if (block->state != ARENA_BLOCK_LIVE)
        return 0;
    for (size_t i = 0; i < BLOCKS; i++)
        if (view->holding->blocks[i] == block->start) {
            view->seen[i]++;
            view->strangers += arena_usable_size(view->holding->arena, block->start) != block->usable;
            return 0;
        }
    view->strangers++;
    return 0;
}

static void a_walk_sees_each_live_block_once(void **state)
{
    static holding_t holding;
    static view_t view;

    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        arena_t *arena = arena_create(&kinds[k].options);
        hold_some(&holding, arena, k);
        memset(&view, 0, sizeof view);
        view.holding = &holding;
        arena_stats_t stats = stats_of(arena);
        assert_int_equal(arena_walk(arena, look, &view), 0);
        assert_int_equal(view.strangers, 0);
        assert_true(view.backwards <= stats.regions + stats.large_blocks);
        for (size_t i = 0; i < BLOCKS; i++)
            assert_int_equal(view.seen[i], holding.blocks[i] != NULL);
        assert_int_equal(view.bytes[ARENA_BLOCK_LIVE], stats.live_bytes);
        assert_int_equal(view.blocks[ARENA_BLOCK_CACHED], stats.cached_blocks);
        assert_int_equal(view.bytes[ARENA_BLOCK_CACHED], stats.cached_bytes);
        assert_true(view.bytes[ARENA_BLOCK_FREE] <= stats.free_bytes + stats.metadata_bytes);
        arena_destroy(arena);
    }
}

static int count_to_seven(void *context, const arena_block_t *block)
{
    (void)block;
    return ++*(int *)context == 7 ? -42 : 0;
}

static void a_visitor_that_answers_ends_the_walk(void **state)
{
    static holding_t holding;
    int visits = 0;

    (void)state;
    arena_t *arena = arena_create(NULL);
    hold_some(&holding, arena, 1);
    assert_int_equal(arena_walk(arena, count_to_seven, &visits), -42);
    assert_int_equal(visits, 7);
    arena_destroy(arena);
}

static int meddle(void *context, const arena_block_t *block)
{
    arena_t *arena = context;
    void *own = arena_alloc(arena, block->usable % 3000);

    if (own == NULL || arena_check(arena) != 0)
        return 1;
    arena_free(arena, own);
    if (block->state == ARENA_BLOCK_LIVE)
        arena_free(arena, block->start);
    return 0;
}

static void a_visitor_may_use_the_arena_that_is_walked(void **state)
{
    static holding_t holding;

    (void)state;
    arena_t *arena = arena_create(NULL);
    hold_some(&holding, arena, 1);
    assert_int_equal(arena_walk(arena, meddle, arena), 0);
    assert_int_equal(stats_of(arena).live_blocks, 0);
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

static void a_walk_of_an_empty_arena_sees_no_live_block(void **state)
{
    static holding_t nothing;
    static view_t view;

    (void)state;
    arena_t *arena = arena_create(NULL);
    view.holding = &nothing;
    assert_int_equal(arena_walk(arena, look, &view), 0);
    assert_int_equal(view.blocks[ARENA_BLOCK_LIVE], 0);
    arena_destroy(arena);
}

/* --- reset, trim, flush --- */

static void reset_empties_the_arena_and_keeps_it_usable(void **state)
{
    static holding_t holding;

    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        arena_t *arena = arena_create(&kinds[k].options);
        for (uint64_t round = 1; round < 6; round++) {
            hold_some(&holding, arena, round);
            void *old = holding.blocks[1];
            void *large = arena_alloc(arena, 300000);
            assert_non_null(large);
            arena_reset(arena);
            arena_stats_t stats = stats_of(arena);
            assert_true(stats.live_bytes == 0 && stats.live_blocks == 0 && stats.large_blocks == 0);
            assert_true(stats_add_up(&stats));
            assert_int_equal(stats.allocations, round * (BLOCKS + 1));
            assert_int_equal(arena_check(arena), 0);
            assert_true(k != 0 || stats.mapped_bytes <= 256 * KIB);
            assert_true(arena_of(old) == NULL || arena_of(old) == arena);
        }
        arena_destroy(arena);
    }
}

static void reset_keeps_the_options(void **state)
{
    (void)state;
    arena_t *arena = arena_create(&(arena_options_t){.flags = ARENA_ZERO, .limit_bytes = MIB});
    for (int round = 0; round < 3; round++) {
        void *block = arena_alloc(arena, 100000);
        assert_true(all_zero(block, 100000));
        memset(block, 1, 100000);
        assert_null(arena_alloc(arena, MIB));
        arena_reset(arena);
    }
    arena_destroy(arena);
}

static void trim_gives_back_what_is_free(void **state)
{
    static void *blocks[200000];
    static const size_t sizes[] = {300, 5000, 40000, 600000};

    (void)state;
    for (size_t k = 0; k < 5; k++)
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            arena_t *arena = arena_create(&kinds[k].options);
            size_t count = 32 * MIB / sizes[s];
            for (size_t i = 0; i < count; i++)
                memset(blocks[i] = arena_alloc(arena, sizes[s]), 1, sizes[s]);
            arena_stats_t full = stats_of(arena);
            assert_true(arena_trim(arena, 0) <= full.mapped_bytes - full.live_bytes);
            assert_int_equal(arena_trim(arena, 0), 0); /* what lives stays, and nothing free is left */
            arena_free_batch(arena, blocks, count);
            arena_stats_t before = stats_of(arena);
            size_t given = arena_trim(arena, 0);
            arena_stats_t after = stats_of(arena);
            assert_true(after.mapped_bytes <= 128 * KIB && after.resident_bytes <= 128 * KIB);
            assert_true(given >= before.resident_bytes / 10 * 9);
            assert_true(after.purged_bytes >= before.purged_bytes + given);
            assert_int_equal(after.cached_blocks, 0);
            assert_true(stats_add_up(&after));
            arena_destroy(arena);
        }
}

static void trim_stops_at_the_bytes_to_keep(void **state)
{
    static void *blocks[8000];

    (void)state;
    arena_t *arena = arena_create(&(arena_options_t){.trim_threshold_bytes = SIZE_MAX});
    for (size_t i = 0; i < 8000; i++)
        blocks[i] = arena_alloc(arena, 4000);
    arena_free_batch(arena, blocks, 8000);
    size_t mapped = stats_of(arena).mapped_bytes;
    assert_true(mapped >= 8000 * 4000);
    assert_int_equal(arena_trim(arena, SIZE_MAX), 0);
    assert_int_equal(stats_of(arena).mapped_bytes, mapped);
    arena_trim(arena, 8 * MIB);
    assert_true(stats_of(arena).mapped_bytes <= 8 * MIB);
    assert_true(stats_of(arena).mapped_bytes >= 4 * MIB);
    arena_destroy(arena);
}

static void trim_purges_pages_between_live_blocks(void **state)
{
    static void *blocks[100000];
    size_t kept = 0;

    (void)state;
    arena_t *arena = arena_create(NULL);
    for (size_t i = 0; i < 100000; i++)
        memset(blocks[i] = arena_alloc(arena, 500), 1, 500);
    for (size_t i = 0; i < 100000; i++)
        if (i % 200 != 0)
            arena_free(arena, blocks[i]);
        else
            fill(blocks[i], 500, i), kept++;
    assert_true(arena_trim(arena, 0) > 0);
    arena_stats_t stats = stats_of(arena);
    assert_true(stats.purged_bytes >= 40 * MIB);
    assert_true(stats.resident_bytes <= kept * 4096 * 2 + MIB);
    for (size_t i = 0; i < 100000; i += 200)
        assert_true(holds(blocks[i], 500, i));
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

static void trim_of_the_process_reaches_every_arena_and_the_stock(void **state)
{
    arena_t *arenas[5];
    size_t mapped = stats_of(NULL).mapped_bytes;

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        arenas[i] = arena_create(NULL);
        void *block = arena_alloc(arenas[i], 100000);
        memset(block, 1, 100000);
        arena_free(arenas[i], block);
    }
    arena_destroy(arenas[4]);
    assert_true(arena_trim(NULL, 0) > 0);
    arena_stats_t stats = stats_of(NULL);
    assert_int_equal(stats.stock_bytes, 0);
    assert_true(stats.mapped_bytes <= mapped + 4 * 128 * KIB);
    for (size_t i = 0; i < 4; i++)
        arena_destroy(arenas[i]);
}

static void a_flush_returns_what_the_cache_holds(void **state)
{
    static void *blocks[5000];

    (void)state;
    arena_t *arena = arena_create(NULL);
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < 5000; i++)
            assert_non_null(blocks[i] = arena_alloc(arena, 64 + (i & 64)));
        arena_free_batch(arena, blocks, 5000);
        arena_thread_flush();
        arena_stats_t stats = stats_of(arena);
        assert_int_equal(stats.caches, 0);
        assert_true(stats.live_blocks == 0 && stats_add_up(&stats));
        assert_int_equal(arena_check(arena), 0);
    }
    arena_destroy(arena);
}

/* Whose idle memory is given back for its amount alone, however long the test takes. */
static arena_t *timeless_arena(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.purge_delay_ms = 1000000});

    must(arena != NULL);
    return arena;
}

/* Blocks of many sizes replace each other: what is free is short, and is taken again soon. */
static void what_is_taken_again_is_not_purged_for_ever(void **state)
{
    enum { HELD = 100, STEPS = 3000 };
    void *blocks[HELD] = {NULL};
    rng_t rng = {1};

    (void)state;
    arena_t *arena = timeless_arena();
    for (int step = 0; step < STEPS; step++) {
        void **block = &blocks[rng_below(&rng, HELD)];
        arena_free(arena, *block);
        *block = arena_alloc(arena, 100000 + rng_below(&rng, 900000));
        assert_non_null(*block);
    }
    arena_stats_t stats = stats_of(arena);
    assert_true(stats.purged_bytes < stats.peak_mapped_bytes);
    arena_destroy(arena);
}

/* And leaves no more unused between what lives than a good fit must. Pages are touched, as figures are of what is resident. */
static void blocks_of_many_sizes_find_room_between_each_other(void **state)
{
    enum { HELD = 500, STEPS = 10000 };
    static void *blocks[HELD];
    rng_t rng = {1};

    (void)state;
    arena_t *arena = arena_create(&(arena_options_t){.flags = ARENA_NO_CACHE, .purge_delay_ms = 1000000});
    must(arena != NULL);
    for (int step = 0; step < STEPS; step++) {
        void **block = &blocks[rng_below(&rng, HELD)];
        size_t size = 4096 + rng_below(&rng, 252000);
        arena_free(arena, *block);
        *block = arena_alloc(arena, size);
        assert_non_null(*block);
        for (size_t i = 0; i < size; i += 4096)
            ((volatile char *)*block)[i] = 1;
    }
    arena_stats_t stats = stats_of(arena);
    assert_true(stats.resident_bytes < stats.live_bytes / 5 * 6);
    arena_destroy(arena);
}

/* Everything is freed, and wanted again at once: the first rounds show it, the others find their memory. */
static void what_is_freed_and_taken_in_rounds_stays_after_a_few(void **state)
{
    enum { MANY = 500, ROUNDS = 12 };
    static void *blocks[MANY];
    size_t purged[ROUNDS];

    (void)state;
    arena_t *arena = timeless_arena();
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < MANY; i++)
            assert_non_null(blocks[i] = arena_alloc(arena, 150000));
        arena_free_batch(arena, blocks, MANY);
        purged[round] = stats_of(arena).purged_bytes;
    }
    assert_true(purged[2] >= 50 * MIB); /* it is not that nothing ever goes */
    assert_true(purged[ROUNDS - 1] - purged[2] <= 50 * MIB);
    arena_destroy(arena);
}

/* Nor does what free chunks keep of the granules that they cover, in an arena without ticks: as long as it is much. */
static void what_lies_between_blocks_does_not_stay_for_ever(void **state)
{
    enum { MANY = 800, EACH = 4, BYTES = 250000 };
    static void *blocks[MANY];

    (void)state;
    arena_t *arena = arena_create(&(arena_options_t){.flags = ARENA_NO_CACHE, .purge_delay_ms = 10});
    for (int i = 0; i < MANY; i++)
        assert_non_null(blocks[i] = arena_alloc(arena, BYTES));
    for (int i = 0; i < MANY; i++)
        memset(blocks[i], 1, BYTES);
    size_t before = stats_of(arena).resident_bytes;
    for (int i = 0; i < MANY; i += EACH)
        arena_free(arena, blocks[i]);
    for (int i = 0; i < 30; i++) {
        arena_free(arena, arena_alloc(arena, 100));
        must(usleep(11000) == 0);
    }
    size_t gaps = MANY / EACH * (size_t)(2 * 65536); /* what they cover of whole granules, at least */
    assert_true(stats_of(arena).resident_bytes <= before - gaps + 16 * MIB);
    arena_destroy(arena);
}

static size_t metadata_bytes(void)
{
    return stats_of(NULL).process_metadata_bytes;
}

/* A descriptor of each, and no more. They serve again: the second turn takes no more than the first. */
static void dead_arenas_leave_little_and_serve_again(void **state)
{
    enum { ARENAS = 5000, LEFT_BYTES = 1280 };
    static arena_t *arenas[ARENAS];
    size_t before = metadata_bytes();
    size_t most = 0;

    (void)state;
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < ARENAS; i++) {
            arenas[i] = arena_create(NULL);
            assert_non_null(arenas[i]);
        }
        size_t now = metadata_bytes() - before;
        most = turn == 0 ? now : most;
        assert_true(now <= most);
        for (size_t i = 0; i < ARENAS; i++) {
            void *block = arena_alloc(arenas[i], 5000); /* from bins that are as new */
            assert_non_null(block);
            memset(block, 1, 5000);
            assert_int_equal(arena_check(arenas[i]), 0);
            arena_destroy(arenas[i]);
        }
        assert_true(metadata_bytes() - before <= ARENAS * LEFT_BYTES + 2 * MIB);
    }
}

static void *use_and_leave(void *arena)
{
    static void *blocks[500];
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 500; i++)
            memset(blocks[i] = arena_alloc(arena, 150000), 1, 150000);
        arena_free_batch(arena, blocks, 500);
    }
    return NULL;
}

/* What stays in demand goes when its time is over: of an arena without ticks, and of one that all caches left. */
static void what_was_in_demand_does_not_stay_for_ever(void **state)
{
    (void)state;
    arena_t *arena = arena_create(&(arena_options_t){.flags = ARENA_NO_CACHE, .purge_delay_ms = 10});
    use_and_leave(arena);
    for (int i = 0; i < 30; i++) {
        arena_free(arena, arena_alloc(arena, 100));
        must(usleep(11000) == 0);
    }
    assert_true(stats_of(arena).resident_bytes <= 30 * MIB);
    arena_destroy(arena);
    arena = arena_create(NULL);
    run_thread(use_and_leave, arena);
    assert_true(!ARENA_TCACHE || stats_of(arena).resident_bytes <= 30 * MIB);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_figures_are_exact_and_the_sum_explains_the_mapping),
        cmocka_unit_test(a_fresh_arena_has_mapped_nothing),
        cmocka_unit_test(only_the_first_struct_bytes_are_written),
        cmocka_unit_test(the_process_figures_sum_up_the_arenas),
        cmocka_unit_test(a_walk_sees_each_live_block_once),
        cmocka_unit_test(a_visitor_that_answers_ends_the_walk),
        cmocka_unit_test(a_visitor_may_use_the_arena_that_is_walked),
        cmocka_unit_test(a_walk_of_an_empty_arena_sees_no_live_block),
        cmocka_unit_test(reset_empties_the_arena_and_keeps_it_usable),
        cmocka_unit_test(reset_keeps_the_options),
        cmocka_unit_test(trim_gives_back_what_is_free),
        cmocka_unit_test(trim_stops_at_the_bytes_to_keep),
        cmocka_unit_test(trim_purges_pages_between_live_blocks),
        cmocka_unit_test(trim_of_the_process_reaches_every_arena_and_the_stock),
        cmocka_unit_test(a_flush_returns_what_the_cache_holds),
        cmocka_unit_test(what_is_taken_again_is_not_purged_for_ever),
        cmocka_unit_test(blocks_of_many_sizes_find_room_between_each_other),
        cmocka_unit_test(what_is_freed_and_taken_in_rounds_stays_after_a_few),
        cmocka_unit_test(what_lies_between_blocks_does_not_stay_for_ever),
        cmocka_unit_test(dead_arenas_leave_little_and_serve_again),
        cmocka_unit_test(what_was_in_demand_does_not_stay_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
