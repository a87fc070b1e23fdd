/* expect: libarena: block of another arena: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    arena_t *other = arena_create(NULL);

    arena_free_sized(arena, arena_alloc(other, 100), 100);
    return 0;
}
