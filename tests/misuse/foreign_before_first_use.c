/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    static char memory[4096];

    arena_free(arena, memory + 64);
    return 0;
}
