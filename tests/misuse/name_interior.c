/* expect: libarena: pointer into the middle of a block: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    char *block = arena_alloc_named(arena, 1000000, "name");

    arena_set_name(arena, block + 64, "other");
    return 0;
}
