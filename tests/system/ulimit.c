/*
 * ulimit.c: under a small RLIMIT_AS (`ulimit -v`) an arena allocates until NULL and ENOMEM, and goes on once
 * blocks are freed. Each case runs in a child whose limit lies a few MiB above what it already uses.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <sys/resource.h>

enum { MOST = 400000 };

static void *blocks[MOST];

static void limit_address_space(size_t more)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    must(file != NULL && fscanf(file, "%zu", &pages) == 1);
    fclose(file);
    rlim_t limit = pages * (size_t)sysconf(_SC_PAGESIZE) + more;
    must(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}) == 0);
}

static size_t allocate_all(arena_t *arena, size_t size)
{
    size_t got = 0;

    errno = 0;
    while (got < MOST && (blocks[got] = arena_alloc(arena, size)) != NULL) {
        fill(blocks[got], size, got);
        got++;
    }
    must(got < MOST && errno == ENOMEM);
    for (size_t i = 0; i < got; i++)
        must(holds(blocks[i], size, i));
    return got;
}

typedef struct {
    size_t more;
    unsigned flags;
} case_t;

static int exhaust_and_go_on(void *context)
{
    static const size_t sizes[] = {64, 1000, 20000, 100000, 700000, 64};
    const case_t *now = context;

    limit_address_space(now->more);
    arena_t *arena = arena_create(&(arena_options_t){.flags = now->flags});
    must(arena != NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t first = allocate_all(arena, sizes[i]);
        must(first * sizes[i] >= now->more / 2);
        arena_free_batch(arena, blocks, first / 2);
        memmove(blocks, blocks + first / 2, (first - first / 2) * sizeof blocks[0]);
        void *again = arena_alloc(arena, sizes[i]);
        must(again != NULL);
        arena_free(arena, again);
        arena_free_batch(arena, blocks, first - first / 2);
        must(stats_of(arena).live_blocks == 0);
        size_t second = allocate_all(arena, sizes[i]);
        must(second * 10 >= first * 8);
        arena_free_batch(arena, blocks, second);
        must(arena_check(arena) == 0);
    }
    arena_destroy(arena);
    return 0;
}

static int meet_the_limit_with_one_large_block(void *unused)
{
    (void)unused;
    limit_address_space(16 * MIB);
    arena_t *arena = arena_create(NULL);
    char *block = arena_alloc(arena, 3 * MIB);
    must(block != NULL);
    fill(block, 3 * MIB, 1);
    must(arena_realloc(arena, block, 64 * MIB) == NULL && errno == ENOMEM);
    must(arena_alloc(arena, 64 * MIB) == NULL && errno == ENOMEM);
    must(arena_aligned_alloc(arena, 64 * MIB, 64 * MIB) == NULL && errno == ENOMEM);
    must(holds(block, 3 * MIB, 1));
    must((block = arena_realloc(arena, block, 5 * MIB)) != NULL);
    must(holds(block, 3 * MIB, 1));
    must(arena_check(arena) == 0);
    return 0;
}

static void six_mib_of_address_space_are_used(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(exhaust_and_go_on, &(case_t){6 * MIB, 0}, 60), 0);
}

static void sixteen_mib_of_address_space_are_used(void **state)
{
    static const unsigned flags[] = {0, ARENA_NO_CACHE, ARENA_NO_SLABS, ARENA_CHECKED | ARENA_ZERO};

    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        assert_int_equal(status_of_child(exhaust_and_go_on, &(case_t){16 * MIB, flags[i]}, 60), 0);
}

static void one_large_block_beyond_the_limit_is_enomem_and_harmless(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(meet_the_limit_with_one_large_block, NULL, 60), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(six_mib_of_address_space_are_used),
        cmocka_unit_test(sixteen_mib_of_address_space_are_used),
        cmocka_unit_test(one_large_block_beyond_the_limit_is_enomem_and_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
