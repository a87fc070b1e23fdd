/* expect: libarena: pointer into the middle of a block: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena =
        arena_create(&(arena_options_t){.name = "test", .flags = ARENA_NO_CACHE | ARENA_NO_SLABS});
    char *block = arena_alloc(arena, 3000);

    arena_free(arena, block + 8);
    return 0;
}
