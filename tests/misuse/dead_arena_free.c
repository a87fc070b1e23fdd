/* expect: libarena: use of a destroyed arena: block 0x..., arena "" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(NULL);
    void *block = arena_alloc(arena, 100);

    arena_destroy(arena);
    arena_free(arena, block);
    return 0;
}
