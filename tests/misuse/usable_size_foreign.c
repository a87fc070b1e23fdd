/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    if (arena_usable_size(arena, &arena) == 1)
        return 2;
    return 0;
}
