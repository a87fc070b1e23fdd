/* test_large.c: blocks with a mapping of their own: their one page-map entry, the threshold, mremap, the limit. */
#define _GNU_SOURCE
#include "../../arena/large.h"

#include "../../arena/alloc.h"
#include "../../arena/os.h"
#include "../../arena/pagemap.h"
#include "../../arena/region.h"
#include "layer.h"
#include "one_arena.h"

static int open_layer(void **state)
{
    (void)state;
    arena = layer_arena(0, 4);
    return 0;
}

static void *take(size_t request)
{
    bool zero;

    return large_alloc(arena, request, 16, &zero);
}

static void put(void *block)
{
    assert_int_equal(large_free(arena, block, 0), MISUSE_NONE);
}

static void a_block_is_whole_pages_of_zeroes_on_a_granule(void **state)
{
    bool zero = false;

    (void)state;
    char *block = large_alloc(arena, 300001, 16, &zero);
    assert_non_null(block);
    assert_true(zero);
    assert_true(is_aligned(block, GRANULE));
    size_t usable = large_usable(arena, block);
    assert_int_equal(usable, align_up(300001, os_page_bytes()));
    assert_int_equal(usable, large_good_size(arena, 300001));
    assert_true(all_zero(block, usable));
    fill(block, usable, 1);
    assert_int_equal(arena->totals.mapped_bytes, usable);
    assert_int_equal(arena->totals.large_bytes, usable);
    assert_int_equal(arena->totals.large_blocks, 1);
    put(block);
    assert_int_equal(arena->totals.mapped_bytes, 0);
    assert_int_equal(arena->totals.large_bytes, 0);
    assert_int_equal(arena->totals.large_blocks, 0);
}

static void only_the_first_granule_has_an_entry(void **state)
{
    (void)state;
    char *block = take(5 * GRANULE);
    assert_int_equal(pagemap_entry(block), arena->tag | KIND_LARGE);
    for (size_t granule = 1; granule < 5; granule++)
        assert_int_equal(pagemap_entry(block + granule * GRANULE), 0);
    put(block);
    assert_int_equal(pagemap_entry(block), 0);
}

/* Or each 4 GiB that are passed would leave a leaf of the page map for ever. */
static void coming_and_going_does_not_wander_through_the_addresses(void **state)
{
    (void)state;
    put(take(64 * MIB));
    size_t leaves = pagemap_mapped_bytes();
    for (size_t i = 0; i < 1000; i++) {
        void *first = take(64 * MIB), *second = take(i % 2 == 0 ? 48 * MIB : 80 * MIB);
        put(i % 3 == 0 ? first : second);
        put(i % 3 == 0 ? second : first);
    }
    assert_true(pagemap_mapped_bytes() - leaves <= 2 * sizeof(pagemap_leaf_t));
}

static void an_alignment_beyond_a_granule_is_kept(void **state)
{
    (void)state;
    for (size_t alignment = GRANULE; alignment <= 16 * MIB; alignment *= 4) {
        bool zero;
        void *block = large_alloc(arena, 300000, alignment, &zero);
        assert_non_null(block);
        assert_true(is_aligned(block, alignment));
        put(block);
    }
}

static void a_pointer_into_the_block_is_interior(void **state)
{
    (void)state;
    char *block = take(5 * GRANULE);
    assert_int_equal(large_free(arena, block + 16, 0), MISUSE_INTERIOR);
    assert_int_equal(large_free(arena, block + GRANULE, 0), MISUSE_INTERIOR);
    assert_int_equal(large_usable(arena, block + 16), 0);
    assert_null(large_realloc(arena, block + 16, 100, 0, NULL));
    assert_int_equal(arena->totals.large_blocks, 1);
    put(block);
}

static void another_arenas_block_is_not_taken(void **state)
{
    arena_t *other = layer_arena(0, 4);
    bool zero;

    (void)state;
    void *block = large_alloc(other, 300000, 16, &zero);
    assert_int_not_equal(large_free(arena, block, 0), MISUSE_NONE);
    assert_int_equal(large_usable(arena, block), 0);
    assert_int_equal(large_usable(other, block), large_good_size(other, 300000));
    arena_destroy(other);
}

static void the_threshold_rises_with_what_is_freed(void **state)
{
    (void)state;
    assert_int_equal(arena->large_threshold, LARGE_MIN_BYTES);
    put(take(MIB));
    assert_true(arena->large_threshold > MIB);
    size_t risen = arena->large_threshold;
    put(take(300000)); /* smaller ones do not lower it */
    assert_int_equal(arena->large_threshold, risen);
    put(take(LARGE_MAX_BYTES));
    assert_true(arena->large_threshold > LARGE_MAX_BYTES);
    risen = arena->large_threshold;
    put(take(LARGE_MAX_BYTES + MIB)); /* beyond the bound nothing is learnt */
    assert_int_equal(arena->large_threshold, risen);
}

/* As the application sees it: the second time the same size comes out of chunks. */
static void a_size_that_comes_and_goes_is_soon_served_by_chunks(void **state)
{
    (void)state;
    void *block = arena_alloc(arena, MIB);
    assert_int_equal(arena->totals.large_blocks, 1);
    arena_free(arena, block);
    block = arena_alloc(arena, MIB);
    assert_int_equal(arena->totals.large_blocks, 0);
    arena_free(arena, block);
}

static void growing_keeps_the_contents_and_moves_the_entry(void **state)
{
    (void)state;
    char *block = take(300000);
    fill(block, 300000, 5);
    for (size_t bytes = MIB; bytes <= 16 * MIB; bytes *= 2) {
        void *fence =
            mmap(block + large_usable(arena, block), 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        char *moved = large_realloc(arena, block, bytes, 0, NULL);
        assert_non_null(moved);
        assert_true(is_aligned(moved, GRANULE));
        assert_true(holds(moved, 300000, 5));
        assert_true(all_zero(moved + align_up(300000, 4096), bytes - align_up(300000, 4096)));
        assert_int_equal(large_usable(arena, moved), bytes);
        if (moved != block)
            assert_int_equal(pagemap_entry(block), 0);
        assert_int_equal(arena->totals.mapped_bytes, bytes);
        assert_int_equal(arena->totals.large_bytes, bytes);
        assert_int_equal(arena_check(arena), 0);
        if (fence != MAP_FAILED)
            munmap(fence, 4096);
        block = moved;
    }
    put(block);
}

static void shrinking_keeps_the_contents_and_gives_pages_back(void **state)
{
    (void)state;
    char *block = take(4 * MIB);
    fill(block, 4 * MIB, 6);
    char *shrunk = large_realloc(arena, block, MIB + 1, 0, NULL);
    assert_non_null(shrunk);
    size_t usable = large_usable(arena, shrunk);
    assert_int_equal(usable, align_up(MIB + 1, os_page_bytes()));
    assert_true(holds(shrunk, usable / 8 * 8, 6));
    assert_int_equal(arena->totals.mapped_bytes, usable);
    put(shrunk);
}

static void the_same_size_stays_where_it_is(void **state)
{
    (void)state;
    char *block = take(MIB);
    uint64_t calls = arena->totals.kernel_calls;
    assert_ptr_equal(large_realloc(arena, block, MIB - 1, 0, NULL), block);
    assert_int_equal(arena->totals.kernel_calls, calls);
    put(block);
}

static void the_limit_refuses_and_changes_nothing(void **state)
{
    (void)state;
    arena->limit_bytes = 2 * MIB;
    char *block = take(MIB);
    fill(block, MIB, 7);
    assert_null(take(MIB + 1));
    assert_null(large_realloc(arena, block, 2 * MIB + 1, 0, NULL));
    assert_int_equal(arena->totals.mapped_bytes, MIB);
    assert_true(holds(block, MIB, 7));
    block = large_realloc(arena, block, 2 * MIB, 0, NULL);
    assert_non_null(block);
    assert_true(holds(block, MIB, 7));
    put(block);
}

static void an_impossible_size_is_refused(void **state)
{
    (void)state;
    char *block = take(MIB);
    assert_null(take(SIZE_MAX));
    assert_null(take(PTRDIFF_MAX));
    assert_null(take((size_t)1 << 60));
    block = large_realloc(arena, block, 3 * MIB, (size_t)1 << 60, NULL); /* as much as it can */
    assert_int_equal(large_usable(arena, block), 3 * MIB);
    assert_null(large_realloc(arena, block, SIZE_MAX, 0, NULL));
    assert_null(large_realloc(arena, block, (size_t)1 << 60, 0, NULL));
    assert_int_equal(arena->totals.mapped_bytes, 3 * MIB);
    put(block);
}

static void releasing_all_leaves_nothing(void **state)
{
    char *blocks[5];

    (void)state;
    for (size_t i = 0; i < 5; i++)
        blocks[i] = take(MIB + i * GRANULE);
    put(blocks[2]);
    lock_acquire(&arena->grow);
    lock_acquire(&arena->lock);
    large_t *all = large_detach_all_locked(arena);
    lock_release(&arena->lock);
    large_release(arena, all, false);
    lock_release(&arena->grow);
    assert_null(arena->larges);
    assert_int_equal(arena->totals.mapped_bytes, 0);
    assert_int_equal(arena->totals.large_blocks, 0);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(pagemap_entry(blocks[i]), 0);
}

/* --- hooks --- */

static void what_the_hooks_keep_becomes_a_region(void **state)
{
    static book_t book;
    arena_options_t options = {.name = "large",
                               .source = ARENA_SOURCE_HOOKS,
                               .flags = ARENA_SINGLE_THREAD,
                               .hooks = book_hooks(&book),
                               .trim_threshold_bytes = SIZE_MAX};
    bool zero;

    (void)state;
    arena_t *hooked = arena_create(&options);
    void *block = large_alloc(hooked, 300000, 16, &zero);
    assert_non_null(block);
    assert_int_equal(large_usable(hooked, block), align_up(300000, GRANULE));
    assert_null(large_realloc(hooked, block, MIB, 0, NULL)); /* mremap is not for memory that is not ours */
    book.keep = true;
    assert_int_equal(large_free(hooked, block, 0), MISUSE_NONE);
    assert_int_equal(hooked->totals.mapped_bytes, align_up(300000, GRANULE));
    assert_int_equal(hooked->totals.free_run_bytes, align_up(300000, GRANULE));
    assert_non_null(hooked->regions);
    assert_int_equal(arena_check(hooked), 0);
    book.keep = false;
    arena_destroy(hooked);
    assert_int_equal(book.held, 0);
    book_close(&book);
}

/* So that what is resident does not grow by what lies idle beside it. */
static void new_memory_takes_the_place_of_idle_memory(void **state)
{
    enum { BLOCKS = 20, BYTES = 100000 };
    static void *blocks[BLOCKS];

    (void)state;
    arena_t *whole = arena_create(NULL);
    for (size_t i = 0; i < BLOCKS; i++)
        fill(blocks[i] = arena_alloc(whole, BYTES), BYTES, 1);
    void *small = arena_alloc(whole, 5000);
    for (size_t i = 0; i < BLOCKS; i++)
        if (i % 5 != 0) /* nowhere as much as is wanted next */
            arena_free(whole, blocks[i]);
    size_t idle = whole->totals.wide_chunk_bytes;
    assert_true(idle > MIB);
    void *large = arena_alloc(whole, MIB);
    assert_int_equal(pagemap_entry(large), whole->tag | KIND_LARGE);
    arena_free(whole, small);
    assert_true(whole->totals.wide_chunk_bytes + whole->totals.dirty_bytes <= idle - MIB + 2 * GRANULE);
    assert_int_equal(arena_check(whole), 0);
    arena_destroy(whole);
}

/* What is free in one piece serves first, whatever the threshold is. */
static void idle_memory_serves_a_large_request(void **state)
{
    (void)state;
    arena_t *whole = arena_create(&(arena_options_t){.first_region_bytes = 4 * MIB});
    arena_free(whole, arena_alloc(whole, 1000));
    size_t mapped = whole->totals.mapped_bytes;
    char *block = arena_alloc(whole, 2 * MIB);
    assert_int_equal(pagemap_entry(block), whole->tag | KIND_CHUNKS);
    assert_int_equal(whole->totals.mapped_bytes, mapped);
    void *second = arena_alloc(whole, 3 * MIB);
    assert_int_equal(pagemap_entry(second), whole->tag | KIND_LARGE);
    arena_free(whole, block);
    arena_free(whole, second);
    assert_int_equal(arena_check(whole), 0);
    arena_destroy(whole);
}

/* A buffer that is freed and allocated again a little larger: by the threshold alone every other one was mapped, for which
 * what the one before had left was given back. */
static void a_buffer_that_is_made_anew_a_little_larger_makes_few_calls(void **state)
{
    (void)state;
    arena_t *whole = arena_create(NULL);
    void *block = NULL;
    for (size_t bytes = 20000; bytes < 2020000; bytes += 1000) {
        arena_free(whole, block);
        block = arena_alloc(whole, bytes);
        assert_non_null(block);
    }
    assert_true(whole->totals.kernel_calls < 500); /* 405: one a page, from LARGE_MIN_BYTES on */
    arena_destroy(whole);
}

/* Who moves a block into a large one has nothing idle until the old one is freed. */
static void new_memory_takes_the_place_of_what_is_freed_next(void **state)
{
    const size_t old_bytes = 3 * MIB / 2;

    (void)state;
    stock_trim(0);
    arena_t *whole = arena_create(NULL);
    arena_free(whole, arena_alloc(whole, 2 * MIB)); /* the threshold of large blocks rises */
    char *old = arena_alloc(whole, old_bytes);
    must(pagemap_entry(old) == (whole->tag | KIND_CHUNKS));
    fill(old, old_bytes, 1);
    size_t idle = whole->totals.wide_chunk_bytes + whole->totals.dirty_bytes;
    void *large = arena_alloc(whole, 4 * MIB);
    assert_int_equal(pagemap_entry(large), whole->tag | KIND_LARGE);
    arena_free(whole, old);
    assert_true(whole->totals.wide_chunk_bytes + whole->totals.dirty_bytes <= idle + 2 * GRANULE);
    assert_int_equal(arena_check(whole), 0);
    arena_destroy(whole);
}

/* With a fiftieth of it in use, what a tick lets stay is no more than that. */
static void a_tick_leaves_no_more_idle_than_is_in_use(void **state)
{
    enum { BLOCKS = 150, BYTES = 100000, KEPT = 3 };
    static void *blocks[BLOCKS];

    (void)state;
    arena_t *whole = arena_create(&(arena_options_t){.purge_delay_ms = 1000000});
    for (size_t i = 0; i < BLOCKS; i++)
        fill(blocks[i] = arena_alloc(whole, BYTES), BYTES, 1);
    for (size_t i = KEPT; i < BLOCKS; i++)
        arena_free(whole, blocks[i]);
    assert_true(whole->totals.dirty_bytes > 8 * MIB);
    whole->purge_delay_ms = 0; /* due now, and not before */
    alloc_tick(whole);
    const totals_t *totals = &whole->totals;
    assert_true(totals->dirty_bytes <= totals->mapped_bytes - totals->free_run_bytes);
    assert_true(totals->dirty_bytes <= 2 * MIB);
    arena_destroy(whole);
}

#define in_layer(test) cmocka_unit_test_setup_teardown(test, open_layer, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_layer(a_block_is_whole_pages_of_zeroes_on_a_granule),
        in_layer(only_the_first_granule_has_an_entry),
        in_layer(coming_and_going_does_not_wander_through_the_addresses),
        in_layer(an_alignment_beyond_a_granule_is_kept),
        in_layer(a_pointer_into_the_block_is_interior),
        in_layer(another_arenas_block_is_not_taken),
        in_layer(the_threshold_rises_with_what_is_freed),
        in_layer(a_size_that_comes_and_goes_is_soon_served_by_chunks),
        in_layer(growing_keeps_the_contents_and_moves_the_entry),
        in_layer(shrinking_keeps_the_contents_and_gives_pages_back),
        in_layer(the_same_size_stays_where_it_is),
        in_layer(the_limit_refuses_and_changes_nothing),
        in_layer(an_impossible_size_is_refused),
        in_layer(releasing_all_leaves_nothing),
        from_cold(idle_memory_serves_a_large_request),
        from_cold(a_buffer_that_is_made_anew_a_little_larger_makes_few_calls),
        from_cold(new_memory_takes_the_place_of_idle_memory),
        from_cold(new_memory_takes_the_place_of_what_is_freed_next),
        from_cold(a_tick_leaves_no_more_idle_than_is_in_use),
        from_cold(what_the_hooks_keep_becomes_a_region),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
