/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    void *mixed[] = {arena_alloc(arena, 8), &arena};

    arena_free_batch(arena, mixed, 2);
    return 0;
}
