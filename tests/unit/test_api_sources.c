/*
 * test_api_sources.c: where memory comes from and where it goes back to: the hooks' protocol, buffers of
 * all sizes and alignments, and regions with flags.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <fcntl.h>
#include <stdalign.h>
#include <unistd.h>

static book_t book;
static arena_t *opened; /* over `book` or `memory`, which must stay as they are while it lives */

static int empty_book(void **state)
{
    (void)state;
    memset(&book, 0, sizeof book);
    return 0;
}

static int closed_book(void **state)
{
    (void)state;
    arena_destroy(opened);
    opened = NULL;
    book_close(&book);
    return 0;
}

static arena_t *open_hooked(unsigned flags)
{
    arena_destroy(opened);
    opened = arena_create(
        &(arena_options_t){.source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&book), .flags = flags});
    assert_non_null(opened);
    return opened;
}

static void close_opened(void)
{
    arena_destroy(opened);
    opened = NULL;
}

/* Allocates over all ranges of sizes, checks contents, and frees all but `kept` of them. */
static void use(arena_t *arena, size_t most, bool clear)
{
    void *blocks[200];
    size_t sizes[200];

    for (size_t i = 0; i < 200; i++) {
        sizes[i] = (i * i * i * 7) % most;
        blocks[i] = clear ? arena_calloc(arena, 1, sizes[i]) : arena_alloc(arena, sizes[i]);
        assert_non_null(blocks[i]);
        if (clear)
            assert_true(all_zero(blocks[i], sizes[i]));
        fill(blocks[i], sizes[i], i);
    }
    assert_int_equal(arena_check(arena), 0);
    for (size_t i = 0; i < 200; i++) {
        assert_true(holds(blocks[i], sizes[i], i));
        assert_ptr_equal(arena_of(blocks[i]), arena);
        arena_free(arena, blocks[i]);
    }
}

static void hooks_are_where_memory_comes_from_and_goes_to(void **state)
{
    (void)state;
    arena_t *arena = open_hooked(0);
    assert_int_equal(book.maps, 0);
    use(arena, 100000, false);
    assert_true(book.maps > 0);
    assert_int_equal(stats_of(arena).mapped_bytes, book.held);
    void *block = arena_alloc(arena, 8 * MIB);
    assert_true(book_find(&book, block, 8 * MIB) != NULL);
    assert_int_equal(stats_of(arena).mapped_bytes, book.held);
    arena_free(arena, block);
    arena_trim(arena, 0);
    assert_int_equal(stats_of(arena).mapped_bytes, book.held);
    assert_true(book.held <= 128 * KIB);
    close_opened();
    assert_int_equal(book.held, 0);
}

static void unaligned_hook_memory_is_managed_too(void **state)
{
    static const size_t skews[] = {4096, 16, 8, 1, 12345};

    (void)state;
    for (size_t i = 0; i < sizeof skews / sizeof skews[0]; i++) {
        book.skew = skews[i];
        arena_t *arena = open_hooked(0);
        use(arena, 60000, false);
        use(arena, 1000, true);
        void *block = arena_aligned_alloc(arena, 4096, 100);
        assert_int_equal((uintptr_t)block % 4096, 0);
        assert_int_equal(stats_of(arena).mapped_bytes, book.held);
        close_opened();
        assert_int_equal(book.held, 0);
    }
}

/* No slab can be of it, so that a class that had earned slabs would wait for them for ever. */
static void an_arena_of_unaligned_memory_grows_by_what_is_used(void **state)
{
    static const size_t sizes[] = {100, 3000, 20000};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        book.skew = 8;
        arena_t *arena = open_hooked(0);
        for (size_t k = 0; k < 2000; k++)
            assert_non_null(arena_alloc(arena, sizes[i]));
        assert_int_equal(arena_check(arena), 0);
        assert_in_range(book.held, 2000 * sizes[i], 3000 * sizes[i] + MIB);
        assert_int_equal(stats_of(arena).cached_blocks, 0);
        close_opened();
    }
}

static void *ask_whose_it_is(void *block)
{
    arena_t *owner = NULL;
    for (int i = 0; i < 10000; i++)
        owner = arena_of(block);
    return owner;
}

/* Its regions are guarded by nothing: ThreadSanitizer would see who looks at them. */
static void no_other_thread_looks_into_an_arena_of_a_single_thread(void **state)
{
    static char outside[100];
    void *owner = NULL;
    pthread_t asking;

    (void)state;
    book.skew = 8;
    arena_t *arena = open_hooked(ARENA_SINGLE_THREAD);
    must(pthread_create(&asking, NULL, ask_whose_it_is, outside) == 0);
    for (size_t i = 0; i < 200; i++)
        assert_non_null(arena_alloc(arena, 20000));
    pthread_join(asking, &owner);
    assert_null(owner);
    assert_null(arena_of(arena_alloc(arena, 100)));
    close_opened();
}

/* The first memory is aligned, and its blocks are cached; what comes then is not. */
static void unaligned_memory_ends_the_caches_of_an_arena(void **state)
{
    static void *blocks[3000];

    (void)state;
    arena_t *arena = open_hooked(0);
    for (size_t i = 0; i < 100; i++)
        blocks[i] = arena_alloc(arena, 500);
    for (size_t i = 0; i < 100; i++)
        arena_free(arena, blocks[i]);
    assert_int_equal(stats_of(arena).cached_blocks != 0, ARENA_TCACHE);
    book.skew = 8;
    for (size_t i = 0; i < 3000; i++)
        blocks[i] = arena_alloc(arena, 500);
    for (size_t i = 0; i < 3000; i++)
        arena_free(arena, blocks[i]);
    assert_int_equal(stats_of(arena).cached_blocks, 0);
    assert_int_equal(stats_of(arena).live_blocks, 0);
    use(arena, 60000, false);
    close_opened();
}

static void what_hooks_do_to_errno_is_not_seen(void **state)
{
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        arena_t *arena = open_hooked(0);
        book.keep = keep != 0;
        errno = 0;
        void *small = arena_alloc(arena, 100);
        void *large = arena_alloc(arena, 8 * MIB);
        assert_true(small != NULL && large != NULL && book.maps >= 2);
        arena_free(arena, large);
        arena_trim(arena, 0);
        arena_free(arena, small);
        assert_int_equal(errno, 0);
        close_opened();
        book_close(&book);
    }
}

static void a_request_that_fills_whole_granules_fits_its_new_region(void **state)
{
    static const size_t skews[] = {0, 1, 8, 4096, 4104, 4111};

    (void)state;
    for (unsigned quantum = 8; quantum <= 16; quantum += 8)
        for (size_t i = 0; i < sizeof skews / sizeof skews[0]; i++)
            for (size_t size = 2 * 64 * KIB - 64; size <= 2 * 64 * KIB + 16; size++) {
                book.skew = skews[i];
                opened = arena_create(&(arena_options_t){
                    .source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&book), .quantum = quantum});
                assert_non_null(arena_alloc(opened, size));
                close_opened();
            }
}

static void dirty_hook_memory_is_cleared_for_calloc(void **state)
{
    (void)state;
    book.dirty = true;
    for (size_t skew = 0; skew < 2; skew++) {
        book.skew = skew * 4096;
        arena_t *arena = open_hooked(0);
        use(arena, 30000, true);
        use(arena, 400000, true);
        arena_trim(arena, 0);
        use(arena, 400000, true);
        close_opened();
        arena = open_hooked(ARENA_ZERO);
        void *block = arena_alloc(arena, 3 * MIB);
        assert_true(all_zero(block, 3 * MIB));
        close_opened();
    }
}

static void an_unmap_that_refuses_leaves_the_memory_usable(void **state)
{
    (void)state;
    book.keep = true;
    arena_t *arena = open_hooked(0);
    for (int round = 0; round < 20; round++) {
        use(arena, 300000, round % 2);
        arena_trim(arena, 0);
        arena_stats_t stats = stats_of(arena);
        assert_int_equal(stats.mapped_bytes, book.held);
        assert_true(stats_add_up(&stats));
        assert_int_equal(arena_check(arena), 0);
    }
    assert_true(book.held < 200 * MIB);
    arena_reset(arena);
    use(arena, 300000, true);
    close_opened();
}

static void *map_within(void *context, size_t bytes, size_t alignment, bool *zeroed)
{
    *zeroed = false;
    return arena_aligned_alloc(context, alignment, bytes);
}

static bool never_unmap(void *context, void *start, size_t bytes)
{
    (void)context;
    (void)start;
    (void)bytes;
    return false;
}

/* The page map can hold one owner of an address: that is the arena whose block it is. */
static void memory_of_another_arena_stays_that_arenas_after_a_reset(void **state)
{
    (void)state;
    arena_t *outer = arena_create(NULL);
    arena_t *inner = arena_create(
        &(arena_options_t){.source = ARENA_SOURCE_HOOKS, .hooks = {map_within, never_unmap, NULL, outer}});
    char *block = arena_alloc(inner, 100);
    assert_non_null(block);
    char *outer_block = (char *)((uintptr_t)block & ~(uintptr_t)(64 * KIB - 1));
    assert_ptr_equal(arena_of(outer_block), outer);
    arena_reset(inner);
    assert_ptr_equal(arena_of(outer_block), outer);
    use(inner, 30000, true);
    arena_destroy(inner);
    assert_int_equal(arena_check(outer), 0);
    arena_free(outer, outer_block);
    arena_destroy(outer);
}

static void a_map_that_fails_is_enomem_and_passes(void **state)
{
    (void)state;
    book.map_limit = 2 * MIB;
    arena_t *arena = open_hooked(0);
    static void *blocks[5000];
    size_t got = 0;
    errno = 0;
    while (got < 5000 && (blocks[got] = arena_alloc(arena, 1000)) != NULL) {
        fill(blocks[got], 1000, got);
        got++;
    }
    assert_true(got > 500 && got < 2200);
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(arena_alloc(arena, 4 * MIB));
    assert_int_equal(errno, ENOMEM);
    for (size_t i = 0; i < got; i++)
        assert_true(holds(blocks[i], 1000, i));
    assert_int_equal(arena_check(arena), 0);
    book.map_limit = 0;
    assert_non_null(arena_alloc(arena, 4 * MIB));
    assert_non_null(arena_alloc(arena, 1000));
    close_opened();
    assert_int_equal(book.held, 0);
}

static void purge_is_told_only_of_free_memory(void **state)
{
    static void *blocks[4000];

    (void)state;
    arena_t *arena = open_hooked(0);
    for (size_t i = 0; i < 4000; i++) {
        blocks[i] = arena_alloc(arena, 10000);
        fill(blocks[i], 10000, i);
    }
    for (size_t i = 0; i < 4000; i++)
        if (i % 40 != 0)
            arena_free(arena, blocks[i]);
    arena_trim(arena, 0); /* the frees may have given some back already */
    assert_true(book.purges > 0);
    assert_true(stats_of(arena).purged_bytes > 20 * MIB);
    for (size_t i = 0; i < 4000; i += 40)
        assert_true(holds(blocks[i], 10000, i));
    use(arena, 20000, true);
    close_opened();
}

static void a_source_without_purge_works(void **state)
{
    arena_hooks_t hooks = book_hooks(&book);

    (void)state;
    hooks.purge = NULL;
    arena_t *arena = opened = arena_create(&(arena_options_t){.source = ARENA_SOURCE_HOOKS, .hooks = hooks});
    use(arena, 100000, true);
    arena_trim(arena, 0);
    use(arena, 100000, true);
    close_opened();
    assert_int_equal(book.held, 0);
}

/* --- buffers --- */

static alignas(64) char memory[MIB + 128];

static arena_t *open_buffer(size_t skew, size_t bytes, unsigned flags)
{
    arena_destroy(opened);
    memset(memory, 0xc3, sizeof memory);
    opened = arena_create(&(arena_options_t){
        .source = ARENA_SOURCE_BUFFER, .buffer = memory + skew, .buffer_bytes = bytes, .flags = flags});
    assert_non_null(opened);
    return opened;
}

static void outside_is_untouched(size_t skew, size_t bytes)
{
    for (size_t i = 0; i < skew; i++)
        assert_int_equal((unsigned char)memory[i], 0xc3);
    for (size_t i = skew + bytes; i < sizeof memory; i++)
        assert_int_equal((unsigned char)memory[i], 0xc3);
}

/* Fills the buffer with blocks of one size, looks at each, frees all; answers how many there were. */
static size_t fill_buffer(arena_t *arena, size_t size, size_t skew, size_t bytes)
{
    static char *blocks[MIB / 8];
    size_t got = 0;

    errno = 0;
    while ((blocks[got] = arena_alloc(arena, size)) != NULL) {
        assert_true(blocks[got] >= memory + skew);
        assert_true(blocks[got] + size <= memory + skew + bytes);
        assert_ptr_equal(arena_of(blocks[got]), arena);
        fill(blocks[got], arena_usable_size(arena, blocks[got]), got);
        got++;
    }
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(arena_check(arena), 0);
    for (size_t i = 0; i < got; i++) {
        assert_true(holds(blocks[i], arena_usable_size(arena, blocks[i]), i));
        arena_free(arena, blocks[i]);
    }
    assert_int_equal(stats_of(arena).live_blocks, 0);
    return got;
}

static void buffers_of_every_size_and_alignment_work_inside_their_bounds(void **state)
{
    static const size_t skews[] = {0, 1, 7, 8, 16, 63};

    (void)state;
    for (size_t bytes = 2048; bytes <= MIB; bytes += bytes / 3)
        for (size_t s = 0; s < sizeof skews / sizeof skews[0]; s++) {
            unsigned flags = (unsigned)(bytes + s) % 4 == 0 ? ARENA_CHECKED
                             : (unsigned)s % 3 == 0         ? ARENA_NO_SLABS
                                                            : 0;
            arena_t *arena = open_buffer(skews[s], bytes, flags);
            for (size_t size = 0; size < bytes / 4; size = size * 4 + 10)
                assert_true(fill_buffer(arena, size, skews[s], bytes) > 0);
            arena_stats_t stats = stats_of(arena);
            assert_true(stats.mapped_bytes <= bytes && stats_add_up(&stats));
            arena_reset(arena);
            assert_true(fill_buffer(arena, 100, skews[s], bytes) > 0);
            close_opened();
            outside_is_untouched(skews[s], bytes);
        }
}

/* A block may cost a header, its rounding, and one block's worth of room at the end. */
static void a_small_buffer_serves_most_of_its_bytes(void **state)
{
    (void)state;
    for (size_t size = 16; size <= 500; size += 44)
        assert_true((fill_buffer(open_buffer(0, 4096, 0), size, 0, 4096) + 1) * (size + 24) >= 2900);
    assert_non_null(arena_alloc(open_buffer(0, 4096, 0), 3000));
    assert_true(fill_buffer(open_buffer(0, 64 * KIB, 0), 64, 0, 64 * KIB) * 64 >= 64 * KIB / 10 * 9);
}

static void calloc_and_zeroing_clear_a_buffers_memory(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags <= ARENA_ZERO; flags += ARENA_ZERO) {
        arena_t *arena = open_buffer(8, 200000, flags);
        for (size_t size = 1; size < 100000; size = size * 2 + 1)
            for (int round = 0; round < 3; round++) {
                void *block = flags ? arena_alloc(arena, size) : arena_calloc(arena, size, 1);
                assert_non_null(block);
                assert_true(all_zero(block, size));
                memset(any_size(block), 0xee, arena_usable_size(arena, block));
                arena_free(arena, block);
            }
        close_opened();
    }
}

static void a_trim_of_a_buffer_gives_nothing_back(void **state)
{
    (void)state;
    arena_t *arena = open_buffer(0, MIB, 0);
    void *block = arena_alloc(arena, 1000);
    fill(block, 1000, 1);
    size_t mapped = stats_of(arena).mapped_bytes;
    assert_int_equal(arena_trim(arena, 0), 0);
    assert_int_equal(stats_of(arena).mapped_bytes, mapped);
    assert_int_equal(stats_of(arena).kernel_calls, 0);
    assert_true(holds(block, 1000, 1));
    close_opened();
}

/* --- regions --- */

static void prefault_makes_the_first_region_resident(void **state)
{
    (void)state;
    arena_t *arena = arena_create(&(arena_options_t){.flags = ARENA_PREFAULT, .first_region_bytes = 8 * MIB});
    assert_non_null(arena_alloc(arena, 100));
    arena_stats_t stats = stats_of(arena);
    assert_true(stats.mapped_bytes >= 8 * MIB);
    assert_true(stats.resident_bytes >= 8 * MIB);
    arena_destroy(arena);
}

static void an_untouched_region_is_not_resident(void **state)
{
    (void)state;
    arena_t *arena = arena_create(&(arena_options_t){.first_region_bytes = 64 * MIB});
    arena_trim(NULL, 0);
    assert_non_null(arena_alloc(arena, 100));
    arena_stats_t stats = stats_of(arena);
    assert_true(stats.mapped_bytes >= 64 * MIB);
    assert_true(stats.resident_bytes < 8 * MIB);
    arena_destroy(arena);
}

static void huge_pages_are_only_a_wish(void **state)
{
    (void)state;
    arena_t *arena =
        arena_create(&(arena_options_t){.flags = ARENA_HUGE_PAGES, .first_region_bytes = 8 * MIB});
    use(arena, 500000, true);
    arena_trim(arena, 0);
    use(arena, 500000, true);
    arena_destroy(arena);
}

static void the_break_serves_all_sizes_and_goes_back(void **state)
{
    (void)state;
    arena_t *arena = arena_create(&(arena_options_t){.source = ARENA_SOURCE_SBRK});
    assert_non_null(arena);
    use(arena, 400000, true);
    void *block = arena_alloc(arena, 16 * MIB);
    char *high = sbrk(0);
    fill(block, 16 * MIB, 1);
    arena_free(arena, block);
    assert_true(arena_trim(arena, 0) > 0);
    assert_true((char *)sbrk(0) <= high);
    assert_true(stats_of(arena).mapped_bytes <= 128 * KIB);
    use(arena, 400000, true);
    arena_destroy(arena);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, empty_book, closed_book)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hooks_are_where_memory_comes_from_and_goes_to),
        TEST(unaligned_hook_memory_is_managed_too),
        TEST(an_arena_of_unaligned_memory_grows_by_what_is_used),
        TEST(no_other_thread_looks_into_an_arena_of_a_single_thread),
        TEST(unaligned_memory_ends_the_caches_of_an_arena),
        TEST(what_hooks_do_to_errno_is_not_seen),
        TEST(a_request_that_fills_whole_granules_fits_its_new_region),
        TEST(dirty_hook_memory_is_cleared_for_calloc),
        TEST(an_unmap_that_refuses_leaves_the_memory_usable),
        TEST(memory_of_another_arena_stays_that_arenas_after_a_reset),
        TEST(a_map_that_fails_is_enomem_and_passes),
        TEST(purge_is_told_only_of_free_memory),
        TEST(a_source_without_purge_works),
        TEST(buffers_of_every_size_and_alignment_work_inside_their_bounds),
        TEST(a_small_buffer_serves_most_of_its_bytes),
        TEST(calloc_and_zeroing_clear_a_buffers_memory),
        TEST(a_trim_of_a_buffer_gives_nothing_back),
        TEST(prefault_makes_the_first_region_resident),
        TEST(an_untouched_region_is_not_resident),
        TEST(huge_pages_are_only_a_wish),
        TEST(the_break_serves_all_sizes_and_goes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
