/* expect: libarena: pointer into the middle of a block: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    char *block = arena_alloc(arena, 100000);

    arena_free(arena, block + 70000);
    return 0;
}
