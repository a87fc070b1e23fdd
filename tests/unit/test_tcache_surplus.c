/*
 * test_tcache_surplus.c: of more arenas than a thread should have caches of, which get one. What each cache here holds is
 * so much that few more than CACHES_LEAST are too many.
 */
#define _GNU_SOURCE
#include "../../arena/registry.h"
#include "../../tcache/surplus.h"
#include "../support.h"

enum {
    ARENAS = 300,
    TURN = 64, /* uses, of which the last asks */
    HEAVY = 60
};

static arena_t *arenas[ARENAS];

static void use(arena_t *any)
{
    arena_free(any, arena_alloc(any, 1000));
}

/* What is freed is cached, if there is a cache: 100 KB. */
static void use_heavily(arena_t *any)
{
    void *blocks[HEAVY];

    for (size_t size = 700; size <= 1000; size += 300) {
        must(arena_alloc_batch(any, size, HEAVY, blocks) == HEAVY);
        for (size_t i = 0; i < HEAVY; i++)
            arena_free(any, blocks[i]);
    }
}

static bool has_cache(const arena_t *any)
{
    lock_acquire(&registry_lock);
    bool has = record_cache_locked(thread_self.record, any->index) != NULL; /* statistics evict them */
    lock_release(&registry_lock);
    return has;
}

/* By what was looked at last, which may be an eighth off. */
static bool is_within_bound(void)
{
    const thread_record_t *record = thread_self.record;

    return record->caches <= CACHES_LEAST + 2 ||
           record->caches * record->cache_bytes <= SURPLUS_BYTES + SURPLUS_BYTES / 8;
}

static size_t count_caches(void)
{
    size_t count = 0;

    for (size_t i = 0; i < ARENAS; i++)
        count += has_cache(arenas[i]);
    return count;
}

static int open_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARENAS; i++) {
        must((arenas[i] = arena_create(&(arena_options_t){.first_region_bytes = 8 * GRANULE})) != NULL);
        use_heavily(arenas[i]);
    }
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARENAS; i++) {
        must(arena_check(arenas[i]) == 0);
        must(stats_of(arenas[i]).live_blocks == 0);
        arena_destroy(arenas[i]);
    }
    must(thread_self.record->caches == 0);
    return 0;
}

#define with_arenas(test) cmocka_unit_test_setup_teardown(test, open_all, close_all)

static void arenas_that_no_other_thread_uses_all_have_caches(void **state)
{
    (void)state;
    assert_int_equal(count_caches(), ARENAS);
    for (size_t i = 0; i < ARENAS; i++)
        thread_review(16);
    assert_int_equal(count_caches(), ARENAS);
    assert_int_equal(thread_self.record->caches, ARENAS);
}

static void *use_all_heavily(void *unused)
{
    for (size_t i = 0; i < ARENAS; i++)
        use_heavily(arenas[i]);
    must(thread_self.record->caches >= CACHES_LEAST && thread_self.record->caches < ARENAS / 2);
    must(is_within_bound());
    for (size_t i = 0; i < ARENAS; i++) {
        arena_stats_t stats = stats_of(arenas[i]);
        must(stats.caches == 1u + has_cache(arenas[i]));
        must(stats.allocations == 4 * (uint64_t)HEAVY);
        must(stats.live_blocks == 0);
    }
    return unused;
}

static void of_those_that_others_use_a_thread_has_a_bounded_number(void **state)
{
    (void)state;
    run_thread(use_all_heavily, NULL);
}

/* Between two turns of one all others have theirs. */
static void *use_in_passing(void *unused)
{
    use_all_heavily(NULL);
    size_t before = count_caches();
    for (size_t round = 0; round < 4 * TURN; round++)
        for (size_t i = 0; i < ARENAS; i++)
            use(arenas[i]);
    must(count_caches() <= before);
    for (size_t i = 0; i < ARENAS; i++)
        must(arenas[i]->granules->in_passing || has_cache(arenas[i]));
    return unused;
}

static void one_that_such_threads_use_in_passing_loses_the_cache_it_had(void **state)
{
    size_t passing = 0, kept = 0;

    (void)state;
    run_thread(use_in_passing, NULL);
    for (size_t i = 0; i < ARENAS; i++)
        passing += arenas[i]->granules->in_passing;
    assert_true(passing >= ARENAS / 2);
    for (size_t i = 0; i < ARENAS; i++)
        thread_review(16);
    for (size_t i = 0; i < ARENAS; i++) {
        assert_true(arenas[i]->granules->in_passing || has_cache(arenas[i]));
        kept += arenas[i]->granules->in_passing && has_cache(arenas[i]);
    }
    assert_in_range(kept, 0, TABLE_SLOTS); /* those used last */
    for (size_t i = 0; i < ARENAS; i++) {
        bool had = has_cache(arenas[i]);
        use(arenas[i]);
        assert_int_equal(has_cache(arenas[i]), had);
    }
}

static arena_t *first_without_cache(void)
{
    size_t i = 0;

    while (has_cache(arenas[i]))
        must(++i < ARENAS);
    return arenas[i];
}

static void *use_one_alone(void *unused)
{
    use_all_heavily(NULL);
    arena_t *hot = first_without_cache();
    for (size_t uses = 0; uses < TURN; uses += 2) { /* an allocation and a free */
        use(hot);
        must(!has_cache(hot));
    }
    for (size_t uses = 0; uses < 2 * TURN; uses += 2)
        use(hot);
    must(has_cache(hot));
    must(is_within_bound());
    return unused;
}

static void one_that_is_used_more_than_others_earns_its_cache(void **state)
{
    (void)state;
    run_thread(use_one_alone, NULL);
}

static void *take_more_magazines(void *unused)
{
    for (size_t i = 0; i < 2 * CACHES_LEAST; i++)
        use(arenas[i]);
    must(thread_self.record->caches == 2 * CACHES_LEAST);
    for (size_t i = 0; i < 2 * CACHES_LEAST; i++)
        use_heavily(arenas[i]);
    must(thread_self.record->caches < 2 * CACHES_LEAST && is_within_bound());
    return unused;
}

static void caches_that_take_more_magazines_go_beyond_the_bound(void **state)
{
    (void)state;
    run_thread(take_more_magazines, NULL);
}

/* Of four classes, each `count` blocks: they fit into one magazine. */
static void use_classes(arena_t *any, size_t count)
{
    void *blocks[32];

    for (size_t size = 832; size <= 1000; size += 56) {
        must(arena_alloc_batch(any, size, count, blocks) == count);
        for (size_t i = 0; i < count; i++)
            arena_free(any, blocks[i]);
    }
}

static void *fill_magazines(void *unused)
{
    for (size_t i = 0; i < 2 * CACHES_LEAST; i++)
        use_classes(arenas[i], 1);
    must(thread_self.record->caches == 2 * CACHES_LEAST);
    for (size_t i = 0; i < 2 * CACHES_LEAST; i++)
        use_classes(arenas[i], 30);
    must(thread_self.record->caches == 2 * CACHES_LEAST);
    for (size_t i = 0; i < 8 * TICK_ALLOCATIONS; i++) {
        use(arenas[0]);
        must(has_cache(arenas[0])); /* all along */
    }
    must(thread_self.record->caches < 2 * CACHES_LEAST && is_within_bound());
    return unused;
}

static void caches_whose_magazines_fill_up_go_at_ticks(void **state)
{
    (void)state;
    run_thread(fill_magazines, NULL);
}

/* A mark that a dead arena left is no obstacle to the next one in its place for long. */
static void *use_a_young_one(void *unused)
{
    use_all_heavily(NULL);
    arena_t *old = first_without_cache();
    uint32_t index = old->index;
    size_t place = 0;
    while (arenas[place] != old)
        place++;
    arena_destroy(old);
    must((arenas[place] = arena_create(NULL)) != NULL);
    must(arenas[place]->index == index);
    for (size_t uses = 0; uses <= TURN; uses += 2)
        use(arenas[place]);
    must(has_cache(arenas[place]));
    return unused;
}

static void an_arena_in_the_place_of_another_soon_has_its_cache(void **state)
{
    (void)state;
    run_thread(use_a_young_one, NULL);
}

/* --- growth --- */

static arena_t *hooked;

/* The thread loses all its caches, and is not to have another of the arena that grows. */
static void *map_at_the_price_of_the_cache(void *book, size_t bytes, size_t alignment, bool *zeroed)
{
    arena_thread_flush();
    atomic_store(record_slot(thread_self.record, hooked->index), SURPLUS_USES | CACHE_SURPLUS);
    return book_map(book, bytes, alignment, zeroed);
}

static void growth_that_costs_the_thread_its_cache_serves_from_the_arena(void **state)
{
    book_t book = {0};
    arena_hooks_t hooks = book_hooks(&book);

    (void)state;
    hooks.map = map_at_the_price_of_the_cache;
    must((hooked = arena_create(&(arena_options_t){.source = ARENA_SOURCE_HOOKS, .hooks = hooks})) != NULL);
    void *block = arena_alloc(hooked, 100);
    assert_ptr_equal(arena_of(block), hooked);
    assert_false(has_cache(hooked));
    arena_free(hooked, block);
    assert_int_equal(arena_check(hooked), 0);
    arena_destroy(hooked);
    book_close(&book);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_arenas(arenas_that_no_other_thread_uses_all_have_caches),
        with_arenas(of_those_that_others_use_a_thread_has_a_bounded_number),
        with_arenas(one_that_such_threads_use_in_passing_loses_the_cache_it_had),
        with_arenas(one_that_is_used_more_than_others_earns_its_cache),
        with_arenas(caches_that_take_more_magazines_go_beyond_the_bound),
        with_arenas(caches_whose_magazines_fill_up_go_at_ticks),
        with_arenas(an_arena_in_the_place_of_another_soon_has_its_cache),
        cmocka_unit_test(growth_that_costs_the_thread_its_cache_serves_from_the_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
