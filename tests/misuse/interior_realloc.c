/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    char *block = arena_alloc(arena, 4 << 20);

    block = arena_realloc(arena, block + 65536, 5 << 20);
    return 0;
}
