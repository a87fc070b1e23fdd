/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    long local[4] = {0};

    arena_free(arena, local);
    return 0;
}
