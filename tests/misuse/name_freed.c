/* expect: libarena: double free: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test", .flags = ARENA_NO_CACHE});
    char *block = arena_alloc_named(arena, 100, "name");

    arena_free(arena, block);
    arena_set_name(arena, block, "again");
    return 0;
}
