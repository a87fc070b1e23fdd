/* expect: libarena: use of a destroyed arena: block 0x..., arena "" */
#include "arena.h"

static int visit(void *context, const arena_block_t *block)
{
    (void)context;
    (void)block;
    return 0;
}

int main(void)
{
    arena_t *arena = arena_create(NULL);
    arena_destroy(arena);
    return arena_walk(arena, visit, NULL);
}
