/*
 * a2.c: the graded points of the A2 assignment, in its notes' order, each with its figure, on one configuration: the one
 * of examples/a2. And, where the notes ask for it in band, on an ordinary arena of chunks.
 *
 * Linked with --wrap, so that the library's system calls for memory are counted. Between the first allocation and
 * the last free of a test nothing here calls the C library's malloc, which would move the break too.
 */
#define _GNU_SOURCE
#include "../support.h"
#include "../wrapped.h"

#include "a2.h"

enum { MANY = 10000, PAGE = 4096 };

static size_t ups, downs, mappings;
static char *ceiling; /* where the kernel stops the break; NULL: nowhere */
static char *blocks[MANY];
static size_t sizes[MANY];

void *__wrap_mmap(void *start, size_t bytes, int protection, int flags, int file, off_t offset)
{
    mappings++;
    return __real_mmap(start, bytes, protection, flags, file, offset);
}

int __wrap_munmap(void *start, size_t bytes)
{
    mappings++;
    return __real_munmap(start, bytes);
}

void *__wrap_mremap(void *start, size_t bytes, size_t new_bytes, int flags, ...)
{
    (void)flags; /* no test here reaches it */
    mappings++;
    return __real_mremap(start, bytes, new_bytes, 0);
}

int __wrap_madvise(void *start, size_t bytes, int advice)
{
    mappings++;
    return __real_madvise(start, bytes, advice);
}

void *__wrap_sbrk(intptr_t increment)
{
    if (ceiling != NULL && increment > ceiling - (char *)__real_sbrk(0)) {
        errno = ENOMEM;
        return (void *)-1;
    }
    ups += increment > 0;
    downs += increment < 0;
    return __real_sbrk(increment);
}

static char *break_now(void)
{
    return __real_sbrk(0);
}

/* The end of each test of examples/a2. */
static int used_nothing_but_the_break(void)
{
    must(mappings == 0 && ups > 0);
    return 0;
}

static size_t allocate(size_t count, size_t most, rng_t *rng)
{
    size_t asked = 0;

    for (size_t i = 0; i < count; i++) {
        sizes[i] = rng == NULL ? most : 1 + rng_below(rng, most);
        must((blocks[i] = mymalloc(sizes[i])) != NULL);
        fill(blocks[i], sizes[i], i);
        asked += sizes[i];
    }
    return asked;
}

static void release(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        must(holds(blocks[i], sizes[i], i));
        myfree(blocks[i]);
    }
}

static int malloc_aligns_to_8(void *unused)
{
    rng_t rng = {1};

    (void)unused;
    allocate(1000, 300, &rng);
    for (size_t i = 0; i < 1000; i++)
        must((uintptr_t)blocks[i] % 8 == 0);
    release(1000);
    char *empty = mymalloc(0), *other = mymalloc(0);
    must(empty != NULL && other != NULL && empty != other);
    myfree(empty);
    myfree(other);
    myfree(NULL);
    errno = 0;
    must(mymalloc(SIZE_MAX) == NULL && errno == ENOMEM);
    printf("alignment: 1,000 of 1,000 blocks at multiples of 8\n");
    return used_nothing_but_the_break();
}

static int calloc_clears_and_minds_overflow(void *unused)
{
    (void)unused;
    allocate(100, 400, NULL);
    release(100);
    for (size_t i = 0; i < 100; i++) {
        must((blocks[i] = mycalloc(50, 8)) != NULL);
        must(all_zero(blocks[i], 400));
    }
    for (size_t i = 0; i < 100; i++)
        myfree(blocks[i]);
    errno = 0;
    must(mycalloc(SIZE_MAX / 2, 3) == NULL && errno == ENOMEM);
    printf("calloc: 100 reused blocks of 400 bytes read as zero\n");
    return used_nothing_but_the_break();
}

static int freed_blocks_are_reused_split_and_merged(void *unused)
{
    rng_t rng = {2};
    char *held[4];

    (void)unused;
    for (size_t i = 0; i < 4; i++)
        held[i] = mymalloc(400);
    myfree(held[1]);
    char *left = mymalloc(200), *right = mymalloc(200);
    must(left == held[1] && right == left + 200); /* split */
    myfree(left);
    myfree(right);
    myfree(held[2]);
    char *merged = mymalloc(800);
    must(merged == held[1]); /* 200, 200 and 400 */
    myfree(merged);
    myfree(held[0]);
    myfree(held[3]);

    allocate(MANY, 128, &rng);
    char *guard = mymalloc(8), *top = break_now();
    size_t first = 0;
    for (size_t round = 0; round < 6; round++) { /* a free block between two others costs metadata, once */
        for (size_t i = round % 2; i < MANY; i += 2)
            myfree(blocks[i]);
        for (size_t i = round % 2; i < MANY; i += 2)
            must((blocks[i] = mymalloc(sizes[i])) != NULL);
        first = round == 0 ? (size_t)(break_now() - top) : first;
    }
    long grown = (long)(break_now() - top) - (long)first;
    for (size_t i = 0; i < MANY; i++)
        myfree(blocks[i]);
    char *large = mymalloc(250000); /* what they had, in one piece but where metadata lies between */
    must(large != NULL && large < guard);
    myfree(large);
    myfree(guard);
    printf("reuse: every other of 10,000 freed and allocated again: %zu bytes more; 5 times more: %ld\n",
           first, grown);
    must(grown <= 2 * PAGE && first <= 400000);
    return used_nothing_but_the_break();
}

static int realloc_moves_only_when_it_must(void *unused)
{
    char *a = mymalloc(1000), *b = mymalloc(1000), *c = mymalloc(8);
    size_t moves = 0;

    (void)unused;
    fill(a, 1000, 1);
    must(myrealloc(a, 500) == a);
    must(myrealloc(a, 1000) == a);
    must(holds(a, 500, 1));
    fill(a, 1000, 1);
    char *moved = myrealloc(a, 1008); /* b is in the way */
    must(moved != a && holds(moved, 1000, 1));
    must(myrealloc(b, 0) == b);
    myfree(moved);
    b = myrealloc(b, 1000);
    must(b != NULL);
    myfree(b);
    myfree(c);

    /* The last block of the heap: it grows with the break. */
    char *last = myrealloc(NULL, 8);
    for (size_t size = 8; size <= MIB; size += 64) {
        char *now = myrealloc(last, size);
        must(now != NULL);
        if (size > 8)
            must(now[0] == 'x' && now[size - 65] == 'y');
        moves += now != last;
        last = now;
        last[0] = 'x';
        last[size - 1] = 'y';
    }
    myfree(last);
    printf("realloc: in place but for blocks in the way; %zu moves while one grows to 1 MiB in steps of 64\n",
           moves);
    must(moves <= 8);
    return used_nothing_but_the_break();
}

static int the_break_moves_in_batches(void *unused)
{
    static const size_t small[] = {8, 32, 128, 256};
    size_t most = 0;

    (void)unused;
    for (size_t i = 0; i < 4; i++) {
        size_t before = ups;
        allocate(128, small[i], NULL);
        printf("batches: 128 allocations of %zu bytes move the break %zu times\n", small[i], ups - before);
        most = ups - before > most ? ups - before : most;
        release(128);
    }
    must(most < 8);
    return 0;
}

/* Bytes obtained less bytes asked for, a block: of 10,000 in a heap that was empty. */
static double overhead(size_t most, rng_t *rng)
{
    char *base = mymalloc(8); /* so that the heap is there; it stays at the bottom */
    char *bottom = (char *)((uintptr_t)base / PAGE * PAGE);
    size_t asked = allocate(MANY, most, rng) + 8;
    double each = (double)((size_t)(break_now() - bottom) - asked) / MANY;

    release(MANY);
    myfree(base);
    return each;
}

static int overhead_is_below_8_bytes_a_block_out_of_band(void *unused)
{
    rng_t rng = {3};

    (void)unused;
    double mixed = overhead(128, &rng), uniform = overhead(128, NULL);
    printf("overhead: %.2f bytes a block for 10,000 of 1 to 128 bytes, %.2f for 128, %.2f for 8, all "
           "metadata included\n",
           mixed, uniform, overhead(8, NULL));
    must(mixed < 8 && uniform < 8);
    return used_nothing_but_the_break();
}

/* Every block with its header in front, by an arena of chunks on the break, which it moves page by page. */
static arena_t *in_band(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.source = ARENA_SOURCE_SBRK,
                                                     .flags = ARENA_NO_SLABS | ARENA_NO_CACHE,
                                                     .growth_bytes = PAGE,
                                                     .trim_threshold_bytes = PAGE,
                                                     .quantum = 8});
    must(arena != NULL);
    return arena;
}

/* All that the break moved is counted. */
static int overhead_is_below_13_5_bytes_a_block_in_band(void *unused)
{
    static size_t moved[MANY];
    rng_t rng = {3};
    arena_t *arena = in_band();
    char *start = break_now();
    size_t asked = 0, most = 0;

    (void)unused;
    for (size_t i = 0; i < MANY; i++) {
        sizes[i] = 1 + rng_below(&rng, 128);
        must((blocks[i] = arena_alloc(arena, sizes[i])) != NULL);
        fill(blocks[i], sizes[i], i);
        asked += sizes[i];
        moved[i] = ups;
        most = i >= 128 && ups - moved[i - 128] > most ? ups - moved[i - 128] : most;
    }
    double each = (double)((size_t)(break_now() - start) - asked) / MANY;
    printf("overhead in band: %.2f bytes a block for 10,000; at most %zu moves in 128\n", each, most);
    must(each < 13.5 && most < 8);
    for (size_t i = 0; i < MANY; i++)
        must(holds(blocks[i], sizes[i], i));
    return 0;
}

static int the_break_comes_down_page_by_page_in_band(void *unused)
{
    arena_t *arena = in_band();
    char *start = break_now();
    size_t steps = 0;

    (void)unused;
    for (size_t i = 0; i < 256; i++)
        must((blocks[i] = arena_alloc(arena, 1024)) != NULL);
    char *top = break_now();
    for (size_t i = 0; i < 255; i += 2)
        arena_free(arena, blocks[i]);
    must(break_now() == top); /* the last block is there */
    for (size_t i = 255; i < 256; i -= 2) {
        char *before = break_now();
        arena_free(arena, blocks[i]);
        must((before - break_now()) % PAGE == 0 && before - break_now() <= 2 * PAGE);
        steps += break_now() != before;
    }
    printf("given back in band: %zu pages in %zu steps, %zu stay\n", (size_t)(top - break_now()) / PAGE,
           steps, (size_t)(break_now() - start + PAGE - 1) / PAGE);
    must(break_now() - start <= 2 * PAGE && arena_check(arena) == 0);
    arena_trim(arena, 0);
    must(break_now() == start);
    return 0;
}

static int the_block_freed_last_comes_first(void *unused)
{
    static const size_t order[] = {4, 0, 2, 1, 7, 3, 6, 5};
    bool lifo = A2_ORDER == ARENA_RANGE_LIFO;
    size_t hits = 0;

    (void)unused;
    allocate(100, 48, NULL);
    for (size_t i = 0; i < 8; i++) /* neighbours, too */
        myfree(blocks[order[i]]);
    for (size_t i = 0; i < 8; i++)
        hits += mymalloc(48) == blocks[order[lifo ? 7 - i : i]];
    for (size_t i = 0; i < 100; i++)
        fill(blocks[i], 48, i);
    release(100);
    printf("locality: %zu of 8 come back %s first\n", hits, lifo ? "freed last" : "freed longest ago");
    must(hits == 8);
    return used_nothing_but_the_break();
}

static int by_address(const void *a, const void *b)
{
    const char *left = *(char *const *)a, *right = *(char *const *)b;

    return (left > right) - (left < right);
}

static int the_break_comes_down_when_the_last_block_goes_and_not_before(void *unused)
{
    (void)unused;
    myfree(mymalloc(8)); /* the heap is there */
    char *start = break_now();
    allocate(256, 1024, NULL);
    char *top = break_now();
    for (size_t i = 0; i < 255; i++) {
        myfree(blocks[i]);
        must(break_now() == top);
    }
    myfree(blocks[255]);
    char *end = break_now();
    size_t kept = end > start ? (size_t)(end - start) : 0;
    printf("given back: %zu KiB at once when the last of 256 KiB of blocks goes, none before; %zu bytes more "
           "than at first\n",
           (size_t)(top - end) / 1024, kept);
    must(end < top && kept <= PAGE);

    allocate(256, 1024, NULL);
    size_t steps = 0, pages = 0, before = downs;
    qsort(blocks, 256, sizeof blocks[0], by_address);
    for (size_t i = 256; i-- > 0;) {
        top = break_now();
        myfree(blocks[i]);
        size_t gone = (size_t)(top - break_now());
        must(gone % PAGE == 0);
        steps += gone != 0;
        pages += gone / PAGE;
    }
    printf("given back: from the end, %zu pages in %zu steps\n", pages, steps);
    must(steps <= downs - before && steps * 2 >= pages && pages >= 60);
    return used_nothing_but_the_break();
}

static int blocks_of_8_lie_side_by_side(void *unused)
{
    (void)unused;
    allocate(500, 8, NULL);
    size_t apart = 0;
    for (size_t i = 1; i < 500; i++)
        apart += blocks[i] != blocks[i - 1] + 8;
    release(500);
    printf("out of band: 500 blocks of 8 bytes, %zu gaps\n", apart);
    must(apart == 0);
    return 0;
}

static size_t exhaust(void)
{
    size_t count = 0;

    errno = 0;
    while (count < MANY && (blocks[count] = mymalloc(4000)) != NULL)
        count++;
    must(count < MANY && errno == ENOMEM);
    return count;
}

/* NULL; what was given out stays good, and what is freed serves again. */
static int when_there_is_no_more_memory_it_says_so(void *unused)
{
    (void)unused;
    myfree(mymalloc(8)); /* the heap is there */
    ceiling = break_now() + 8 * MIB;
    size_t count = exhaust();
    must(mymalloc(100 * MIB) == NULL && mycalloc(25 * MIB, 4) == NULL);
    for (size_t i = 0; i < count; i++)
        fill(blocks[i], 4000, i);
    must(myrealloc(blocks[0], 100 * MIB) == NULL && errno == ENOMEM);
    for (size_t i = 0; i < count; i++)
        must(holds(blocks[i], 4000, i));
    for (size_t i = 0; i < count; i++)
        myfree(blocks[i]);
    size_t again = exhaust();
    printf("exhaustion: NULL and ENOMEM after %zu blocks of 4,000; when they are freed, %zu fit\n", count,
           again);
    must(again + 2 >= count);
    return used_nothing_but_the_break();
}

/* Runs the test in a child, so that its heap is new. */
static void in_a_child(void **state)
{
    int (*const *test)(void *) = *state;

    assert_int_equal(status_of_child(*test, NULL, 60), 0);
}

#define TEST(function)                                                                   \
    {                                                                                    \
        .name = #function, .test_func = in_a_child, .initial_state = (int (*[])(void *)) \
        {                                                                                \
            function                                                                     \
        }                                                                                \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(malloc_aligns_to_8),
        TEST(calloc_clears_and_minds_overflow),
        TEST(freed_blocks_are_reused_split_and_merged),
        TEST(realloc_moves_only_when_it_must),
        TEST(the_break_moves_in_batches),
        TEST(overhead_is_below_8_bytes_a_block_out_of_band),
        TEST(overhead_is_below_13_5_bytes_a_block_in_band),
        TEST(the_block_freed_last_comes_first),
        TEST(the_break_comes_down_when_the_last_block_goes_and_not_before),
        TEST(the_break_comes_down_page_by_page_in_band),
        TEST(blocks_of_8_lie_side_by_side),
        TEST(when_there_is_no_more_memory_it_says_so),
    };

    setvbuf(stdout, NULL, _IONBF, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
