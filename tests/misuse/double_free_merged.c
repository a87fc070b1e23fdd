/* expect: libarena: double free: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena =
        arena_create(&(arena_options_t){.name = "test", .flags = ARENA_NO_CACHE | ARENA_NO_SLABS});
    void *blocks[5];

    for (int i = 0; i < 5; i++)
        blocks[i] = arena_alloc(arena, 100);
    for (int i = 1; i < 4; i++)
        arena_free(arena, blocks[i]);
    arena_free(arena, blocks[2]);
    return 0;
}
