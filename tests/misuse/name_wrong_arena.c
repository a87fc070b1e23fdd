/* expect: libarena: block of another arena: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    arena_t *other = arena_create(&(arena_options_t){.name = "other"});

    arena_set_name(arena, arena_alloc(other, 10), "name");
    return 0;
}
