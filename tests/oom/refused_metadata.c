/*
 * refused_metadata.c: the kernel has no more memory, but the arena has. What describes slabs and caches cannot
 * be had then; the blocks come all the same, and not each with calls to the kernel that are refused again.
 */
#define _GNU_SOURCE
#include "../oom_support.h"

static bool failing;
static size_t refused;

static bool fails(unsigned kind)
{
    refused += failing && kind == TAKE;
    return failing && kind == TAKE;
}

static void the_kernel_is_seldom_asked_again(void **state)
{
    enum {
        BYTES = 16
    }; /* the slabs with the largest descriptors: what is mapped ahead for these is soon gone */
    size_t got = 0;

    (void)state;
    if (SLOWNESS != 1)
        skip(); /* "again" is a matter of time */
    arena_t *arena = arena_create(&(arena_options_t){.first_region_bytes = 80 * MIB});
    arena_free(arena, arena_alloc(arena, BYTES));
    failing = true;
    while (arena_alloc(arena, BYTES) != NULL)
        got++;
    assert_int_equal(errno, ENOMEM);
    failing = false;
    assert_true(got > 40 * MIB / BYTES);
    assert_true(refused < got / 40);
    assert_non_null(arena_alloc(arena, MIB));
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_kernel_is_seldom_asked_again)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
