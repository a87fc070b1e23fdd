/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    arena_free_sized(arena, &arena, 8);
    return 0;
}
