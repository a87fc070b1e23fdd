/* expect: libarena: use of a destroyed arena: block 0x..., arena "" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(NULL);
    arena_destroy(arena);
    arena_check(arena);
    return 0;
}
