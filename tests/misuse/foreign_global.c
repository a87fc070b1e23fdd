/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"

static long global[16];

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    arena_free(arena, global + 2);
    return 0;
}
