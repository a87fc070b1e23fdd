/* expect: libarena: freed with a size above the usable: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test", .flags = ARENA_NO_CACHE});
    void *block = arena_alloc(arena, 100);

    arena_free_sized(arena, block, arena_usable_size(arena, block) + 1);
    return 0;
}
