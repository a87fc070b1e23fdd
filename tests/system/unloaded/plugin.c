/* plugin.c: what unloaded.c loads: a library of a program's that has its arenas to itself, and takes them along. */
#include <arena.h>

#define SHOWN __attribute__((visibility("default")))

SHOWN void *plugin_alloc(size_t size);
SHOWN void plugin_end(void);

static arena_t *arena;

void *plugin_alloc(size_t size)
{
    arena = arena == NULL ? arena_create(NULL) : arena;
    return arena == NULL ? NULL : arena_alloc(arena, size);
}

void plugin_end(void)
{
    arena_destroy(arena);
    arena = NULL;
}
