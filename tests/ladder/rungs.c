/*
 * rungs.c: one rung of examples/ladder, compiled into this program: what the lecture says of it, and that its
 * checker finds a heap that was broken on purpose. A rung has one heap and the break to itself, so each test
 * runs in a child, which calls no malloc of the C library.
 */
#include "heapmgr.h"

#include "support.h"

#include <fcntl.h>
#include <sys/resource.h>

/* What a program gets to see of a mistake. */
typedef enum {
    UNSEEN, /* the check is silent, and the heap goes on working */
    FOUND,  /* the check tells */
    ABORTS  /* so does free, which then ends the program */
} sight_t;

/* What a rung does. A test of something that it does not do, by the lecture, is skipped for it. */
typedef struct {
    const char *name;
    size_t overhead; /* bytes of a chunk that are no payload */
    bool reuses;     /* freed memory serves again */
    bool merges;     /* freed neighbours serve as one block */
    bool uses_break;
    sight_t overflow; /* of 32 bytes by the lecture's string, the neighbour in use */
    sight_t double_free;
} rung_t;

static const rung_t rungs[] = {
    {"1_minimal", 0, false, false, true, UNSEEN, UNSEEN},
    {"2_pad", 0, false, false, true, UNSEEN, UNSEEN},
    {"3_list", 16, true, true, true, FOUND, FOUND},
    {"3b_unsorted", 16, true, false, true, FOUND, FOUND},
    {"4_doubly", 32, true, true, true, ABORTS, ABORTS},
    {"4b_payload", 8, true, true, true, ABORTS, ABORTS},
    {"5_bins", 32, true, true, true, ABORTS, ABORTS},
    {"6_vm", 16, true, false, false, UNSEEN, ABORTS}, /* by the hardware: the page is gone */
    {"7_segregated", 0, true, false, true, UNSEEN, FOUND},
};

static const rung_t *rung;
static const char lecture_string[] = "The rain in Spain is mainly in the plain.";

static bool rung_is(const char *name)
{
    return strcmp(rung->name, name) == 0;
}

static void check_is_silent(void)
{
    const char *fault = HeapMgr_check(NULL);

    if (fault != NULL)
        fprintf(stderr, "HeapMgr_check: %s\n", fault);
    must(fault == NULL);
}

static void in_child(int (*body)(void *))
{
    must_end_well(status_of_child(body, NULL, 60));
}

/* Bytes of the address space that are ours to write: heap, mappings. */
static size_t data_bytes(void)
{
    char text[200];
    size_t pages = 0;
    int fd = open("/proc/self/statm", O_RDONLY);

    must(fd >= 0);
    ssize_t length = read(fd, text, sizeof text - 1);
    must(length > 0);
    text[length] = '\0';
    close(fd);
    must(sscanf(text, "%*s %*s %*s %*s %*s %zu", &pages) == 1);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void limit_data(size_t more)
{
    struct rlimit limit = {data_bytes() + more, RLIM_INFINITY};

    must(setrlimit(RLIMIT_DATA, &limit) == 0);
}

/* Two blocks of `bytes`, the first lower in memory; neighbours, or in one page. */
static void pair(size_t bytes, char **low, char **high)
{
    char *a = HeapMgr_malloc(bytes), *b = HeapMgr_malloc(bytes);

    must(a != NULL && b != NULL);
    *low = a < b ? a : b;
    *high = a < b ? b : a;
}

/* --- what an allocator is --- */

static int zero_bytes_body(void *unused)
{
    (void)unused;
    must(HeapMgr_malloc(0) == NULL);
    HeapMgr_free(NULL);
    check_is_silent();
    return 0;
}

static void zero_bytes_are_null(void **state)
{
    (void)state;
    in_child(zero_bytes_body);
}

typedef struct {
    void *block;
    size_t bytes;
    uint64_t tag;
} live_t;

enum { LIVE = 300 };

static void replace(live_t *live, rng_t *rng)
{
    if (live->block != NULL) {
        must(holds(live->block, live->bytes, live->tag));
        HeapMgr_free(live->block);
    }
    *live = (live_t){.bytes = 1 + rng_size(rng, 12), .tag = rng_next(rng)};
    live->block = HeapMgr_malloc(live->bytes);
    must(live->block != NULL);
    must((uintptr_t)live->block % 16 == 0);
    fill(live->block, live->bytes, live->tag);
}

static int random_body(void *seed)
{
    static live_t live[LIVE];
    rng_t rng = {*(uint64_t *)seed};

    for (size_t i = 0; i < 20000 / SLOWNESS; i++) {
        live_t *next = &live[rng_below(&rng, LIVE)];
        if (i % 16 == 0)
            must(HeapMgr_check(next->block) == NULL);
        replace(next, &rng);
    }
    for (size_t i = 0; i < LIVE; i++) {
        must(live[i].block == NULL || holds(live[i].block, live[i].bytes, live[i].tag));
        HeapMgr_free(live[i].block);
        check_is_silent();
    }
    return 0;
}

static void random_operations_keep_contents_and_heap(void **state)
{
    (void)state;
    uint64_t seed = test_seed(1);
    must_end_well(status_of_child(random_body, &seed, 60));
}

static int exhaustion_body(void *unused)
{
    static char *blocks[1000];
    size_t count = 0;

    (void)unused;
    must(HeapMgr_malloc(SIZE_MAX) == NULL);
    must(HeapMgr_malloc(PTRDIFF_MAX) == NULL);
    must(HeapMgr_malloc(PTRDIFF_MAX / 2) == NULL);
    check_is_silent();
    limit_data(64 * MIB);
    while (count < 1000 && (blocks[count] = HeapMgr_malloc(300000)) != NULL) {
        fill(blocks[count], 300000, count);
        count++;
    }
    must(count > 100 && count < 1000);
    must(HeapMgr_malloc(300000) == NULL);
    check_is_silent();
    for (size_t i = 0; i < count; i++)
        must(holds(blocks[i], 300000, i));
    HeapMgr_free(blocks[count / 2]);
    must((HeapMgr_malloc(300000) != NULL) == rung->reuses);
    check_is_silent();
    return 0;
}

static void exhaustion_is_null(void **state)
{
    (void)state;
    in_child(exhaustion_body);
}

/* --- what the lecture says of the rungs --- */

static int spacing_body(void *bytes)
{
    size_t request = *(size_t *)bytes;
    char *low, *high;

    pair(request, &low, &high);
    if (rung->uses_break)
        must((size_t)(high - low) == (request + rung->overhead + 15) / 16 * 16);
    else
        must((size_t)(high - low) >= 4096);
    return 0;
}

static void a_block_costs_what_the_layout_says(void **state)
{
    (void)state;
    static size_t requests[] = {40, 80, 320, 1024}; /* multiples that are size classes too */
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
        must_end_well(status_of_child(spacing_body, &requests[i], 60));
}

static int reuse_body(void *unused)
{
    (void)unused;
    char *first = HeapMgr_malloc(1000);
    size_t before = data_bytes();
    HeapMgr_free(first);
    for (int i = 0; i < 10000; i++)
        HeapMgr_free(HeapMgr_malloc(1000));
    size_t after = data_bytes();
    must(rung->reuses ? after < before + MIB : after - before > 9 * MIB);
    return 0;
}

static void freed_memory_serves_again_or_does_not(void **state)
{
    (void)state;
    in_child(reuse_body);
}

/* Three neighbours, freed in an order that `context` names, hold one block as large as all three. */
static int merge_body(void *context)
{
    enum { BYTES = 3 * HEAP_GROWTH_BYTES };
    char *blocks[4];
    const char *order = context;

    for (int i = 0; i < 4; i++)
        blocks[i] = HeapMgr_malloc(BYTES);
    for (int i = 0; i < 3; i++)
        HeapMgr_free(blocks[order[i] - 'a']);
    check_is_silent();
    char *end = sbrk(0);
    char *one = HeapMgr_malloc(3 * (size_t)BYTES);
    must(one != NULL);
    fill(one, 3 * (size_t)BYTES, 1);
    must((sbrk(0) == end) == rung->merges);
    check_is_silent();
    return 0;
}

static void freed_neighbours_merge_or_do_not(void **state)
{
    static char orders[][4] = {"abc", "acb", "bac", "bca", "cab", "cba"};

    (void)state;
    if (!rung->uses_break)
        skip(); /* 6: blocks are no neighbours, and what is freed is no memory any more */
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++)
        must_end_well(status_of_child(merge_body, orders[i], 60));
}

static void note_free(void *bytes, const void *chunk, size_t chunk_bytes, bool is_free)
{
    (void)chunk;
    if (is_free)
        *(size_t *)bytes = chunk_bytes;
}

/* Holes of 600, 200 and 400 bytes, in this order of addresses and of frees: which of them serves 150? */
static int fit_body(void *unused)
{
    static const size_t holes[] = {600, 200, 400};
    char *blocks[3];

    (void)unused;
    for (size_t i = 0; i < 3; i++) {
        /* 3 and 3b give out tail ends, from high addresses to low ones */
        size_t at = rung_is("3_list") || rung_is("3b_unsorted") ? 2 - i : i;
        blocks[at] = HeapMgr_malloc(holes[at]);
        must(HeapMgr_malloc(16) != NULL); /* a wall */
    }
    size_t left = 0;
    HeapMgr_walk(note_free, &left);
    must(left > rung->overhead && HeapMgr_malloc(left - rung->overhead) != NULL);
    for (size_t i = 0; i < 3; i++)
        HeapMgr_free(blocks[i]);
    char *block = HeapMgr_malloc(150);
    size_t serves = rung_is("3_list") ? 0 : rung_is("5_bins") ? 1 : 2; /* lowest, smallest, last freed */
    must(block >= blocks[serves] && block < blocks[serves] + holes[serves]);
    check_is_silent();
    return 0;
}

static void the_hole_that_serves_is_the_one_by_the_rule(void **state)
{
    (void)state;
    if (!rung->uses_break || !rung->reuses || rung_is("7_segregated"))
        skip(); /* no hole ever serves another size: 1 and 2 reuse nothing, 6 and 7 have no rule to choose by */
    in_child(fit_body);
}

static int one_call_body(void *unused)
{
    char *last = sbrk(0);
    size_t moves = 0;

    (void)unused;
    for (int i = 0; i < 1000; i++) {
        must(HeapMgr_malloc(16) != NULL);
        moves += sbrk(0) != last;
        last = sbrk(0);
    }
    must(rung_is("1_minimal") ? moves == 1000 : moves < 20);
    return 0;
}

static void only_the_minimal_one_moves_the_break_each_time(void **state)
{
    (void)state;
    if (!rung->uses_break)
        skip(); /* 6: the break is not what it moves */
    in_child(one_call_body);
}

/* --- heaps broken on purpose --- */

static int moved_break_body(void *unused)
{
    (void)unused;
    must(HeapMgr_malloc(100) != NULL);
    must(sbrk(64) != (void *)-1);
    memset((char *)sbrk(0) - 64, 0x77, 64);
    must(HeapMgr_check(NULL) != NULL);
    while (HeapMgr_malloc(100) != NULL)
        ;
    for (int i = 1; i <= 64; i++)
        must(((char *)sbrk(0))[-i] == 0x77);
    return 0;
}

static void a_break_that_was_moved_is_found_and_left_alone(void **state)
{
    (void)state;
    if (!rung->uses_break)
        skip(); /* 6: the break is not its own, and may be anywhere */
    in_child(moved_break_body);
}

static int overflow_body(void *unused)
{
    char *s, *neighbour;

    (void)unused;
    pair(32, &s, &neighbour);
    check_is_silent();
    strcpy(any_size(s), lecture_string);
    must((HeapMgr_check(NULL) == NULL) == (rung->overflow == UNSEEN));
    if (rung->overflow == FOUND)
        return 0; /* free would go by what is broken */
    HeapMgr_free(s);
    if (rung->overflow == ABORTS)
        return 1; /* it did not */
    check_is_silent();
    for (size_t i = 0; i < 1000; i++)
        must(HeapMgr_malloc(32) != NULL);
    return 0;
}

/* A child that aborts says why, on a stderr that is none of the test's. */
static int quiet(int (*body)(void *))
{
    int status;

    fflush(NULL);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        child_begins(60);
        int nowhere = open("/dev/null", O_WRONLY);
        must(nowhere >= 0 && dup2(nowhere, STDERR_FILENO) >= 0);
        _exit(body(NULL));
    }
    must(waitpid(child, &status, 0) == child);
    return status;
}

static void the_strcpy_of_the_lecture_is_seen_as_promised(void **state)
{
    (void)state;
    if (rung->overflow != ABORTS) {
        in_child(overflow_body);
        return;
    }
    int status = quiet(overflow_body);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* In 7 the same string into a neighbour that is free hits the bin's link there. */
static int overflow_into_free_body(void *unused)
{
    char *s, *neighbour;

    (void)unused;
    pair(32, &s, &neighbour);
    HeapMgr_free(neighbour);
    check_is_silent();
    strcpy(any_size(s), lecture_string);
    must(HeapMgr_check(NULL) != NULL);
    return 0;
}

static void an_overflow_into_a_free_neighbour_is_found(void **state)
{
    (void)state;
    if (!rung->reuses || !rung->uses_break)
        skip(); /* 1 and 2: no block is ever free; 6: a free one is unmapped, and the string ends before its page does */
    in_child(overflow_into_free_body);
}

/* What is in front of a block; 1, 2 and 7 have nothing there. */
static int underflow_body(void *unused)
{
    char *low, *high;

    (void)unused;
    pair(32, &low, &high);
    memset(any_size(high - 16), 0x41, 16);
    must((HeapMgr_check(high) == NULL) == (!rung->reuses || rung_is("7_segregated")));
    return 0;
}

static void a_broken_header_is_found(void **state)
{
    (void)state;
    in_child(underflow_body);
}

static int double_free_body(void *unused)
{
    char *low, *high;

    (void)unused;
    pair(32, &low, &high);
    HeapMgr_free(low);
    HeapMgr_free(low);
    if (rung->double_free == ABORTS)
        return 0; /* it did not, which is told by the status */
    must((HeapMgr_check(NULL) == NULL) == (rung->double_free == UNSEEN));
    return 0;
}

static void a_double_free_is_seen_as_promised(void **state)
{
    (void)state;
    int status = quiet(double_free_body);
    if (rung_is("6_vm")) /* the sanitizers end it by an exit instead */
        assert_int_not_equal(status, 0);
    else if (rung->double_free == ABORTS)
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    else
        assert_int_equal(status, 0);
}

static int not_a_block_body(void *unused)
{
    static char elsewhere[64];
    char *low, *high;

    (void)unused;
    pair(32, &low, &high);
    must(HeapMgr_check(low) == NULL);
    must(HeapMgr_check(high) == NULL);
    must(HeapMgr_check(elsewhere + 16) != NULL);
    HeapMgr_free(low);
    if (rung->uses_break && rung->reuses)
        must(HeapMgr_check(low) != NULL);
    return 0;
}

static void what_is_no_block_is_told(void **state)
{
    (void)state;
    in_child(not_a_block_body);
}

int main(void)
{
    for (size_t i = 0; i < sizeof rungs / sizeof rungs[0]; i++)
        if (strcmp(rungs[i].name, RUNG) == 0)
            rung = &rungs[i];
    must(rung != NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_bytes_are_null),
        cmocka_unit_test(random_operations_keep_contents_and_heap),
        cmocka_unit_test(exhaustion_is_null),
        cmocka_unit_test(a_block_costs_what_the_layout_says),
        cmocka_unit_test(freed_memory_serves_again_or_does_not),
        cmocka_unit_test(freed_neighbours_merge_or_do_not),
        cmocka_unit_test(the_hole_that_serves_is_the_one_by_the_rule),
        cmocka_unit_test(only_the_minimal_one_moves_the_break_each_time),
        cmocka_unit_test(a_break_that_was_moved_is_found_and_left_alone),
        cmocka_unit_test(the_strcpy_of_the_lecture_is_seen_as_promised),
        cmocka_unit_test(an_overflow_into_a_free_neighbour_is_found),
        cmocka_unit_test(a_broken_header_is_found),
        cmocka_unit_test(a_double_free_is_seen_as_promised),
        cmocka_unit_test(what_is_no_block_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
