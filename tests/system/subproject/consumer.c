/* A consumer of the library: the public header only; prints the version of what it runs. */
#include <arena.h>

#include <stdio.h>

int main(void)
{
    arena_t *arena = arena_create(NULL);
    char *block = arena_alloc(arena, 100);

    if (!block) {
        return 1;
    }
    block[99] = 1;
    arena_free(arena, block);
    arena_destroy(arena);
    puts(arena_version());
    return 0;
}
