/* test_watch.c: scribbling, the report of lost blocks, and arena_print, in every kind of arena. */
#define _GNU_SOURCE
#include "../../arena/watch.h"
#include "../support.h"

#include <fcntl.h>

enum { ARENAS = 7 };

static char buffer[8 * MIB];
static book_t books[2];

static arena_t *make_arena(size_t kind, unsigned flags)
{
    arena_options_t options[ARENAS] = {
        {0},
        {.flags = ARENA_NO_SLABS},
        {.flags = ARENA_SINGLE_THREAD, .quantum = 8},
        {.fit = ARENA_FIT_BEST},
        {.source = ARENA_SOURCE_BUFFER, .buffer = buffer, .buffer_bytes = sizeof buffer},
        {.source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&books[0])},
        {.source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&books[1])},
    };

    books[1].skew = 16;
    options[kind].flags |= flags;
    options[kind].name = "watched";
    arena_t *arena = arena_create(&options[kind]);
    must(arena != NULL);
    return arena;
}

static bool all_are(const void *block, size_t bytes, unsigned char byte)
{
    const unsigned char *at = any_size((void *)(uintptr_t)block);

    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != byte)
            return false;
    }
    return true;
}

/* --- scribbling --- */

static const size_t sizes[] = {1, 16, 100, 1000, 5000, 40000, 300000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static void new_blocks_are_filled(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < ARENAS; kind++) {
        arena_t *arena = make_arena(kind, ARENA_SCRIBBLE);
        for (size_t round = 0; round < 2; round++) {
            for (size_t i = 0; i < SIZES; i++) {
                char *block = arena_alloc(arena, sizes[i]), *named = arena_alloc_named(arena, sizes[i], "n");
                char *aligned = arena_aligned_alloc(arena, 64, sizes[i]);
                char *zero = arena_calloc(arena, 1, sizes[i]);
                assert_true(all_are(block, arena_usable_size(arena, block), 0xaa));
                assert_true(all_are(named, arena_usable_size(arena, named), 0xaa));
                assert_true(all_are(aligned, arena_usable_size(arena, aligned), 0xaa));
                assert_true(all_zero(zero, sizes[i]));
                arena_free_batch(arena, (void *[]){block, named, aligned, zero}, 4);
            }
        }
        assert_int_equal(arena_check(arena), 0);
        arena_destroy(arena);
    }
}

/* But for the links and footers that free chunks have. */
static void freed_blocks_are_filled(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < ARENAS; kind++) {
        arena_t *arena = make_arena(kind, ARENA_SCRIBBLE);
        for (size_t i = 0; i < SIZES; i++) {
            void *keep = arena_alloc(arena, sizes[i]);
            char *block = arena_alloc(arena, sizes[i]), *behind = arena_alloc(arena, sizes[i]);
            if (sizes[i] >= 300000 && kind != 4)
                continue; /* is unmapped */
            memset(block, 1, sizes[i]);
            size_t usable = arena_usable_size(arena, block);
            arena_free(arena, block);
            if (usable > 40)
                assert_true(all_are(block + 32, usable - 40, 0x55));
            else
                assert_true(block[0] != 1);
            arena_free(arena, keep);
            arena_free(arena, behind);
        }
        arena_destroy(arena);
    }
}

static void a_resized_block_is_filled_where_it_is_new(void **state)
{
    static const size_t steps[] = {10, 50, 40, 700, 3000, 20000, 9000, 200000, 600000, 100, 5};

    (void)state;
    for (size_t kind = 0; kind < ARENAS; kind++) {
        arena_t *arena = make_arena(kind, ARENA_SCRIBBLE);
        char *block = arena_alloc(arena, 1);
        size_t old = arena_usable_size(arena, block);
        memset(any_size(block), 7, old);
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            block = arena_realloc(arena, block, steps[i]);
            size_t usable = arena_usable_size(arena, block), kept = old < steps[i] ? old : steps[i];
            assert_true(all_are(block, kept, 7));
            if (usable > old && steps[i] >= old)
                assert_true(all_are(block + old, usable - old, 0xaa));
            memset(any_size(block), 7, old = usable);
        }
        assert_int_equal(arena_check(arena), 0);
        arena_destroy(arena);
    }
}

static void zeroed_arenas_stay_zeroed(void **state)
{
    arena_t *arena = make_arena(0, ARENA_SCRIBBLE | ARENA_ZERO);

    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        void *block = arena_alloc(arena, sizes[i]);
        assert_true(all_zero(block, sizes[i]));
        arena_free(arena, block);
    }
    arena_destroy(arena);
}

static void it_is_switched_at_any_time(void **state)
{
    arena_t *arena = arena_create(NULL);
    char *block = arena_alloc(arena, 100);

    (void)state;
    memset(block, 1, 100);
    arena_free(arena, block);
    watch_switch(arena, WATCH_SCRIBBLE, true);
    assert_int_equal(stats_of(arena).cached_blocks, 0);
    block = arena_alloc(arena, 100);
    assert_true(all_are(block, 100, 0xaa));
    arena_free(arena, block);
    watch_switch(arena, WATCH_SCRIBBLE, false);
    block = arena_alloc(arena, 100);
    memset(block, 1, 100);
    arena_free(arena, block);
    assert_int_equal(stats_of(arena).cached_blocks, ARENA_TCACHE ? 1 : 0);
    arena_destroy(arena);
}

/* --- what is written to a descriptor --- */

static char written[MIB];

/* Runs `body` with a file in the place of `fd`; what it wrote there is in `written`. */
static void capture(int fd, void (*body)(arena_t *), arena_t *arena)
{
    char path[] = "/tmp/libarena-out-XXXXXX";
    int file = mkstemp(path), saved = dup(fd);

    must(file >= 0 && saved >= 0);
    fflush(NULL);
    must(dup2(file, fd) == fd);
    body(arena);
    must(dup2(saved, fd) == fd);
    ssize_t length = pread(file, written, sizeof written - 1, 0);
    must(length >= 0);
    written[length] = 0;
    close(file);
    close(saved);
    unlink(path);
}

static void expect_line(const char *format, ...)
{
    char line[500];
    va_list values;

    va_start(values, format);
    vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (count_in(written, line) != 1)
        fprintf(stderr, "expected once: %s\nin: %s\n", line, written);
    assert_int_equal(count_in(written, line), 1);
}

static void lost_blocks_are_reported_at_destroy(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < ARENAS; kind++) {
        arena_t *arena = make_arena(kind, ARENA_LEAKS);
        char *one = arena_alloc_named(arena, 100, "first of all"), *two = arena_alloc(arena, 3000);
        char *large = arena_alloc_named(arena, 1000000, "large");
        for (size_t i = 0; i < 200; i++)
            arena_free(arena, arena_alloc(arena, i)); /* cached ones are not lost */
        size_t usable[3] = {arena_usable_size(arena, one), arena_usable_size(arena, two),
                            arena_usable_size(arena, large)};
        capture(STDERR_FILENO, arena_destroy, arena);
        expect_line("libarena: lost: block %p, %zu bytes, name \"first of all\", arena \"watched\"\n", one,
                    usable[0]);
        expect_line("libarena: lost: block %p, %zu bytes, name \"\", arena \"watched\"\n", two, usable[1]);
        expect_line("libarena: lost: block %p, %zu bytes, name \"large\", arena \"watched\"\n", large,
                    usable[2]);
        expect_line("libarena: lost: 3 blocks, %zu bytes in all, arena \"watched\"\n",
                    usable[0] + usable[1] + usable[2]);
        assert_int_equal(count_in(written, "\n"), 4);
    }
}

static void nothing_lost_is_nothing_reported(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < ARENAS; kind++) {
        arena_t *arena = make_arena(kind, ARENA_LEAKS);
        for (size_t i = 0; i < 200; i++)
            arena_free(arena, arena_alloc(arena, i * i));
        capture(STDERR_FILENO, arena_destroy, arena);
        assert_string_equal(written, "");
        arena = make_arena(kind, 0);
        must(arena_alloc(arena, 10) != NULL);
        capture(STDERR_FILENO, arena_destroy, arena); /* it was not asked for */
        assert_string_equal(written, "");
    }
}

static void a_long_name_is_cut_in_the_report(void **state)
{
    char name[1000];
    arena_t *arena = make_arena(0, 0);

    (void)state;
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    watch_switch(arena, WATCH_LEAKS, true);
    must(arena_alloc_named(arena, 10, name) != NULL);
    capture(STDERR_FILENO, arena_destroy, arena);
    assert_int_equal(count_in(written, "nnn...\", arena \"watched\"\n"), 1);
    assert_int_equal(count_in(written, "1 block, "), 1);
}

static int print_fd = -1;

static void print(arena_t *arena)
{
    assert_true(arena_print(arena, print_fd));
}

/* Every block of the walk is a line, and every line's span is one of the walk. */
static int expect_block(void *context, const arena_block_t *block)
{
    static const char *const states[] = {"USED", "CACHED", "FREE"};

    ++*(size_t *)context;
    expect_line("    %p     %p %11zu  %-6s  %s\n", block->start,
                (void *)((char *)block->start + block->usable - 1), block->usable, states[block->state],
                block->name == NULL ? "-" : block->name);
    return 0;
}

static void print_shows_regions_blocks_and_free_lists(void **state)
{
    (void)state;
    must((print_fd = open("/dev/null", O_WRONLY)) >= 0);
    for (size_t kind = 0; kind < ARENAS; kind++) {
        arena_t *arena = make_arena(kind, 0);
        char *blocks[60];
        for (size_t i = 0; i < 60; i++)
            must((blocks[i] = arena_alloc(arena, 1000 + 100 * i)) != NULL);
        for (size_t i = 0; i < 60; i += 3)
            must(arena_set_name(arena, blocks[i], "a\nb"));
        for (size_t i = 1; i < 60; i += 3)
            arena_free(arena, blocks[i]);
        arena_stats_t before = stats_of(arena);
        capture(print_fd, print, arena);
        arena_stats_t after = stats_of(arena);
        assert_int_equal(before.allocations, after.allocations); /* it takes nothing from the arena */
        assert_int_equal(before.mapped_bytes, after.mapped_bytes);
        assert_int_equal(count_in(written, "arena \"watched\"\n"), 1);
        assert_int_equal(count_in(written, "USED    a\\x0ab\n"), 20);
        assert_int_equal(count_in(written, "  USED    "), before.live_blocks);
        assert_int_equal(count_in(written, "  CACHED  "), before.cached_blocks);
        assert_true(count_in(written, "free chunks by size\n") == 1);
        assert_true(count_in(written, "  mmap\n") + count_in(written, "  buffer\n") +
                        count_in(written, "  hooks\n") ==
                    after.regions);
        arena_destroy(arena);
    }
    close(print_fd);
}

static void print_and_walk_agree(void **state)
{
    arena_t *arena = make_arena(0, 0);
    size_t blocks = 0;

    (void)state;
    must((print_fd = open("/dev/null", O_WRONLY)) >= 0);
    for (size_t i = 0; i < 40; i++)
        must(arena_alloc_named(arena, 3000 + 500 * i, i % 2 == 0 ? "even" : NULL) != NULL);
    arena_free(arena, arena_alloc(arena, 100));
    capture(print_fd, print, arena);
    must(arena_walk(arena, expect_block, &blocks) == 0);
    assert_int_equal(count_in(written, "  USED    ") + count_in(written, "  CACHED  ") +
                         count_in(written, "  FREE    "),
                     blocks);
    close(print_fd);
    arena_destroy(arena);
}

static void print_answers_errors(void **state)
{
    arena_t *arena = make_arena(0, 0);
    int full = open("/dev/full", O_WRONLY);

    (void)state;
    must(arena_alloc(arena, 10) != NULL && full >= 0);
    errno = 0;
    assert_false(arena_print(NULL, 1));
    assert_int_equal(errno, EINVAL);
    assert_false(arena_print(arena, -1));
    assert_int_equal(errno, EBADF);
    assert_false(arena_print(arena, full));
    assert_int_equal(errno, ENOSPC);
    close(full);
    arena_destroy(arena);
}

static void a_name_longer_than_a_page_is_printed(void **state)
{
    static char name[20000];
    arena_t *arena = make_arena(0, 0);

    (void)state;
    must((print_fd = open("/dev/null", O_WRONLY)) >= 0);
    memset(name, 'x', sizeof name - 1);
    must(arena_alloc_named(arena, 10, name) != NULL);
    capture(print_fd, print, arena);
    assert_int_equal(count_in(written, name), 1);
    close(print_fd);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_blocks_are_filled),
        cmocka_unit_test(freed_blocks_are_filled),
        cmocka_unit_test(a_resized_block_is_filled_where_it_is_new),
        cmocka_unit_test(zeroed_arenas_stay_zeroed),
        cmocka_unit_test(it_is_switched_at_any_time),
        cmocka_unit_test(lost_blocks_are_reported_at_destroy),
        cmocka_unit_test(nothing_lost_is_nothing_reported),
        cmocka_unit_test(a_long_name_is_cut_in_the_report),
        cmocka_unit_test(print_shows_regions_blocks_and_free_lists),
        cmocka_unit_test(print_and_walk_agree),
        cmocka_unit_test(print_answers_errors),
        cmocka_unit_test(a_name_longer_than_a_page_is_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
