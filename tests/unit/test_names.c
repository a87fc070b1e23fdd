/*
 * test_names.c: names of blocks, in every kind of arena and for every kind of block: they come, stay, move, and
 * go with the block, by whichever call and thread it is freed.
 */
#define _GNU_SOURCE
#include "../../arena/name.h"
#include "../support.h"

enum { ARENAS = 10, SIZES = 7 };

static const size_t sizes[SIZES] = {1, 16, 100, 1000, 5000, 40000, 300000};
static book_t books[2];
static char buffer[16 * MIB];

static arena_t *make_arena(size_t kind)
{
    const arena_options_t options[ARENAS] = {
        {0},
        {.flags = ARENA_NO_CACHE},
        {.flags = ARENA_NO_SLABS},
        {.flags = ARENA_CHECKED, .fit = ARENA_FIT_FIRST},
        {.flags = ARENA_SINGLE_THREAD},
        {.quantum = 8},
        {.source = ARENA_SOURCE_BUFFER, .buffer = buffer, .buffer_bytes = sizeof buffer},
        {.source = ARENA_SOURCE_BUFFER,
         .buffer = buffer,
         .buffer_bytes = sizeof buffer,
         .flags = ARENA_NO_SLABS},
        {.source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&books[0])},
        {.source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&books[1])}, /* unaligned */
    };

    books[1].skew = 48;
    arena_t *arena = arena_create(&options[kind]);
    must(arena != NULL);
    return arena;
}

static void end_arena(arena_t *arena)
{
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
    assert_int_equal(names_mapped_bytes(), 0);
}

/* Calls `test` for a new arena of each kind and each size. */
static void each_arena(void (*test)(arena_t *arena, size_t size))
{
    for (size_t kind = 0; kind < ARENAS; kind++) {
        for (size_t i = 0; i < SIZES; i++) {
            arena_t *arena = make_arena(kind);
            test(arena, sizes[i]);
            end_arena(arena);
        }
    }
}

static void *alloc(arena_t *arena, size_t size)
{
    void *block = arena_alloc(arena, size);

    must(block != NULL);
    return block;
}

/* --- --- */

typedef struct {
    const void *block;
    const char *name;
    size_t named, seen;
} seen_t;

static int see(void *context, const arena_block_t *block)
{
    seen_t *seen = context;

    seen->named += block->name != NULL;
    if (block->start == seen->block) {
        seen->seen++;
        must(block->state == ARENA_BLOCK_LIVE);
        must(block->name != NULL && strcmp(block->name, seen->name) == 0);
    }
    return 0;
}

static void comes_and_goes(arena_t *arena, size_t size)
{
    void *other = alloc(arena, size);
    void *block = arena_alloc_named(arena, size, "first");

    must(block != NULL);
    assert_string_equal(arena_name_of(arena, block), "first");
    assert_null(arena_name_of(arena, other));
    assert_true(arena_set_name(arena, block, "second"));
    assert_string_equal(arena_name_of(arena, block), "second");
    seen_t seen = {.block = block, .name = "second"};
    assert_int_equal(arena_walk(arena, see, &seen), 0);
    assert_int_equal(seen.seen, 1);
    assert_int_equal(seen.named, 1);
    assert_int_equal(arena_check(arena), 0);
    assert_true(arena_set_name(arena, block, NULL));
    assert_null(arena_name_of(arena, block));
    assert_true(arena_set_name(arena, block, "third"));
    assert_true(arena_set_name(arena, block, ""));
    assert_null(arena_name_of(arena, block));
    assert_int_equal(names_of(arena)->blocks.used, 0);
    assert_int_equal(names_of(arena)->granules.used, 0);
    assert_int_equal(names_of(arena)->texts.used, 0);
}

static void a_name_comes_and_goes_and_walk_shows_it(void **state)
{
    (void)state;
    each_arena(comes_and_goes);
}

/* --- each way to free --- */

static void by_free(arena_t *arena, void *block)
{
    arena_free(arena, block);
}

static void by_free_sized(arena_t *arena, void *block)
{
    arena_free_sized(arena, block, 1);
}

static void by_free_batch(arena_t *arena, void *block)
{
    arena_free_batch(arena, &block, 1);
}

static void by_realloc_to_another_size(arena_t *arena, void *block)
{
    void *moved = arena_realloc(arena, block, 700000);
    must(moved != NULL);
    arena_free(arena, moved);
}

typedef struct {
    arena_t *arena;
    void *block;
} pair_t;

static void *free_elsewhere(void *argument)
{
    pair_t *pair = argument;

    arena_free(pair->arena, pair->block);
    return NULL;
}

static void by_another_thread(arena_t *arena, void *block)
{
    pair_t pair = {arena, block};
    pthread_t thread;

    start_thread(&thread, free_elsewhere, &pair);
    must(pthread_join(thread, NULL) == 0);
}

static void by_another_thread_with_a_cache(arena_t *arena, void *block)
{
    arena_free(arena, alloc(arena, arena_usable_size(arena, block)));
    by_another_thread(arena, block);
}

static void goes_with_each_free(arena_t *arena, size_t size)
{
    static void (*const ways[])(arena_t *, void *) = {by_free,           by_free_sized,
                                                      by_free_batch,     by_realloc_to_another_size,
                                                      by_another_thread, by_another_thread_with_a_cache};

    for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
        void *keep = arena_alloc_named(arena, size, "neighbour"); /* so that the granule stays marked */
        void *block = arena_alloc_named(arena, size, "gone");
        must(keep != NULL && block != NULL);
        ways[way](arena, block);
        assert_int_equal(names_of(arena)->blocks.used, 1);
        assert_int_equal(arena_check(arena), 0);
        void *again[3];
        for (size_t i = 0; i < 3; i++) { /* it comes back without */
            again[i] = alloc(arena, size);
            assert_null(arena_name_of(arena, again[i]));
        }
        arena_free_batch(arena, again, 3);
        assert_string_equal(arena_name_of(arena, keep), "neighbour");
        arena_free(arena, keep);
        assert_int_equal(names_of(arena)->blocks.used, 0);
    }
}

static void a_name_goes_however_the_block_is_freed(void **state)
{
    (void)state;
    each_arena(goes_with_each_free);
}

/* --- the mark --- */

static bool is_marked(const void *block)
{
    return (pagemap_entry_marked(block) & KIND_NAMED) != 0;
}

static void the_mark_goes_with_the_last_name_of_a_granule(void **state)
{
    static const unsigned flags[] = {0, ARENA_NO_CACHE, ARENA_NO_SLABS};

    (void)state;
    for (size_t kind = 0; kind < 3; kind++) {
        for (size_t size = 16; size <= 1024; size *= 4) {
            arena_t *arena = arena_create(&(arena_options_t){.flags = flags[kind]});
            static void *blocks[4000];
            for (size_t i = 0; i < 4000; i++)
                blocks[i] = alloc(arena, size); /* slabs, or chunks, for sure */
            void **pair = &blocks[3998];
            while (granule_of(pair[0]) != granule_of(pair[1]))
                pair--;
            uint32_t entry = pagemap_entry_marked(pair[0]);
            assert_true(arena_set_name(arena, pair[0], "a"));
            assert_true(arena_set_name(arena, pair[1], "b"));
            assert_true(is_marked(pair[0]));
            assert_int_equal(pagemap_entry(pair[0]), entry);
            assert_ptr_equal(arena_of(pair[0]), arena);
            arena_free(arena, pair[0]);
            assert_true(is_marked(pair[0]));
            arena_free(arena, pair[1]);
            assert_false(is_marked(pair[1]));
            assert_int_equal(pagemap_entry_marked(pair[0]), entry);
            end_arena(arena);
        }
    }
}

/* Every reader of page-map kinds, on blocks of a granule that has a name. */
static void a_marked_granule_works_as_any_other(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < ARENAS; kind++) {
        arena_t *arena = make_arena(kind);
        void *blocks[600];
        for (size_t i = 0; i < 600; i++) {
            blocks[i] = alloc(arena, 1 + i);
            fill(blocks[i], 1 + i, i);
            if (i % 7 == 0)
                must(arena_set_name(arena, blocks[i], "some"));
        }
        for (size_t i = 0; i < 600; i++) {
            assert_ptr_equal(arena_of(blocks[i]), arena);
            assert_true(arena_usable_size(arena, blocks[i]) >= 1 + i);
            if (i % 3 == 0) {
                blocks[i] = arena_realloc(arena, blocks[i], 2 + 2 * i);
                must(blocks[i] != NULL);
            }
            assert_true(holds(blocks[i], 1 + i, i) || i % 3 == 0);
        }
        assert_int_equal(arena_check(arena), 0);
        arena_stats_t stats = stats_of(arena);
        assert_true(stats_add_up(&stats));
        assert_int_equal(stats.live_blocks, 600);
        for (size_t i = 0; i < 600; i += 2)
            arena_free(arena, blocks[i]);
        arena_trim(arena, 0);
        assert_int_equal(arena_check(arena), 0);
        for (size_t i = 1; i < 600; i += 2) {
            const char *name = arena_name_of(arena, blocks[i]);
            assert_true((name != NULL) == (i % 7 == 0));
            arena_free(arena, blocks[i]);
        }
        arena_trim(arena, 0);
        assert_int_equal(stats_of(arena).live_blocks, 0);
        end_arena(arena);
    }
}

/* --- realloc, reset --- */

static void stays(arena_t *arena, size_t size)
{
    char *block = arena_alloc_named(arena, size, "stays");
    static const size_t steps[] = {1, 30, 31, 200, 900, 2000, 9000, 60000, 400000, 3000, 500000, 10};

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        block = arena_realloc(arena, block, steps[i]);
        must(block != NULL);
        assert_string_equal(arena_name_of(arena, block), "stays");
        assert_int_equal(names_of(arena)->blocks.used, 1);
        assert_int_equal(arena_check(arena), 0);
    }
}

static void realloc_keeps_the_name(void **state)
{
    (void)state;
    each_arena(stays);
}

/* The kernel moves it: what lies behind is taken. */
static void a_large_block_takes_its_name_along(void **state)
{
    arena_t *arena = arena_create(NULL);
    char *block = arena_alloc_named(arena, MIB, "moves");
    size_t moves = 0;

    (void)state;
    for (size_t bytes = 2 * MIB; bytes <= 64 * MIB; bytes *= 2) {
        void *wall = mmap(block + bytes / 2, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        char *moved = arena_realloc(arena, block, bytes);
        must(moved != NULL);
        moves += moved != block;
        block = moved;
        assert_string_equal(arena_name_of(arena, block), "moves");
        assert_int_equal(arena_check(arena), 0);
        must(munmap(wall, 4096) == 0);
    }
    assert_true(moves > 0);
    end_arena(arena);
}

static void is_dropped(arena_t *arena, size_t size)
{
    for (size_t i = 0; i < 5; i++)
        must(arena_alloc_named(arena, size, "dropped") != NULL);
    arena_reset(arena);
    assert_null(names_of(arena));
    assert_int_equal(names_mapped_bytes(), 0);
    assert_int_equal(arena_check(arena), 0);
    for (size_t i = 0; i < 5; i++)
        assert_null(arena_name_of(arena, alloc(arena, size)));
    assert_non_null(arena_alloc_named(arena, size, "after"));
}

static void reset_drops_all_names(void **state)
{
    (void)state;
    each_arena(is_dropped);
}

/* --- texts --- */

static void blocks_of_one_name_share_it(void **state)
{
    arena_t *arena = arena_create(NULL);
    void *blocks[3000];

    (void)state;
    for (size_t i = 0; i < 3000; i++) {
        char name[32];
        snprintf(name, sizeof name, "name %zu", i % 100);
        blocks[i] = arena_alloc_named(arena, 24, name);
        must(blocks[i] != NULL);
    }
    assert_int_equal(names_of(arena)->texts.used, 100);
    assert_ptr_equal(arena_name_of(arena, blocks[0]), arena_name_of(arena, blocks[100]));
    for (size_t i = 0; i < 3000; i++) {
        char name[32];
        snprintf(name, sizeof name, "name %zu", i % 100);
        assert_string_equal(arena_name_of(arena, blocks[i]), name);
    }
    assert_int_equal(arena_check(arena), 0);
    for (size_t i = 0; i < 2900; i++)
        arena_free(arena, blocks[i]);
    assert_int_equal(names_of(arena)->texts.used, 100);
    for (size_t i = 2900; i < 3000; i++)
        arena_free(arena, blocks[i]);
    assert_int_equal(names_of(arena)->texts.used, 0);
    end_arena(arena);
}

static void a_name_may_be_of_any_length_and_any_bytes(void **state)
{
    static char text[100001];
    arena_t *arena = arena_create(NULL);

    (void)state;
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = (char)(1 + i % 255);
    char *block = arena_alloc_named(arena, 10, text);
    must(block != NULL);
    assert_string_equal(arena_name_of(arena, block), text);
    text[0] = 'x'; /* it was copied */
    assert_int_equal(arena_name_of(arena, block)[0], 1);
    assert_string_equal(arena_name_of(arena, block) + 1, text + 1);
    seen_t seen = {.block = block, .name = arena_name_of(arena, block)};
    assert_int_equal(arena_walk(arena, see, &seen), 0);
    assert_int_equal(seen.seen, 1);
    arena_free(arena, block);
    end_arena(arena);
}

/* Tables double while names come and go; each granule's count is right throughout, or arena_check would tell. */
static void many_names_in_many_granules(void **state)
{
    enum { BLOCKS = 20000 / SLOWNESS };
    static void *blocks[BLOCKS];
    arena_t *arena = arena_create(NULL);
    rng_t rng = {test_seed(11)};

    (void)state;
    for (size_t round = 0; round < 4 * BLOCKS; round++) {
        size_t i = rng_below(&rng, BLOCKS);
        arena_free(arena, blocks[i]);
        blocks[i] = rng_below(&rng, 3) != 0 ? arena_alloc_named(arena, rng_size(&rng, 11), "many")
                                            : alloc(arena, rng_size(&rng, 11));
        if (round % (BLOCKS / 2) == 0)
            assert_int_equal(arena_check(arena), 0);
    }
    size_t named = 0;
    for (size_t i = 0; i < BLOCKS; i++)
        named += blocks[i] != NULL && arena_name_of(arena, blocks[i]) != NULL;
    assert_int_equal(names_of(arena)->blocks.used, named);
    for (size_t i = 0; i < BLOCKS; i++)
        arena_free(arena, blocks[i]);
    assert_int_equal(names_of(arena)->granules.used, 0);
    end_arena(arena);
}

static void bad_arguments_are_answered(void **state)
{
    arena_t *arena = arena_create(NULL);
    char *block = alloc(arena, 10);
    int outside;

    (void)state;
    errno = 0;
    assert_false(arena_set_name(NULL, block, "x"));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(arena_set_name(arena, NULL, "x"));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(arena_name_of(NULL, block));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(arena_name_of(arena, NULL));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(arena_alloc_named(NULL, 1, "x"));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(arena_alloc_named(arena, SIZE_MAX, "x"));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(arena_name_of(arena, &outside));
    assert_int_equal(errno, 0);
    assert_non_null(arena_alloc_named(arena, 0, NULL));
    assert_null(names_of(arena)); /* it costs nothing until there is one */
    end_arena(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_comes_and_goes_and_walk_shows_it),
        cmocka_unit_test(a_name_goes_however_the_block_is_freed),
        cmocka_unit_test(the_mark_goes_with_the_last_name_of_a_granule),
        cmocka_unit_test(a_marked_granule_works_as_any_other),
        cmocka_unit_test(realloc_keeps_the_name),
        cmocka_unit_test(a_large_block_takes_its_name_along),
        cmocka_unit_test(reset_drops_all_names),
        cmocka_unit_test(blocks_of_one_name_share_it),
        cmocka_unit_test(a_name_may_be_of_any_length_and_any_bytes),
        cmocka_unit_test(many_names_in_many_granules),
        cmocka_unit_test(bad_arguments_are_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
