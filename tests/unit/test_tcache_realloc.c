/*
 * test_tcache_realloc.c: a block that grows to twice its bytes moves through the thread's cache, up to
 * REALLOC_CACHED_MAX, of a slab up to SLAB_MAX, and where the class has a magazine; every other growth prefers the place
 * where the block is. One by less than a quarter gets room for the next.
 */
#define _GNU_SOURCE
#include "../../arena/os.h"
#include "../../arena/registry.h"
#include "tcache_support.h"

/* From here on its class has a magazine, and one block is in it: the one that is returned. */
static void *cached_block(size_t size)
{
    graduate(size);
    void *block = take(size);
    arena_free(arena, block);
    return block;
}

/* `to` bytes of a block of `from` of its own, with nothing in use behind it. */
static void *grown(size_t from, size_t to)
{
    char *block = take(from);
    size_t usable = arena_usable_size(arena, block);
    fill(block, usable, from);
    char *larger = arena_realloc(arena, block, to);
    must(larger != NULL && holds(larger, usable, from));
    must(arena_usable_size(arena, larger) >= to);
    return larger;
}

/* The block is there first: if the arena had to grow for it, what is cached would go home. */
static void becomes_the_cached_block(size_t from, size_t to)
{
    char *block = take(from);
    void *cached = cached_block(to);
    fill(block, from, from);
    char *larger = arena_realloc(arena, block, to);
    assert_ptr_equal(larger, cached);
    assert_true(holds(larger, from, from));
    assert_true(arena_usable_size(arena, larger) >= to);
    arena_free(arena, larger);
}

/* It could grow where it is, but that takes the mutex. */
static void a_young_block_takes_the_cached_one(void **state)
{
    (void)state;
    char *block = take(100);
    void *behind = take(300), *cached = take(300);
    assert_true(is_chunk(block) && is_chunk(cached));
    arena_free(arena, behind);
    arena_trim(arena, 0);
    arena_free(arena, cached);
    fill(block, 100, 7);
    char *larger = arena_realloc(arena, block, 300);
    assert_ptr_equal(larger, cached);
    assert_true(holds(larger, 100, 7));
    char *smaller = arena_realloc(arena, larger, 100);
    assert_ptr_equal(smaller, block);
    assert_true(holds(smaller, 100, 7));
    assert_ptr_equal(arena_realloc(arena, smaller, 90), smaller);
    arena_free(arena, smaller);
}

static void doubling_takes_the_cached_block(void **state)
{
    static const size_t sizes[] = {2048, 4096, REALLOC_CACHED_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        becomes_the_cached_block(sizes[i] / 2, sizes[i]);
}

/* What it was asked for may be a fifth less than it has. */
static void so_does_doubling_what_was_asked_for(void **state)
{
    (void)state;
    for (size_t size = SMALL_MAX; size <= REALLOC_CACHED_MAX / 2; size += 100) {
        earn(size);
        becomes_the_cached_block(size, 2 * size);
    }
}

/* It could not stay where it is. */
static void so_does_doubling_a_slabs_block(void **state)
{
    (void)state;
    for (size_t size = REALLOC_CACHED_MAX; size <= SLAB_MAX / 2; size += 5000) {
        graduate(size);
        becomes_the_cached_block(size, 2 * size);
    }
}

static void growth_alone_earns_a_magazine(void **state)
{
    (void)state;
    must(arena_good_size(arena, 2100) < class_bytes(2100));
    for (unsigned i = 0; i <= uses_to_earn(2100); i++)
        arena_free(arena, grown(1000, 2100));
    assert_int_equal(arena_good_size(arena, 2100), class_bytes(2100));
    void *block = take(2100);
    arena_free(arena, block);
    assert_ptr_equal(grown(1000, 2100), block);
}

static void what_was_left_is_cached_in_turn(void **state)
{
    (void)state;
    cached_block(2048);
    cached_block(4096);
    void *block = take(2048);
    void *larger = arena_realloc(arena, block, 4096);
    assert_ptr_equal(take(2048), block);
    arena_free(arena, block);
    arena_free(arena, larger);
}

static void growing_by_less_leaves_the_cache_alone(void **state)
{
    (void)state;
    void *cached = cached_block(4096);
    void *larger = grown(3000, 4096);
    assert_ptr_not_equal(larger, cached);
    assert_ptr_equal(take(4096), cached);
    arena_free(arena, cached);
    arena_free(arena, larger);
}

static void large_growth_leaves_the_cache_alone(void **state)
{
    size_t size = 2 * REALLOC_CACHED_MAX;

    (void)state;
    void *cached = cached_block(size);
    void *larger = grown(size / 2 - 64, size);
    assert_ptr_not_equal(larger, cached);
    arena_free(arena, larger);
}

/* A step that no other doubles with must not round its block up to a class. */
static void without_a_magazine_it_grows_where_it_is(void **state)
{
    (void)state;
    churn(1, 2048); /* or the block would be carved from a piece, and what is behind it the thread's */
    char *block = take(2048);
    assert_ptr_equal(arena_realloc(arena, block, 5000), block);
    arena_free(arena, block);
}

/* Few steps change the block, however small they are; and what a step gives the next does not cut. */
static void appending_takes_a_few_steps_a_doubling(void **state)
{
    size_t bytes = 2000, steps = 0;

    (void)state;
    char *block = take(bytes);
    size_t usable = arena_usable_size(arena, block);
    fill(block, bytes, 1);
    for (; bytes < 8 * MIB; bytes += 64) {
        must((block = arena_realloc(arena, block, bytes)) != NULL);
        size_t now = arena_usable_size(arena, block);
        assert_in_range(now, bytes, bytes / 3 * 4 + 3);
        steps += now != usable;
        usable = now;
    }
    assert_true(holds(block, 2000, 1));
    assert_in_range(steps, 12, 200); /* 2,029 if large ones grew by pages */
    arena_free(arena, block);
}

/* What is asked for is all that a limit may have left. */
static void under_a_limit_growth_takes_no_more(void **state)
{
    static const size_t sizes[] = {2000, 100000, 300000, 2 * MIB};

    (void)state;
    arena_t *limited = arena_create(&(arena_options_t){.limit_bytes = 100 * MIB});
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = arena_alloc(limited, sizes[i]);
        size_t wanted = arena_usable_size(limited, block) + 1;
        block = arena_realloc(limited, block, wanted);
        must(block != NULL);
        assert_in_range(arena_usable_size(limited, block), wanted, wanted / 8 * 9 + os_page_bytes());
    }
    arena_destroy(limited);
}

/* [block][gap][wall]: the gap is more than is asked for, and less than a quarter of the block. */
static void where_there_is_no_room_for_more_it_gets_what_it_asked_for(void **state)
{
    (void)state;
    char *block = take(240 * KIB), *gap = take(40 * KIB), *wall = take(240 * KIB);
    for (int tries = 0; !(block < gap && gap < wall && wall < block + 320 * KIB); tries++) {
        must(tries < 20); /* the first region may be what another arena left, and end between them */
        block = take(240 * KIB), gap = take(40 * KIB), wall = take(240 * KIB);
    }
    arena_free(arena, gap);
    assert_ptr_equal(arena_realloc(arena, block, 250 * KIB), block);
    assert_true(arena_usable_size(arena, block) < (size_t)(wall - block));
    arena_free(arena, block);
    arena_free(arena, wall);
}

static size_t most_to_map;

static void *map_at_most(void *context, size_t bytes, size_t alignment, bool *zero)
{
    (void)context;
    void *start = bytes > most_to_map ? NULL : aligned_alloc(alignment, bytes);
    *zero = false;
    return start;
}

static bool unmap_again(void *context, void *start, size_t bytes)
{
    (void)context, (void)bytes;
    free(start);
    return true;
}

static void what_cannot_get_more_moves_with_what_it_asked_for(void **state)
{
    (void)state;
    arena_t *hooked = arena_create(&(arena_options_t){.source = ARENA_SOURCE_HOOKS,
                                                      .hooks = {.map = map_at_most, .unmap = unmap_again}});
    most_to_map = 10 * MIB;
    void *block = arena_alloc(hooked, 10 * MIB);
    must(block != NULL);
    most_to_map = 11 * MIB;
    errno = 0;
    block = arena_realloc(hooked, block, 11 * MIB);
    assert_non_null(block);
    assert_int_equal(errno, 0);
    assert_int_equal(arena_usable_size(hooked, block), 11 * MIB);
    assert_null(arena_realloc(hooked, block, 12 * MIB));
    arena_destroy(hooked);
}

/* Each is moved to where it could grow further, and leaves a hole. */
static void what_grows_once_finds_holes_of_its_size(void **state)
{
    enum { OBJECTS = 10000, BYTES = 2000 };
    static void *objects[OBJECTS];

    (void)state;
    for (size_t i = 0; i < OBJECTS; i++) {
        void *beside = arena_realloc(arena, take(BYTES), 2 * BYTES);
        objects[i] = arena_realloc(arena, take(BYTES), 2 * BYTES);
        must(beside != NULL && objects[i] != NULL);
        arena_free(arena, beside);
    }
    arena_stats_t stats = stats_of(arena);
    assert_true(stats.peak_mapped_bytes < stats.live_bytes / 4 * 5 + 2 * RETAIN_BYTES);
    arena_free_batch(arena, objects, OBJECTS);
}

/* Room behind one is taken by the next: what each leaves when it moves on adds up. */
static void vectors_that_grow_beside_others_leave_few_holes(void **state)
{
    enum { VECTORS = 300, STEPS = 100000 };
    static struct vector {
        void *block;
        size_t bytes, end;
    } vectors[VECTORS];
    rng_t rng = {test_seed(11)};
    size_t holes = 0;

    (void)state;
    for (int step = 0; step < STEPS; step++) {
        struct vector *vector = &vectors[rng_below(&rng, VECTORS)];
        if (vector->bytes >= vector->end) {
            arena_free(arena, vector->block);
            *vector = (struct vector){.end = (size_t)1024 << rng_below(&rng, 9)};
        }
        vector->bytes += vector->bytes / 2 + 32;
        must((vector->block = arena_realloc(arena, vector->block, vector->bytes)) != NULL);
        holes = max_size(holes, arena->totals.free_chunk_bytes);
    }
    assert_true(holes < 6 * MIB); /* 4.7; with RETAIN_BYTES in place of ROOM_BYTES 7.1 */
    for (size_t i = 0; i < VECTORS; i++)
        arena_free(arena, vectors[i].block);
}

/* Buffers that are cut to what was written to them: what is left of each must not stand where the next is to be. */
static void what_shrinks_much_leaves_its_room_whole(void **state)
{
    enum { KEPT = 500, ROUNDS = 10000 };
    static char *kept[KEPT];
    rng_t rng = {1};

    (void)state;
    for (size_t i = 0; i < ROUNDS; i++) {
        char **slot = &kept[rng_below(&rng, KEPT)];
        size_t size = 1000 + rng_below(&rng, 19000);
        arena_free(arena, *slot);
        must((*slot = arena_realloc(arena, take(MIB), size)) != NULL);
    }
    assert_true(arena->totals.peak_mapped_bytes < 30 * MIB); /* 16 for 5 live; cut in place 54 */
    for (size_t i = 0; i < KEPT; i++)
        arena_free(arena, kept[i]);
}

/* Growth counts as a use only where there are magazines to be earned: who has none waits for no other thread's lock. */
static void without_caches_it_needs_no_lock_of_the_process(void **state)
{
    static const unsigned flags[] = {ARENA_NO_CACHE, ARENA_CHECKED, ARENA_ZERO, ARENA_SINGLE_THREAD};

    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        arena_t *plain = arena_create(&(arena_options_t){.flags = flags[i]});
        void *block = arena_alloc(plain, 2000);
        lock_acquire(&registry_lock); /* whoever wants it waits for ever */
        block = arena_realloc(plain, block, 4000);
        lock_release(&registry_lock);
        assert_non_null(block);
        arena_destroy(plain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_arena(doubling_takes_the_cached_block),
        in_arena(a_young_block_takes_the_cached_one),
        in_arena(so_does_doubling_what_was_asked_for),
        in_arena(so_does_doubling_a_slabs_block),
        in_arena(growth_alone_earns_a_magazine),
        in_arena(what_was_left_is_cached_in_turn),
        in_arena(growing_by_less_leaves_the_cache_alone),
        in_arena(large_growth_leaves_the_cache_alone),
        in_arena(without_a_magazine_it_grows_where_it_is),
        in_arena(appending_takes_a_few_steps_a_doubling),
        cmocka_unit_test(under_a_limit_growth_takes_no_more),
        in_roomy_arena(where_there_is_no_room_for_more_it_gets_what_it_asked_for),
        cmocka_unit_test(what_cannot_get_more_moves_with_what_it_asked_for),
        in_arena(what_grows_once_finds_holes_of_its_size),
        in_arena(vectors_that_grow_beside_others_leave_few_holes),
        in_arena(what_shrinks_much_leaves_its_room_whole),
        cmocka_unit_test(without_caches_it_needs_no_lock_of_the_process),
    };

    alarm(100);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
