/*
 * fortified.c: what the manual says of a program that is compiled with _FORTIFY_SOURCE: it may fill the bytes of arena_good_size,
 * which it asked for, by the C library's checked functions; and of arena_usable_size the compiler lets it fill no more.
 */
#undef _FORTIFY_SOURCE
#ifdef __OPTIMIZE__
#define _FORTIFY_SOURCE 3
#endif
#define _GNU_SOURCE
#include "../support.h"

#include <sys/resource.h>

static size_t volatile asked = 100; /* the compiler knows the argument, not its value */

static void a_block_of_the_good_size_may_be_filled(void **state)
{
    arena_t *arena = arena_create(NULL);

    (void)state;
    for (size_t size = 1; size < 3 * MIB; size = size * 3 / 2 + 1) {
        size_t good = arena_good_size(arena, size);
        char *block = arena_alloc(arena, good);
        assert_true(block != NULL && good >= size && arena_usable_size(arena, block) >= good);
        memset(block, 1, good);
        arena_free(arena, block);
    }
    arena_destroy(arena);
}

static int fill_what_is_usable(void *arena)
{
    char *block = arena_alloc(arena, asked);

    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    memset(block, 1, arena_usable_size(arena, block));
    return block[0] - 1;
}

static void a_block_of_another_size_may_not_be_filled(void **state)
{
    arena_t *arena = arena_create(NULL);

    (void)state;
#if __USE_FORTIFY_LEVEL < 3
    skip(); /* no optimization, or a C library or compiler that does not know it */
#endif
    int status = status_of_child(fill_what_is_usable, arena, 10);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_of_the_good_size_may_be_filled),
        cmocka_unit_test(a_block_of_another_size_may_not_be_filled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
