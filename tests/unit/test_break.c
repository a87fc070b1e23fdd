/*
 * test_break.c: arenas that move the break by pages (ARENA_SOURCE_SBRK, nothing but chunks, growth_bytes below 64 KiB): it stands where
 * their last block ends, what lies above it is not theirs and not read, and it goes back where it was.
 *
 * Between two moves of an arena nothing here calls the C library's malloc, which would move the break, too.
 */
#define _GNU_SOURCE
#include "../../arena/heap.h"
#include "../support.h"

#include <setjmp.h>

enum { PAGE = 4096, THREADS = 4 };

static char message[200];
static jmp_buf back;

static void note(void *context, const char *text, const void *block)
{
    (void)context;
    (void)block;
    snprintf(message, sizeof message, "%s", text);
    longjmp(back, 1);
}

static arena_t *by_pages(size_t growth, size_t threshold)
{
    arena_t *arena = arena_create(&(arena_options_t){.source = ARENA_SOURCE_SBRK,
                                                     .flags = ARENA_NO_CACHE | ARENA_NO_SLABS,
                                                     .growth_bytes = growth,
                                                     .trim_threshold_bytes = threshold,
                                                     .quantum = 8});

    must(arena != NULL);
    return arena;
}

/* In a child, whose break nothing else moves. */
static void in_a_child(void **state)
{
    int (*const *test)(void *) = *state;

    must_end_well(status_of_child(*test, NULL, 60));
}

static int it_grows_by_what_it_was_told(void *unused)
{
    (void)unused;
    must(sbrk(100) != (void *)-1); /* the break need not begin at a page */
    arena_t *arena = by_pages(2 * PAGE, SIZE_MAX);
    char *start = sbrk(0);
    char *first = arena_alloc(arena, 100);
    char *page = (char *)(((uintptr_t)start + PAGE - 1) / PAGE * PAGE);
    must(first == page + 16 && (char *)sbrk(0) == page + (size_t)2 * PAGE);
    must(arena_alloc(arena, 3 * PAGE) != NULL);
    must((char *)sbrk(0) == page + (size_t)6 * PAGE && stats_of(arena).mapped_bytes == (size_t)6 * PAGE);
    must(stats_of(arena).regions == 1 && arena_check(arena) == 0 && arena_of(first) == arena);
    arena_reset(arena);
    must((char *)sbrk(0) == start && stats_of(arena).mapped_bytes == 0);
    must(arena_alloc(arena, 1) == first);
    arena_destroy(arena);
    must((char *)sbrk(0) == start);
    return 0;
}

static int a_limit_is_met_to_the_page(void *unused)
{
    (void)unused;
    arena_t *arena = arena_create(&(arena_options_t){.source = ARENA_SOURCE_SBRK,
                                                     .flags = ARENA_NO_CACHE | ARENA_NO_SLABS,
                                                     .growth_bytes = 2 * PAGE,
                                                     .limit_bytes = 3 * PAGE,
                                                     .quantum = 8});
    char *start = sbrk(0);
    size_t count = 0;
    while (arena_alloc(arena, 504) != NULL)
        count++;
    must(count == (3 * PAGE - 16) / 512 && errno == ENOMEM && arena_check(arena) == 0);
    must((char *)sbrk(0) == start + (size_t)3 * PAGE);
    must(stats_of(arena).peak_mapped_bytes == (size_t)3 * PAGE);
    arena_destroy(arena);
    return 0;
}

static void is_foreign(arena_t *arena, void *address)
{
    message[0] = 0;
    must(arena_of(address) == NULL);
    if (setjmp(back) == 0)
        arena_free(arena, address);
    must(strstr(message, "not a block of this library") != NULL);
}

/* What would be read is not mapped. */
static int addresses_above_the_break_are_foreign(void *unused)
{
    (void)unused;
    arena_t *arena = by_pages(PAGE, SIZE_MAX);
    char *block = arena_alloc(arena, 100);
    char *top = sbrk(0);
    arena_set_error_handler(note, NULL);
    must(block != NULL);
    for (size_t i = 0; i < 2 * 64 * KIB; i += 8)
        is_foreign(arena, top + i);
    arena_free(arena, block);
    arena_trim(arena, 0);
    is_foreign(arena, block);
    return 0;
}

/* The free chunk at the end may be too short to end the page before it, or none at all. */
static int the_break_comes_down_to_the_last_block(void *unused)
{
    (void)unused;
    for (size_t tail = 0; tail <= 96; tail += 8) {
        arena_t *arena = by_pages(PAGE, SIZE_MAX);
        char *start = sbrk(0);
        arena_free(arena, arena_alloc(arena, 3 * PAGE));
        char *last = arena_alloc(arena, PAGE - 24 - tail); /* 8 in front, its header, the sentinel */
        must(last == start + 16);
        size_t usable = arena_usable_size(arena, last);
        fill(last, usable, tail);
        size_t mapped = stats_of(arena).mapped_bytes;
        size_t given = arena_trim(arena, 0);
        size_t left =
            (size_t)((char *)sbrk(0) - last) - usable - 8; /* what is free in front of the sentinel */
        must(given != 0 && stats_of(arena).mapped_bytes == mapped - given && holds(last, usable, tail));
        must((char *)sbrk(0) == start + mapped - given && arena_check(arena) == 0);
        must(left == (tail == 0 || tail >= 32 ? tail : PAGE + tail));
        char *again = arena_calloc(arena, 1, 2 * PAGE);
        must(again != NULL && all_zero(again, 2 * PAGE) && arena_check(arena) == 0);
        arena_free(arena, again);
        arena_free(arena, last);
        arena_trim(arena, 0);
        must((char *)sbrk(0) == start && arena_check(arena) == 0);
        arena_destroy(arena);
    }
    return 0;
}

static int a_trim_keeps_what_it_is_told(void *unused)
{
    (void)unused;
    arena_t *arena = by_pages(PAGE, SIZE_MAX);
    arena_free(arena, arena_alloc(arena, 50 * PAGE));
    for (size_t keep = 40; keep != 0; keep -= 5) {
        arena_trim(arena, keep * PAGE - 100);
        must(stats_of(arena).mapped_bytes == (keep - 1) * PAGE && arena_check(arena) == 0);
    }
    arena_destroy(arena);
    return 0;
}

static int by_itself_the_break_comes_down_by_half_of_what_is_free(void *unused)
{
    (void)unused;
    arena_t *arena = by_pages(PAGE, 8 * PAGE);
    must(arena_alloc(arena, 100) != NULL);
    void *small = arena_alloc(arena, 6 * PAGE), *large = arena_alloc(arena, 32 * PAGE);
    char *top = sbrk(0);
    arena_free(arena, small);
    must((char *)sbrk(0) == top);
    arena_free(arena, large);
    size_t down = (size_t)(top - (char *)sbrk(0)) / PAGE;
    must(down >= 19 && down <= 21 && arena_check(arena) == 0);
    arena_destroy(arena);
    return 0;
}

static int above_a_foreign_break_a_new_region_begins(void *unused)
{
    (void)unused;
    arena_t *arena = by_pages(PAGE, SIZE_MAX);
    char *start = sbrk(0);
    char *low = arena_alloc(arena, 3000);
    char *foreign = sbrk(100);
    memset(foreign, 7, 100);
    char *high = arena_alloc(arena, 3000);
    must(high > foreign + 100 && high < foreign + 2 * PAGE && stats_of(arena).regions == 2);
    fill(low, 3000, 1);
    fill(high, 3000, 2);
    must(arena_of(low) == arena && arena_of(high) == arena && arena_of(foreign + 16) == NULL);
    arena_free(arena, high);
    arena_trim(arena, 0);
    must((char *)sbrk(0) == foreign + 100 && holds(low, 3000, 1) && stats_of(arena).regions == 1);
    arena_free(arena, low);
    arena_trim(arena, 0);
    must((char *)sbrk(0) == foreign + 100 && stats_of(arena).mapped_bytes == PAGE);
    must(arena_calloc(arena, 1, 3000) == low && all_zero(low, 3000)); /* it was refused, not given back */
    arena_free(arena, low);
    for (size_t i = 0; i < 100; i++)
        must(foreign[i] == 7);
    must(sbrk(-100) != (void *)-1 && arena_check(arena) == 0);
    arena_trim(arena, 0);
    must((char *)sbrk(0) == start);
    arena_destroy(arena);
    return 0;
}

/* Granules that lie under foreign bytes are kept as pages, too. */
static int a_region_that_outlives_a_reset_comes_down_later(void *unused)
{
    (void)unused;
    char *start = sbrk(0);
    must(sbrk((intptr_t)(64 * KIB - (uintptr_t)start % (64 * KIB))) != (void *)-1);
    arena_t *arena = by_pages(PAGE, SIZE_MAX);
    start = sbrk(0);
    must(arena_alloc(arena, 100 * KIB) != NULL && sbrk(100) != (void *)-1);
    size_t mapped = stats_of(arena).mapped_bytes;
    arena_reset(arena);
    must(stats_of(arena).mapped_bytes == mapped && arena_check(arena) == 0);
    must(sbrk(-100) != (void *)-1);
    must(arena_trim(arena, 0) == mapped && (char *)sbrk(0) == start && arena_check(arena) == 0);
    arena_destroy(arena);
    return 0;
}

static int what_was_refused_is_not_tried_at_each_free(void *unused)
{
    void *blocks[100];

    (void)unused;
    arena_t *arena = by_pages(PAGE, PAGE);
    must(arena_alloc_batch(arena, 2000, 100, blocks) == 100 && sbrk(100) != (void *)-1);
    uint64_t calls = stats_of(arena).kernel_calls;
    for (size_t i = 100; i-- > 0;)
        arena_free(arena, blocks[i]);
    must(stats_of(arena).kernel_calls <= calls + 1);
    must(sbrk(-100) != (void *)-1 && arena_trim(arena, 0) > 100 * 2000);
    must(stats_of(arena).mapped_bytes == 0);
    arena_destroy(arena);
    return 0;
}

static int the_last_block_grows_in_place(void *unused)
{
    (void)unused;
    arena_t *arena = by_pages(PAGE, SIZE_MAX);
    char *block = arena_alloc(arena, 8);
    for (size_t size = 8; size <= 100 * KIB; size += 64) {
        must(arena_realloc(arena, block, size) == block);
        block[size - 1] = 'x';
    }
    must(stats_of(arena).mapped_bytes < 102 * KIB && arena_check(arena) == 0);
    arena_destroy(arena);
    return 0;
}

static int goes_on(void *context)
{
    arena_t *arena = context;
    char *block = arena_alloc(arena, 20 * PAGE);

    must(block != NULL && arena_check(arena) == 0);
    fill(block, 20 * PAGE, 3);
    arena_free(arena, block);
    must(arena_trim(arena, 0) >= 20 * PAGE && arena_check(arena) == 0);
    arena_destroy(arena);
    return 0;
}

static int a_child_goes_on_and_so_does_its_parent(void *unused)
{
    (void)unused;
    arena_t *arena = by_pages(PAGE, SIZE_MAX);
    char *block = arena_alloc(arena, 1000);
    fill(block, 1000, 4);
    must_end_well(status_of_child(goes_on, arena, 30));
    must(holds(block, 1000, 4));
    return goes_on(arena);
}

static arena_t *shared;
static _Atomic unsigned ready;

static void *hammer(void *argument)
{
    rng_t rng = {(uintptr_t)argument + 1};
    char *blocks[50] = {0};
    size_t sizes[50];

    ready++;
    while (ready < THREADS) /* starting a thread may move the break */
        sched_yield();
    for (size_t step = 0; step < 20000; step++) {
        size_t i = rng_below(&rng, 50);
        if (blocks[i] == NULL) {
            sizes[i] = rng_size(&rng, 13);
            must((blocks[i] = arena_alloc(shared, sizes[i])) != NULL);
            fill(blocks[i], sizes[i], i);
        } else {
            must(holds(blocks[i], sizes[i], i));
            arena_free(shared, blocks[i]);
            blocks[i] = NULL;
        }
        if (step % 500 == 0)
            arena_trim(shared, 0);
        if (step % 1000 == 1)
            must(arena_check(shared) == 0);
    }
    for (size_t i = 0; i < 50; i++)
        arena_free(shared, blocks[i]);
    return NULL;
}

static int threads_share_it(void *unused)
{
    pthread_t threads[THREADS];

    (void)unused;
    shared = by_pages(PAGE, 16 * PAGE);
    for (uintptr_t i = 0; i < THREADS; i++)
        start_thread(&threads[i], hammer, (void *)i);
    for (size_t i = 0; i < THREADS; i++)
        must(pthread_join(threads[i], NULL) == 0);
    must(arena_check(shared) == 0 && stats_of(shared).live_blocks == 0);
    arena_trim(shared, 0);
    must(stats_of(shared).mapped_bytes == 0);
    arena_destroy(shared);
    return 0;
}

#define TEST(name)                                        \
    {                                                     \
#name, in_a_child, NULL, NULL, &(int (*)(void *)) \
        {                                                 \
            name                                          \
        }                                                 \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_grows_by_what_it_was_told),
        TEST(a_limit_is_met_to_the_page),
        TEST(addresses_above_the_break_are_foreign),
        TEST(the_break_comes_down_to_the_last_block),
        TEST(a_trim_keeps_what_it_is_told),
        TEST(by_itself_the_break_comes_down_by_half_of_what_is_free),
        TEST(above_a_foreign_break_a_new_region_begins),
        TEST(a_region_that_outlives_a_reset_comes_down_later),
        TEST(what_was_refused_is_not_tried_at_each_free),
        TEST(the_last_block_grows_in_place),
        TEST(a_child_goes_on_and_so_does_its_parent),
        TEST(threads_share_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
