/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    void *block = arena_alloc(arena, 2 << 20);

    arena_free(arena, block);
    arena_free(arena, block);
    return 0;
}
