/*
 * limits.c: little address space, a break that cannot move, and a program that moves the break itself.
 */
#define _GNU_SOURCE
#include "preload_support.h"

enum { MOST = 400000 };

static void *blocks[MOST];

static size_t allocate_all(size_t size)
{
    size_t got = 0;

    errno = 0;
    while (got < MOST && (blocks[got] = malloc(size)) != NULL) {
        fill(blocks[got], size, got);
        got++;
    }
    must(got < MOST && errno == ENOMEM);
    for (size_t i = 0; i < got; i++)
        must(holds(blocks[i], size, i));
    return got;
}

static void free_all(size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
}

static int exhaust_and_go_on(void *unused)
{
    static const size_t sizes[] = {64, 1000, 20000, 100000, 700000, 64};

    (void)unused;
    limit_address_space(16 * MIB);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t got = allocate_all(sizes[i]);
        must(got * sizes[i] >= 8 * MIB);
        must(realloc(blocks[0], 64 * MIB) == NULL && errno == ENOMEM);
        must(holds(blocks[0], sizes[i], 0));
        must(calloc(1, 64 * MIB) == NULL && aligned_alloc(64 * MIB, 64 * MIB) == NULL);
        free_all(got);
        free(malloc(sizes[i]));
    }
    return 0;
}

static void sixteen_mib_of_address_space_are_used(void **state)
{
    (void)state;
    must_end_well(status_of_child(exhaust_and_go_on, NULL, 60));
}

static int run_true_in_24_mib(void *unused)
{
    (void)unused;
    must(setrlimit(RLIMIT_AS, &(struct rlimit){24 * MIB, 24 * MIB}) == 0);
    execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
    return 1;
}

static void a_program_starts_in_24_mib(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(run_true_in_24_mib, NULL, 60), 7 << 8);
}

static int block_the_break(void *unused)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t end = ((uintptr_t)sbrk(0) + page - 1) & ~(uintptr_t)(page - 1);

    (void)unused;
    void *fence =
        mmap((void *)end, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (fence != (void *)end)
        return 77;
    churn(1, 0.2, NULL);
    for (size_t i = 0; i < 2000; i++) {
        must((blocks[i] = malloc(i * 20)) != NULL);
        fill(blocks[i], i * 20, i);
    }
    for (size_t i = 0; i < 2000; i++)
        must(holds(blocks[i], i * 20, i));
    free_all(2000);
    malloc_trim(0);
    return 0;
}

static void memory_comes_when_the_break_cannot_move(void **state)
{
    (void)state;
    int status = status_of_child(block_the_break, NULL, 60);
    if (status == 77 << 8)
        skip(); /* something already lies there */
    must_end_well(status);
}

/* The old rule: what sbrk gave to the program is the program's, whoever else moves the break. */
static int move_the_break(void *unused)
{
    enum { PIECES = 50, PIECE = 10000 };
    char *pieces[PIECES];

    (void)unused;
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = sbrk(PIECE);
        must(pieces[i] != (void *)-1);
        fill(pieces[i], PIECE, i);
        for (size_t j = 0; j < 100; j++)
            must((blocks[i * 100 + j] = malloc(j * 300)) != NULL);
        for (size_t j = 0; j < 100; j++)
            fill(blocks[i * 100 + j], j * 300, j);
        if (i % 5 == 4)
            malloc_trim(0);
    }
    for (size_t i = 0; i < PIECES; i++)
        must(holds(pieces[i], PIECE, i));
    free_all(100 * PIECES);
    malloc_trim(0);
    for (size_t i = 0; i < PIECES; i++)
        must(holds(pieces[i], PIECE, i));
    churn(2, 0.1, NULL);
    return 0;
}

static void a_program_may_move_the_break(void **state)
{
    (void)state;
    must_end_well(status_of_child(move_the_break, NULL, 60));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixteen_mib_of_address_space_are_used),
        cmocka_unit_test(a_program_starts_in_24_mib),
        cmocka_unit_test(memory_comes_when_the_break_cannot_move),
        cmocka_unit_test(a_program_may_move_the_break),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
