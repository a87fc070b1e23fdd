/* expect: libarena: use of a destroyed arena: block 0x..., arena "" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(NULL);
    arena_destroy(arena);
    void *block = arena_alloc(arena, 10 << 20);

    arena_free(arena, block);
    return 0;
}
