/*
 * test_tiny.c: small slabs in a buffer: made on demand, found by the byte table, given back when empty.
 */
#define _GNU_SOURCE
#include "../../arena/tiny.h"

#include "../../arena/carve.h"
#include "../../arena/sizeclass.h"
#include "layer.h"
#include "one_arena.h"

static _Alignas(16) char buffer[128 * 1024];

static arena_t *arena_in(char *start, size_t bytes, unsigned flags)
{
    arena_options_t options = {.name = "tiny",
                               .source = ARENA_SOURCE_BUFFER,
                               .flags = ARENA_SINGLE_THREAD | flags,
                               .buffer = start,
                               .buffer_bytes = bytes};
    arena_t *made = arena_create(&options);

    must(made != NULL);
    return made;
}

static int open_buffer(void **state)
{
    (void)state;
    arena = arena_in(buffer, sizeof buffer, 0);
    return 0;
}

static void *take(size_t request)
{
    return tiny_take_locked(arena, sizeclass_of(request), 8);
}

static void put(void *block)
{
    assert_int_equal(tiny_put_locked(arena, block), MISUSE_NONE);
}

/* Asks until the demand for the class is large enough for a slab. */
static char *first_of(size_t request)
{
    for (int i = 0; i < 2000; i++) {
        char *block = take(request);
        if (block != NULL)
            return block;
    }
    fail_msg("no slab for %zu bytes", request);
    return NULL;
}

static void a_class_gets_a_slab_once_it_was_asked_for_often(void **state)
{
    (void)state;
    assert_null(take(16)); /* one block of 16 bytes is no reason for a slab */
    assert_int_equal(arena->totals.slabs, 0);
    char *block = first_of(16);
    assert_int_equal(arena->totals.slabs, 1);
    assert_int_equal(arena->totals.slab_blocks, 1);
    assert_int_equal(arena->totals.slab_usable, 16);
    assert_true(is_aligned(block, 16));
    put(block);
}

static void blocks_of_every_class_are_apart_and_aligned(void **state)
{
    enum { HELD = 60 };
    char *blocks[HELD];

    (void)state;
    for (size_t request = 8; request <= TINY_CLASS_MAX; request += request < 16 ? 8 : 16) {
        size_t usable = sizeclass_bytes[sizeclass_of(request)];
        first_of(request);
        for (size_t i = 0; i < HELD; i++) {
            blocks[i] = first_of(request);
            assert_true(is_aligned(blocks[i], usable % 16 == 0 ? 16 : 8));
            fill(blocks[i], usable, request + i);
        }
        for (size_t i = 0; i < HELD; i++)
            assert_true(holds(blocks[i], usable, request + i));
        assert_int_equal(arena_check(arena), 0);
        for (size_t i = 0; i < HELD; i++)
            put(blocks[i]);
    }
}

static void large_classes_and_alignments_get_none(void **state)
{
    (void)state;
    for (int i = 0; i < 500; i++) {
        assert_null(tiny_take_locked(arena, sizeclass_of(TINY_CLASS_MAX + 1), 8));
        assert_null(tiny_take_locked(arena, 2, 32));
        assert_null(tiny_take_locked(arena, 0, 8));
        assert_null(tiny_take_locked(arena, 1, 16)); /* 8-byte blocks are not at multiples of 16 */
    }
    assert_int_equal(arena->totals.slabs, 0);
}

static void the_byte_table_tells_whose_addresses_they_are(void **state)
{
    int on_stack = 0;

    (void)state;
    char *block = first_of(48);
    assert_true(tiny_holds(arena, block));
    assert_true(tiny_holds(arena, block + 47));
    assert_false(tiny_holds(arena, &on_stack));
    assert_false(tiny_holds(arena, NULL));
    void *chunk = arena_alloc(arena, 3000);
    assert_false(tiny_holds(arena, chunk));
    put(block);
    assert_false(tiny_holds(arena, block)); /* the slab went with its last block */
    arena_free(arena, chunk);
}

static void an_empty_slab_goes_back(void **state)
{
    char *blocks[200];

    (void)state;
    size_t free_before = arena->totals.free_chunk_bytes;
    for (size_t i = 0; i < 200; i++)
        blocks[i] = first_of(64);
    assert_true(arena->totals.slabs > 1);
    for (size_t i = 0; i < 200; i++)
        put(blocks[i]);
    assert_int_equal(arena->totals.slabs, 0);
    assert_int_equal(arena->totals.slab_bytes, 0);
    assert_int_equal(arena->totals.slab_free_usable, 0);
    assert_int_equal(arena->totals.free_chunk_bytes, free_before);
}

static void a_freed_block_serves_before_a_fresh_slab(void **state)
{
    char *blocks[400];
    size_t count = 0;

    (void)state;
    blocks[count++] = first_of(32);
    while (arena->totals.slab_free_usable != 0)
        blocks[count++] = first_of(32);
    size_t slabs = arena->totals.slabs;
    put(blocks[count / 2]);
    assert_ptr_equal(take(32), blocks[count / 2]);
    assert_int_equal(arena->totals.slabs, slabs);
    for (size_t i = 0; i < count; i++)
        put(blocks[i]);
}

static void misuse_is_found(void **state)
{
    misuse_t wrong;

    (void)state;
    char *keeps_the_slab = first_of(64), *block = first_of(64);
    assert_int_equal(tiny_usable_locked(arena, block, &wrong), 64);
    assert_int_equal(wrong, MISUSE_NONE);
    totals_t totals = arena->totals;
    for (size_t offset = 1; offset < 64; offset++)
        assert_int_equal(tiny_put_locked(arena, block + offset), MISUSE_INTERIOR);
    char *slab = (char *)align_down((uintptr_t)keeps_the_slab, TINY_UNIT);
    assert_int_equal(tiny_put_locked(arena, slab), MISUSE_INTERIOR); /* the slab's own header */
    assert_memory_equal(&totals, &arena->totals, sizeof totals);
    put(block);
    assert_int_equal(tiny_put_locked(arena, block), MISUSE_DOUBLE_FREE);
    tiny_usable_locked(arena, block, &wrong);
    assert_int_equal(wrong, MISUSE_DOUBLE_FREE);
    put(keeps_the_slab);
}

typedef struct {
    size_t free, given, bytes;
} tally_t;

static void count_block(void *context, void *block, size_t usable, bool free)
{
    tally_t *tally = context;

    (void)block;
    tally->free += free;
    tally->given += !free;
    tally->bytes += usable;
}

static void every_block_of_a_slab_is_visited(void **state)
{
    tally_t tally = {0, 0, 0};

    (void)state;
    char *blocks[3] = {first_of(128), NULL, NULL};
    const char *slab = (const char *)align_down((uintptr_t)blocks[0], TINY_UNIT);
    tiny_each(slab, count_block, &tally);
    assert_int_equal(tally.given, 1);
    assert_int_equal(tally.bytes, (tally.free + 1) * 128);
    assert_int_equal(tally.free * 128, arena->totals.slab_free_usable);
    put(blocks[0]);
}

static void a_buffer_without_room_gives_smaller_slabs_then_none(void **state)
{
    static void *chunks[200];
    size_t count = 0;

    (void)state;
    while (count < 200 && (chunks[count] = arena_alloc(arena, 1000)) != NULL)
        count++;
    for (int i = 0; i < 300; i++)
        assert_null(take(64));
    assert_int_equal(arena->totals.slabs, 0);
    arena_free(arena, chunks[10]);
    arena_free(arena, chunks[11]);
    char *block = first_of(64);
    assert_int_equal(arena->totals.slabs, 1);
    put(block);
    for (size_t i = 0; i < count; i++) {
        if (i != 10 && i != 11)
            arena_free(arena, chunks[i]);
    }
}

static void small_buffers_and_no_slabs_do_without(void **state)
{
    static _Alignas(16) char other[TINY_BUFFER_MIN];

    (void)state;
    arena_t *small = arena_in(other, TINY_BUFFER_MIN - 1, 0);
    assert_null(small->tiny);
    arena_destroy(small);
    arena_t *without = arena_in(other, TINY_BUFFER_MIN, ARENA_NO_SLABS);
    assert_null(without->tiny);
    arena_destroy(without);
    arena_t *with = arena_in(other, TINY_BUFFER_MIN, 0);
    assert_non_null(with->tiny);
    arena_destroy(with);
}

/* At every skew of the buffer the table covers its last byte. */
static void the_table_covers_a_buffer_at_any_address(void **state)
{
    static _Alignas(512) char other[20000];

    (void)state;
    for (size_t skew = 0; skew < 1024; skew += 40) {
        arena_t *skewed = arena_in(other + skew, sizeof other - 1024, 0);
        char *blocks[1000];
        size_t count = 0;
        while (count < 1000 && (blocks[count] = arena_alloc(skewed, 24)) != NULL) {
            fill(blocks[count], 24, count);
            count++;
        }
        assert_true(skewed->totals.slabs != 0 && count > 200);
        assert_int_equal(arena_check(skewed), 0);
        for (size_t i = 0; i < count; i++) {
            assert_true(holds(blocks[i], 24, i));
            arena_free(skewed, blocks[i]);
        }
        assert_int_equal(skewed->totals.slabs, 0);
        arena_destroy(skewed);
    }
}

#define in_buffer(test) cmocka_unit_test_setup_teardown(test, open_buffer, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_buffer(a_class_gets_a_slab_once_it_was_asked_for_often),
        in_buffer(blocks_of_every_class_are_apart_and_aligned),
        in_buffer(large_classes_and_alignments_get_none),
        in_buffer(the_byte_table_tells_whose_addresses_they_are),
        in_buffer(an_empty_slab_goes_back),
        in_buffer(a_freed_block_serves_before_a_fresh_slab),
        in_buffer(misuse_is_found),
        in_buffer(every_block_of_a_slab_is_visited),
        in_buffer(a_buffer_without_room_gives_smaller_slabs_then_none),
        cmocka_unit_test(small_buffers_and_no_slabs_do_without),
        cmocka_unit_test(the_table_covers_a_buffer_at_any_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
