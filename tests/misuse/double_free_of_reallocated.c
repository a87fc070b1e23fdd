/* expect: libarena: double free: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    void *block = arena_alloc(arena, 3 << 20), *wall = arena_alloc(arena, 3 << 20);
    void *moved = arena_realloc(arena, block, 100);

    arena_free(arena, moved);
    arena_free(arena, moved);
    arena_free(arena, wall);
    return 0;
}
