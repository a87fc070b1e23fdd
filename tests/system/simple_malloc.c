/*
 * simple_malloc.c: what the lecture on a simple malloc asks of one, each claim with its figures: the size in front of
 * the block, the free list in the free blocks, merging, large blocks straight from the kernel and back, and memory
 * that serves small blocks first and large ones then, under an address space of 16 MiB.
 *
 * The first claims are about the design of the lecture: ARENA_NO_CACHE | ARENA_NO_SLABS. What must hold in
 * every arena is tried with other options too.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <sys/resource.h>

enum { SIMPLE = ARENA_NO_CACHE | ARENA_NO_SLABS, HEADER = 8, SMALLEST_CHUNK = 32 };

/* The word in front of a block: its size in bits 3 to 47, flags below, class and seal above. */
static size_t size_in_front(void *block)
{
    uint64_t word;

    memcpy(&word, (char *)any_size(block) - HEADER, sizeof word);
    return (size_t)(word & 0xfffffffffff8u);
}

static void the_size_is_in_front_of_the_block(void **state)
{
    arena_t *arena = arena_create(&(arena_options_t){.flags = SIMPLE, .quantum = 8});
    enum { COUNT = (600 - 24) / 8 };
    size_t asked = 0, obtained = 0;

    (void)state;
    char *previous = arena_alloc(arena, 40);
    for (size_t request = 24; request < 600; request += 8) {
        char *block = arena_alloc(arena, request);
        assert_int_equal(size_in_front(block), request + HEADER);
        assert_int_equal(arena_usable_size(arena, block), request);
        assert_ptr_equal(block, previous + size_in_front(previous));
        asked += request;
        obtained += size_in_front(block);
        previous = block;
    }
    printf("overhead of a block in use: %zu bytes\n", (obtained - asked) / COUNT);
    assert_int_equal(obtained - asked, COUNT * HEADER);
    arena_destroy(arena);
}

/* The links of a free block are its first two words, and lead to the header of another one. */
static void the_free_list_is_in_the_free_blocks(void **state)
{
    arena_t *arena = arena_create(&(arena_options_t){.flags = SIMPLE});
    char *blocks[7], *next;

    (void)state;
    for (size_t i = 0; i < 7; i++)
        blocks[i] = arena_alloc(arena, 100);
    size_t mapped = stats_of(arena).mapped_bytes;
    for (size_t i = 1; i < 7; i += 2)
        arena_free(arena, blocks[i]);
    memcpy(&next, blocks[5], sizeof next);
    assert_ptr_equal(next + HEADER, blocks[3]);
    memcpy(&next, blocks[3], sizeof next);
    assert_ptr_equal(next + HEADER, blocks[1]);
    assert_int_equal(stats_of(arena).mapped_bytes, mapped);
    assert_int_equal(size_in_front(arena_alloc(arena, 1)),
                     SMALLEST_CHUNK); /* header, two links, size again */
    arena_destroy(arena);
}

static void ten_of_200_blocks_freed_in_a_row_hold_one_of_5000(const arena_options_t *options)
{
    arena_t *arena = arena_create(options);
    char *blocks[200];

    for (size_t i = 0; i < 200; i++) {
        blocks[i] = arena_alloc(arena, 800);
        fill(blocks[i], 800, i);
    }
    arena_stats_t before = stats_of(arena);
    for (size_t i = 0; i < 10; i++)
        arena_free(arena, blocks[i]);
    char *large = arena_alloc(arena, 5000);
    fill(large, 5000, 1000);
    arena_stats_t after = stats_of(arena);
    assert_int_equal(after.mapped_bytes, before.mapped_bytes);
    assert_int_equal(after.kernel_calls, before.kernel_calls);
    if (options->fit == ARENA_FIT_FIRST)
        assert_ptr_equal(large, blocks[0]);
    for (size_t i = 10; i < 200; i++)
        assert_true(holds(blocks[i], 800, i));
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

static void freed_neighbours_hold_a_larger_block(void **state)
{
    static const arena_fit_t fits[] = {ARENA_FIT_GOOD, ARENA_FIT_FIRST, ARENA_FIT_BEST, ARENA_FIT_WORST,
                                       ARENA_FIT_NEXT};

    (void)state;
    for (size_t i = 0; i < sizeof fits / sizeof fits[0]; i++)
        ten_of_200_blocks_freed_in_a_row_hold_one_of_5000(
            &(arena_options_t){.flags = SIMPLE, .fit = fits[i]});
    ten_of_200_blocks_freed_in_a_row_hold_one_of_5000(&(arena_options_t){0});
    ten_of_200_blocks_freed_in_a_row_hold_one_of_5000(&(arena_options_t){.flags = ARENA_NO_CACHE});
}

typedef struct {
    const char *from, *to;
    size_t count, bytes;
} free_blocks_t;

static int count_free(void *context, const arena_block_t *block)
{
    free_blocks_t *found = context;
    const char *start = block->start;

    if (block->state == ARENA_BLOCK_FREE && start >= found->from && start < found->to) {
        found->count++;
        found->bytes += block->usable;
    }
    return 0;
}

static free_blocks_t free_between(arena_t *arena, const char *from, const char *to)
{
    free_blocks_t found = {from, to, 0, 0};

    assert_int_equal(arena_walk(arena, count_free, &found), 0);
    return found;
}

static void a_and_c_free_then_b_make_one_block(void **state)
{
    arena_t *arena = arena_create(&(arena_options_t){.flags = SIMPLE});
    char *a = arena_alloc(arena, 1000), *b = arena_alloc(arena, 1000), *c = arena_alloc(arena, 1000);
    char *end = arena_alloc(arena, 1000);

    (void)state;
    assert_true(a < b && b < c && c < end);
    arena_free(arena, a);
    arena_free(arena, c);
    assert_int_equal(free_between(arena, a, end).count, 2);
    arena_free(arena, b);
    free_blocks_t found = free_between(arena, a, end);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.bytes, (size_t)(end - a) - HEADER);
    assert_ptr_equal(arena_alloc(arena, found.bytes), a);
    assert_int_equal(free_between(arena, a, end).count, 0);
    arena_destroy(arena);
}

/* Pages of the whole process: [0] of address space, [1] resident. */
static void measure(size_t pages[2])
{
    FILE *file = fopen("/proc/self/statm", "r");

    must(file != NULL && fscanf(file, "%zu %zu", &pages[0], &pages[1]) == 2);
    fclose(file);
}

/* The first block of those addresses leaves a leaf of the page map, which stays; the second nothing. */
static void ten_gb_untouched_and_freed_are_given_back_at_once(void **state)
{
    static const unsigned flags[] = {0, 0, SIMPLE};
    const size_t bytes = 10000000000u, page = (size_t)sysconf(_SC_PAGESIZE);

    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        size_t before[2], held[2], after[2];
        arena_t *arena = arena_create(&(arena_options_t){.flags = flags[i]});
        arena_free(arena, arena_alloc(arena, 100)); /* the arena's own memory is mapped */
        measure(before);
        void *block = arena_alloc(arena, bytes);
        if (block == NULL) {
            printf("skipped: this machine grants no 10 GB of address space\n");
            skip();
        }
        measure(held);
        arena_free(arena, block);
        measure(after);
        printf("10 GB: %ld MB more address space, %ld KB resident; freed: %ld KB more\n",
               (long)(held[0] - before[0]) * (long)page / 1000000,
               (long)(held[1] - before[1]) * (long)page / 1000,
               (long)(after[0] - before[0]) * (long)page / 1000);
        /* it takes the place of what lies idle, less than 1 MiB */
        assert_true(held[0] * page + MIB >= before[0] * page + bytes);
        assert_true(held[1] * page < before[1] * page + MIB);
        assert_true(after[0] * page <= before[0] * page + 4 * MIB); /* a leaf of the page map may stay */
        arena_destroy(arena);
    }
}

enum { NINE_MB = 9000000, SMALL = 1000 };

static char *small_blocks[NINE_MB / SMALL];

/* Nine of 16 MiB do not stand beside nine: the small blocks' memory must serve the large one, and back. */
static int nine_mb_in_small_blocks_then_in_one(void *context)
{
    const arena_options_t *options = context;

    size_t pages[2];
    measure(pages);
    rlim_t beside = pages[0] * (rlim_t)sysconf(_SC_PAGESIZE) + 13 * MIB;
    rlim_t limit =
        beside < 16 * MIB || SLOWNESS == 1 ? 16 * MIB : beside; /* what a sanitizer maps is its own */
    must(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}) == 0);
    arena_t *arena = arena_create(options);
    for (unsigned turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < NINE_MB / SMALL; i++) {
            must((small_blocks[i] = arena_alloc(arena, SMALL)) != NULL);
            fill(small_blocks[i], SMALL, i);
        }
        must(arena_alloc(arena, NINE_MB) == NULL && errno == ENOMEM);
        for (size_t i = 0; i < NINE_MB / SMALL; i++) {
            must(holds(small_blocks[i], SMALL, i));
            arena_free(arena, small_blocks[i]);
        }
        char *one = arena_alloc(arena, NINE_MB);
        must(one != NULL);
        fill(one, NINE_MB, turn);
        must(holds(one, NINE_MB, turn));
        arena_free(arena, one);
    }
    must(arena_check(arena) == 0);
    arena_destroy(arena);
    return 0;
}

static void small_blocks_serve_a_large_one_under_16_mib(void **state)
{
    static arena_options_t options[] = {
        {0},
        {.flags = ARENA_NO_CACHE},
        {.flags = SIMPLE},
        {.flags = SIMPLE, .quantum = 8, .fit = ARENA_FIT_BEST},
        {.source = ARENA_SOURCE_SBRK},
    };

    (void)state;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        must_end_well(status_of_child(nine_mb_in_small_blocks_then_in_one, &options[i], 60));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* first: a small process is left the most */
        cmocka_unit_test(small_blocks_serve_a_large_one_under_16_mib),
        cmocka_unit_test(the_size_is_in_front_of_the_block),
        cmocka_unit_test(the_free_list_is_in_the_free_blocks),
        cmocka_unit_test(freed_neighbours_hold_a_larger_block),
        cmocka_unit_test(a_and_c_free_then_b_make_one_block),
        cmocka_unit_test(ten_gb_untouched_and_freed_are_given_back_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
