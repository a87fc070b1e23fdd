/*
 * test_tcache_table.c: how a thread finds its cache of an arena: the table and its collisions, the record behind it,
 * and the slot of the home.
 */
#define _GNU_SOURCE
#include "../../arena/registry.h"
#include "tcache_support.h"

static void use(arena_t *any)
{
    arena_free(any, arena_alloc(any, 100));
}

/* This thread has a cache of each. */
static void make_used(arena_t **arenas, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        must((arenas[i] = arena_create(&(arena_options_t){.first_region_bytes = GRANULE})) != NULL);
        use(arenas[i]);
    }
}

static void destroy_all(arena_t **arenas, size_t count)
{
    for (size_t i = 0; i < count; i++)
        arena_destroy(arenas[i]);
}

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
    make_used(arenas, MANY);
    for (size_t i = 0; i < MANY; i++) {
        size_t slot = (size_t)(table_slot(&thread_self, arenas[i]) - thread_self.table);
        assert_in_range(slot, 1, TABLE_SLOTS - 1);
        slots_used += !used[slot];
        used[slot] = true;
    }
    assert_ptr_equal(table_lookup(NULL), &cache_none);
    assert_true(slots_used >= TABLE_SLOTS - 2); /* they are spread */
    destroy_all(arenas, MANY);
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

/* Two of one colour: the second displaces the first, which comes back although the second is still there. */
static void a_displaced_cache_is_back_in_the_table_after_a_tick(void **state)
{
    enum { MANY = 2 * TABLE_SLOTS };
    arena_t *arenas[MANY];

    (void)state;
    use(arena);
    make_used(arenas, MANY);
    assert_true(table_lookup(arena)->arena != arena);
    churn(TICK_ALLOCATIONS + 1, 100);
    assert_ptr_equal(table_lookup(arena)->arena, arena);
    destroy_all(arenas, MANY);
}

static void an_arena_beside_the_table_is_used_without_the_registry(void **state)
{
    enum { MANY = CACHES_FEW + 2 * TABLE_SLOTS };
    arena_t *arenas[MANY];

    (void)state;
    make_used(arenas, MANY);
    lock_acquire(&registry_lock); /* who comes to it now waits for ever */
    for (size_t i = 0; i < MANY; i++) {
        cache_t *cache = record_lookup(arenas[i]->index);
        assert_ptr_equal(cache->arena, arenas[i]);
        use(arenas[i]);
    }
    lock_release(&registry_lock);
    for (size_t i = 0; i < MANY; i++) {
        stats_of(arenas[i]);
        assert_null(record_lookup(arenas[i]->index)); /* evicted */
        use(arenas[i]);
        assert_non_null(record_lookup(arenas[i]->index));
        uint32_t index = arenas[i]->index;
        arena_destroy(arenas[i]);
        assert_null(record_lookup(index));
    }
}

/* --- the home --- */

static void no_cache_at_all_is_empty_full_and_of_no_tag(void **state)
{
    (void)state;
    for (unsigned class = 0; class <= CLASSES; class ++) {
        assert_null(*cache_none.top[class]);
        assert_true(magazine_top_is_full(cache_none.top[class]));
    }
    assert_true((UINT32_MAX ^ cache_none.tag) > UINT32_MAX && (0 ^ cache_none.tag) > UINT32_MAX);
}

/* For ever, as a home must be; the other is settled in last, so that no test of another arena meets it. */
static void the_cache_of_the_home_is_in_slot_0_until_it_is_taken_away(void **state)
{
    (void)state;
    arena_t *home = arena_create(NULL);
    arena_t *other = arena_create(NULL);
    assert_ptr_equal(table_home(), &cache_none);
    thread_settle(home);
    assert_ptr_equal(table_home(), &cache_none);
    use(home);
    cache_t *cache = table_home();
    assert_ptr_equal(cache->arena, home);
    assert_ptr_equal(cache, table_lookup(home));
    use(other);
    assert_ptr_equal(table_home(), cache);
    arena_trim(home, 0);
    assert_ptr_equal(table_home(), &cache_none);
    use(home);
    assert_ptr_equal(table_home(), cache);

    thread_settle(other);
    arena_stats_t stats = stats_of(home);
    assert_int_equal(stats.caches, 0);
    assert_int_equal(stats.cached_blocks, 0);
    assert_ptr_equal(table_home()->arena, other); /* it had a cache of that before */
    assert_int_equal(arena_check(home) + arena_check(other), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_roomy_arena(statistics_take_the_cache_out_of_the_table_and_use_puts_it_back),
        in_roomy_arena(no_arena_has_the_slot_of_null),
        in_roomy_arena(more_arenas_than_slots_keep_their_caches),
        in_roomy_arena(an_arena_beside_the_table_is_used_without_the_registry),
        in_roomy_arena(a_displaced_cache_is_back_in_the_table_after_a_tick),
        cmocka_unit_test(no_cache_at_all_is_empty_full_and_of_no_tag),
        cmocka_unit_test(the_cache_of_the_home_is_in_slot_0_until_it_is_taken_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
