/* expect: libarena: double free: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test", .flags = ARENA_CHECKED});
    void *blocks[4000];

    for (int i = 0; i < 4000; i++)
        blocks[i] = arena_alloc(arena, 64);
    for (int i = 0; i < 4000; i += 3)
        arena_free(arena, blocks[i]);
    arena_free(arena, blocks[3600]);
    return 0;
}
