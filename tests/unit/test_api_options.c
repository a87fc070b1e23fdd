/*
 * test_api_options.c: what arena_create accepts and refuses, names, limits, and that every combination of
 * flags, quantum and fit policy keeps the contracts of allocation.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <stdalign.h>

static alignas(64) char buffer[2 * MIB];

static void is_refused(const arena_options_t *options, int error)
{
    errno = 0;
    arena_t *arena = arena_create(options);
    assert_null(arena);
    assert_int_equal(errno, error);
}

static void bad_enums_flags_and_quanta_are_einval(void **state)
{
    (void)state;
    is_refused(&(arena_options_t){.source = (arena_source_t)4}, EINVAL);
    is_refused(&(arena_options_t){.source = (arena_source_t)0x7fffffff}, EINVAL);
    is_refused(&(arena_options_t){.fit = (arena_fit_t)5}, EINVAL);
    is_refused(&(arena_options_t){.fit = (arena_fit_t)0x7fffffff}, EINVAL);
    for (unsigned bit = 9; bit < 32; bit++)
        is_refused(&(arena_options_t){.flags = 1u << bit}, EINVAL);
    for (unsigned quantum = 1; quantum < 70; quantum++)
        if (quantum != 8 && quantum != 16)
            is_refused(&(arena_options_t){.quantum = quantum}, EINVAL);
}

static void reserved_fields_that_are_not_zero_are_einval(void **state)
{
    arena_options_t options = {0};

    (void)state;
    for (size_t i = 0; i < sizeof options.reserved / sizeof options.reserved[0]; i++) {
        options.reserved[i] = (size_t)1 << (i % 64);
        is_refused(&options, EINVAL);
        options.reserved[i] = 0;
    }
    arena_t *arena = arena_create(&options);
    assert_non_null(arena);
    is_refused(&(arena_options_t){.parent = arena}, EINVAL);
    arena_destroy(arena);
}

static void buffers_and_hooks_must_be_there(void **state)
{
    book_t book = {0};
    arena_hooks_t no_map = book_hooks(&book), no_unmap = book_hooks(&book);

    (void)state;
    no_map.map = NULL;
    no_unmap.unmap = NULL;
    is_refused(&(arena_options_t){.source = ARENA_SOURCE_HOOKS}, EINVAL);
    is_refused(&(arena_options_t){.source = ARENA_SOURCE_HOOKS, .hooks = no_map}, EINVAL);
    is_refused(&(arena_options_t){.source = ARENA_SOURCE_HOOKS, .hooks = no_unmap}, EINVAL);
    is_refused(&(arena_options_t){.source = ARENA_SOURCE_BUFFER, .buffer_bytes = 4096}, EINVAL);
    is_refused(&(arena_options_t){.source = ARENA_SOURCE_BUFFER, .buffer = buffer}, EINVAL);
    is_refused(&(arena_options_t){.source = ARENA_SOURCE_BUFFER, .buffer = buffer, .buffer_bytes = 2047},
               EINVAL);
    is_refused(&(arena_options_t){.source = ARENA_SOURCE_BUFFER,
                                  .buffer = buffer,
                                  .buffer_bytes = sizeof buffer,
                                  .limit_bytes = 2047},
               EINVAL);
}

static void a_limit_holds_for_a_buffer(void **state)
{
    enum { LIMIT = 5000 };

    (void)state;
    memset(buffer, 0x77, sizeof buffer);
    arena_t *arena = arena_create(&(arena_options_t){.source = ARENA_SOURCE_BUFFER,
                                                     .buffer = buffer,
                                                     .buffer_bytes = sizeof buffer,
                                                     .limit_bytes = LIMIT});
    assert_non_null(arena);
    for (void *block; (block = arena_alloc(arena, 100)) != NULL;)
        memset(block, 1, 100);
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(stats_of(arena).peak_mapped_bytes, LIMIT);
    arena_destroy(arena);
    for (size_t i = LIMIT; i < sizeof buffer; i++)
        assert_int_equal(buffer[i], 0x77);
}

static void the_break_has_one_owner_at_a_time(void **state)
{
    arena_options_t options = {.source = ARENA_SOURCE_SBRK};

    (void)state;
    for (int round = 0; round < 3; round++) {
        arena_t *arena = arena_create(&options);
        assert_non_null(arena);
        is_refused(&options, EBUSY);
        void *block = arena_alloc(arena, 100);
        assert_non_null(block);
        is_refused(&options, EBUSY);
        arena_destroy(arena);
    }
}

static void create_without_options_means_defaults(void **state)
{
    (void)state;
    arena_t *plain = arena_create(NULL), *zero = arena_create(&(arena_options_t){0});

    assert_true(plain != NULL && zero != NULL && plain != zero);
    for (size_t size = 0; size < 100000; size = size * 3 / 2 + 1)
        assert_int_equal(arena_good_size(plain, size), arena_good_size(zero, size));
    assert_int_equal(stats_of(plain).mapped_bytes, 0);
    arena_destroy(plain);
    arena_destroy(zero);
}

static void absurd_region_sizes_do_not_hinder_small_requests(void **state)
{
    static const size_t sizes[] = {1, 65537, SIZE_MAX, SIZE_MAX - 65535, PTRDIFF_MAX, (size_t)1 << 46};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        arena_t *arena = arena_create(&(arena_options_t){
            .first_region_bytes = sizes[i], .growth_bytes = sizes[i], .trim_threshold_bytes = sizes[i]});
        assert_non_null(arena);
        void *blocks[100];
        assert_int_equal(arena_alloc_batch(arena, 10000, 100, blocks), 100);
        arena_free_batch(arena, blocks, 100);
        assert_int_equal(arena_check(arena), 0);
        arena_destroy(arena);
    }
}

/* --- names, seen through the error handler --- */

static jmp_buf back;
static char seen[512];

static void keep_message(void *context, const char *message, const void *block)
{
    (void)context;
    (void)block;
    snprintf(seen, sizeof seen, "%s", message);
    longjmp(back, 1);
}

static void name_is_reported(const char *name, const char *expected)
{
    char copy[200] = "", line[300];
    int local;

    snprintf(copy, sizeof copy, "%s", name != NULL ? name : "");
    arena_t *volatile arena = arena_create(&(arena_options_t){.name = name != NULL ? copy : NULL});
    assert_non_null(arena);
    memset(copy, 'X', sizeof copy);
    arena_set_error_handler(keep_message, NULL);
    if (setjmp(back) == 0)
        arena_free(arena, &local);
    arena_set_error_handler(NULL, NULL);
    snprintf(line, sizeof line, "libarena: not a block of this library: block 0x%zx, arena \"%s\"",
             (size_t)&local, expected);
    assert_string_equal(seen, line);
    arena_destroy(arena);
}

static void names_are_copied_to_63_bytes(void **state)
{
    char longest[151];

    (void)state;
    memset(longest, 'n', 150);
    longest[150] = '\0';
    name_is_reported(NULL, "");
    name_is_reported("", "");
    name_is_reported("index", "index");
    name_is_reported(longest + 150 - 62, longest + 150 - 62);
    name_is_reported(longest + 150 - 63, longest + 150 - 63);
    name_is_reported(longest + 150 - 64, longest + 150 - 63);
    name_is_reported(longest, longest + 150 - 63);
}

/* --- limits --- */

static void limit_holds(size_t limit, size_t size, unsigned flags)
{
    enum { MOST = 300000 };
    static void *blocks[MOST];
    arena_t *arena = arena_create(&(arena_options_t){.limit_bytes = limit, .flags = flags});

    assert_non_null(arena);
    for (int round = 0; round < 3; round++) {
        size_t got = 0;
        errno = 0;
        while (got < MOST && (blocks[got] = arena_alloc(arena, size)) != NULL)
            got++;
        assert_true(got < MOST);
        assert_int_equal(errno, ENOMEM);
        arena_stats_t stats = stats_of(arena);
        assert_true(stats.mapped_bytes <= limit && stats.peak_mapped_bytes <= limit);
        assert_true(stats_add_up(&stats));
        if (limit >= 64 * KIB && size * 4 <= limit)
            assert_true(got > 0);
        if (got > 0) {
            arena_free(arena, blocks[got - 1]);
            blocks[got - 1] = arena_alloc(arena, size);
            assert_non_null(blocks[got - 1]);
        }
        arena_free_batch(arena, blocks, got);
        assert_int_equal(stats_of(arena).live_blocks, 0);
    }
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

static void mapped_bytes_never_pass_the_limit(void **state)
{
    static const size_t limits[] = {1, 4096, 65535, 65536, 100000, 200000, MIB, 2 * MIB - 1};
    static const size_t sizes[] = {0, 64, 1000, 10000, 100000, 500000, 4 * MIB};

    (void)state;
    for (size_t l = 0; l < sizeof limits / sizeof limits[0]; l++)
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            limit_holds(limits[l], sizes[s], 0);
            limit_holds(limits[l], sizes[s], ARENA_NO_CACHE);
            limit_holds(limits[l], sizes[s], ARENA_NO_SLABS);
        }
}

static void a_limit_can_be_used_up(void **state)
{
    static const size_t sizes[] = {64, 500, 4000, 30000};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        arena_t *arena = arena_create(&(arena_options_t){.limit_bytes = 4 * MIB});
        while (arena_alloc(arena, sizes[i]) != NULL)
            ;
        arena_stats_t stats = stats_of(arena);
        assert_true(stats.live_bytes >= 4 * MIB / 8 * 7);
        arena_destroy(arena);
    }
}

static void memory_freed_in_one_size_serves_another_under_a_limit(void **state)
{
    static const size_t sizes[] = {3 * MIB, 16, 200000, 2000, 3 * MIB, 20000, 100, 3 * MIB};
    static void *blocks[300000];
    arena_t *arena = arena_create(&(arena_options_t){.limit_bytes = 4 * MIB});

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t got = 0;
        while ((blocks[got] = arena_alloc(arena, sizes[i])) != NULL)
            got++;
        assert_true(got * sizes[i] >= 2 * MIB);
        assert_true(stats_of(arena).peak_mapped_bytes <= 4 * MIB);
        arena_free_batch(arena, blocks, got);
    }
    arena_destroy(arena);
}

static void a_batch_under_a_limit_keeps_what_it_got(void **state)
{
    static void *blocks[5000];
    arena_t *arena = arena_create(&(arena_options_t){.limit_bytes = MIB});

    (void)state;
    errno = 0;
    size_t got = arena_alloc_batch(arena, 1000, 5000, blocks);
    assert_true(got > 500 && got < 1100);
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(stats_of(arena).live_blocks, got);
    for (size_t i = 0; i < got; i++)
        fill(blocks[i], 1000, i);
    for (size_t i = 0; i < got; i++)
        assert_true(holds(blocks[i], 1000, i));
    arena_free_batch(arena, blocks, got);
    assert_int_equal(stats_of(arena).live_blocks, 0);
    arena_destroy(arena);
}

/* --- every configuration --- */

static void good_size_is_exact(arena_t *arena, size_t size)
{
    size_t good = arena_good_size(arena, size);
    void *block = arena_alloc(arena, size);

    if (block == NULL)
        return;
    assert_true(good >= size);
    assert_int_equal(arena_usable_size(arena, block), good);
    arena_free(arena, block);
}

static void contracts_hold(const arena_options_t *options)
{
    arena_t *arena = arena_create(options);
    void *blocks[400];
    size_t granted = 0;

    assert_non_null(arena);
    for (size_t size = 0; size < 3000; size++)
        good_size_is_exact(arena, size);
    size_t steps =
        options->flags & (ARENA_PREFAULT | ARENA_SCRIBBLE) ? 2 : 64; /* there each is made resident */
    for (size_t size = 3000; size < 3 * MIB; size += size / steps)
        good_size_is_exact(arena, size);
    for (size_t i = 0; i < 400; i++) {
        size_t size = i * i / 20, alignment = size < 16 || options->quantum == 8 ? 8 : 16;
        if ((blocks[i] = arena_alloc(arena, size)) == NULL)
            break;
        assert_int_equal((uintptr_t)blocks[i] % alignment, 0);
        if (options->flags & ARENA_ZERO)
            assert_true(all_zero(blocks[i], size));
        memset(any_size(blocks[i]), 0xff, arena_usable_size(arena, blocks[i]));
        granted++;
    }
    assert_int_equal(granted, 400);
    assert_int_equal(arena_check(arena), 0);
    arena_free_batch(arena, blocks, granted);
    arena_stats_t stats = stats_of(arena);
    assert_true(stats_add_up(&stats));
    assert_int_equal(stats.live_bytes, 0);
    arena_trim(arena, 0);
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

static void every_set_of_flags_and_quanta_keeps_the_contracts(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 256; flags += SLOWNESS | 1) /* odd: each bit is in some */
        contracts_hold(&(arena_options_t){.flags = flags,
                                          .quantum = flags % 3 == 0   ? 8
                                                     : flags % 3 == 1 ? 16
                                                                      : 0,
                                          .fit = (arena_fit_t)(flags % 5)});
}

static void every_fit_keeps_the_contracts_on_every_source(void **state)
{
    static book_t aligned, unaligned = {.skew = 4096};

    (void)state;
    for (int fit = ARENA_FIT_GOOD; fit <= ARENA_FIT_NEXT; fit++)
        for (unsigned quantum = 8; quantum <= 16; quantum += 8) {
            arena_options_t options = {.fit = (arena_fit_t)fit, .quantum = quantum};
            contracts_hold(&options);
            options.flags = ARENA_NO_SLABS | ARENA_NO_CACHE;
            contracts_hold(&options);
            options.source = ARENA_SOURCE_SBRK;
            contracts_hold(&options);
            options.source = ARENA_SOURCE_HOOKS;
            options.hooks = book_hooks(&aligned);
            contracts_hold(&options);
            options.hooks = book_hooks(&unaligned);
            contracts_hold(&options);
            options.source = ARENA_SOURCE_BUFFER;
            options.buffer = buffer;
            options.buffer_bytes = sizeof buffer;
            contracts_hold(&options);
            options.flags = 0;
            contracts_hold(&options);
        }
    assert_int_equal(aligned.held + unaligned.held, 0);
}

static void a_zeroing_arena_zeroes_reused_blocks(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 128; flags += 7) {
        arena_t *arena = arena_create(&(arena_options_t){.flags = ARENA_ZERO | flags});
        for (size_t size = 1; size < 4 * MIB; size = size * 2 + 3)
            for (int round = 0; round < 4; round++) {
                void *block = round < 2 ? arena_alloc(arena, size) : arena_aligned_alloc(arena, 256, size),
                     *two[2];
                assert_true(all_zero(block, size));
                memset(any_size(block), 0xff, arena_usable_size(arena, block));
                arena_free(arena, block);
                assert_int_equal(arena_alloc_batch(arena, size, 2, two), 2);
                assert_true(all_zero(two[0], size) && all_zero(two[1], size));
                memset(two[1], 0xff, size);
                arena_free_batch(arena, two, 2);
            }
        arena_destroy(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_enums_flags_and_quanta_are_einval),
        cmocka_unit_test(reserved_fields_that_are_not_zero_are_einval),
        cmocka_unit_test(buffers_and_hooks_must_be_there),
        cmocka_unit_test(a_limit_holds_for_a_buffer),
        cmocka_unit_test(the_break_has_one_owner_at_a_time),
        cmocka_unit_test(create_without_options_means_defaults),
        cmocka_unit_test(absurd_region_sizes_do_not_hinder_small_requests),
        cmocka_unit_test(names_are_copied_to_63_bytes),
        cmocka_unit_test(mapped_bytes_never_pass_the_limit),
        cmocka_unit_test(a_limit_can_be_used_up),
        cmocka_unit_test(memory_freed_in_one_size_serves_another_under_a_limit),
        cmocka_unit_test(a_batch_under_a_limit_keeps_what_it_got),
        cmocka_unit_test(every_set_of_flags_and_quanta_keeps_the_contracts),
        cmocka_unit_test(every_fit_keeps_the_contracts_on_every_source),
        cmocka_unit_test(a_zeroing_arena_zeroes_reused_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
