/*
 * one_arena.h: the arena of a test that needs just one: made before it, found whole and destroyed after it. Included
 * last, as its name is a parameter's everywhere else.
 */
#ifndef ARENA_TESTS_ONE_ARENA_H
#define ARENA_TESTS_ONE_ARENA_H

#include "../support.h"

static arena_t *arena;

SUPPORT_UNUSED static int open_arena(void **state)
{
    (void)state;
    arena = arena_create(NULL);
    return arena == NULL;
}

static int close_arena(void **state)
{
    (void)state;
    int broken = arena_check(arena);
    arena_destroy(arena);
    arena = NULL;
    return broken;
}

#define in_arena(test) cmocka_unit_test_setup_teardown(test, open_arena, close_arena)

#endif
