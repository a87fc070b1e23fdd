/* expect: libarena: double free: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test", .flags = ARENA_CHECKED});
    void *block = arena_alloc(arena, 100);

    arena_free(arena, block);
    if (arena_usable_size(arena, block) == 1)
        return 2;
    return 0;
}
