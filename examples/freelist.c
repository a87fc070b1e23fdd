/*
 * freelist.c: the allocator that students of CS 326 write (San Francisco; lecture 15, project 3) as a configuration of
 * an arena: a header in front of each block, a list of free blocks, a policy that searches it, names for blocks, a
 * log, and a print of all of memory.
 *
 * usage: freelist [first_fit|best_fit|worst_fit|next_fit|good_fit] [LOG]
 *
 * introduces: arena_options_t.fit, arena_alloc_named(), arena_set_name(), arena_print(), arena_log_open(),
 * ARENA_SCRIBBLE, ARENA_LEAKS
 */
#include "arena.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    arena_fit_t fit;
} policies[] = {
    {"first_fit", ARENA_FIT_FIRST}, {"best_fit", ARENA_FIT_BEST}, {"worst_fit", ARENA_FIT_WORST},
    {"next_fit", ARENA_FIT_NEXT},   {"good_fit", ARENA_FIT_GOOD},
};
enum { POLICIES = sizeof policies / sizeof policies[0] };

/* Where the policy puts a block of 100 bytes, if there are holes of these sizes. */
static const size_t holes[] = {400, 150, 900};
enum { HOLES = sizeof holes / sizeof holes[0] };

/* A header in front of every block, no caches, nothing but the policy between a request and the free list. */
static arena_t *make_arena(arena_fit_t fit)
{
    arena_options_t options = {
        .name = "free list", .fit = fit, .flags = ARENA_NO_SLABS | ARENA_SCRIBBLE | ARENA_LEAKS};
    return arena_create(&options);
}

static bool punch_holes(arena_t *arena)
{
    void *blocks[HOLES];
    for (size_t i = 0; i < HOLES; i++) {
        blocks[i] = arena_alloc(arena, holes[i]);
        if (blocks[i] == NULL || arena_alloc_named(arena, 16, "wall") == NULL)
            return false;
    }
    arena_free_batch(arena, blocks, HOLES);
    return true;
}

static bool say(const char *text)
{
    return write(STDOUT_FILENO, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool run(arena_t *arena)
{
    if (!punch_holes(arena))
        return false;
    char *block = arena_alloc_named(arena, 100, "new block");
    if (block == NULL || (unsigned char)block[0] != 0xaa) /* ARENA_SCRIBBLE */
        return false;
    if (!say("After three holes were punched and 100 bytes asked for:\n\n") ||
        !arena_print(arena, STDOUT_FILENO))
        return false;
    block = arena_realloc(arena, block, 2000); /* keeps its name */
    return block != NULL && arena_set_name(arena, arena_calloc(arena, 10, 10), "zeroes") &&
           say("\nAfter it was resized to 2,000, and 10 times 10 zeroes:\n\n") &&
           arena_print(arena, STDOUT_FILENO);
}

int main(int count, char **arguments)
{
    size_t policy = 0;
    while (count > 1 && policy < POLICIES && strcmp(policies[policy].name, arguments[1]) != 0) {
        policy++;
    }
    if (policy == POLICIES) {
        fprintf(stderr, "usage: %s [first_fit|best_fit|worst_fit|next_fit|good_fit] [LOG]\n", arguments[0]);
        return EXIT_FAILURE;
    }
    arena_t *arena = make_arena(policies[policy].fit);
    if (arena == NULL || (count > 2 && !arena_log_open(arena, arguments[2]))) {
        perror("freelist");
        return EXIT_FAILURE;
    }
    bool good = run(arena);
    if (!good)
        perror("freelist");
    say("\nNobody freed the blocks that are left, so ARENA_LEAKS reports them on stderr:\n\n");
    arena_destroy(arena);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
