/*
 * hello.c: the life of an arena in one page.
 *
 * introduces: arena_create(), arena_alloc(), arena_realloc(), arena_usable_size(), arena_free(),
 *             arena_stats(), arena_destroy(), arena_version()
 */
#include "arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returns "hello, <name>" in a block of `arena`, or NULL with errno ENOMEM. */
static char *greet(arena_t *arena, const char *name)
{
    static const char hello[] = "hello, ";
    char *text = arena_alloc(arena, sizeof hello);
    if (text == NULL)
        return NULL;
    memcpy(text, hello, sizeof hello);

    char *longer = arena_realloc(arena, text, sizeof hello + strlen(name));
    if (longer == NULL) {
        arena_free(arena, text); /* a failed realloc leaves the block alone */
        return NULL;
    }
    memcpy(longer + sizeof hello - 1, name, strlen(name) + 1);
    return longer;
}

int main(int argc, char **argv)
{
    arena_options_t options = {.name = "hello"}; /* all else is 0: the defaults */
    arena_t *arena = arena_create(&options);
    if (arena == NULL) {
        perror("hello: arena_create");
        return EXIT_FAILURE;
    }

    char *text = greet(arena, argc > 1 ? argv[1] : "world");
    if (text == NULL) {
        perror("hello: arena_alloc");
        arena_destroy(arena);
        return EXIT_FAILURE;
    }
    printf("%s\n", text);

    arena_stats_t stats;
    arena_stats(arena, &stats, sizeof stats);
    printf("libarena %s: %zu block, %zu bytes asked for, %zu usable, %zu mapped\n", arena_version(),
           stats.live_blocks, strlen(text) + 1, arena_usable_size(arena, text), stats.mapped_bytes);

    arena_free(arena, text); /* or not: arena_destroy takes back whatever is still there */
    arena_destroy(arena);
    return EXIT_SUCCESS;
}
