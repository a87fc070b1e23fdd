/* expect: libarena: pointer into the middle of a block: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test", .flags = ARENA_NO_CACHE});
    char *blocks[5000];

    arena_alloc_batch(arena, 96, 5000, (void **)blocks);
    arena_free(arena, blocks[4000] + 16);
    return 0;
}
