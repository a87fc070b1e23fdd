/* expect: libarena: freed with a size above the usable: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    arena_free_sized(arena, arena_alloc(arena, 8), SIZE_MAX);
    return 0;
}
