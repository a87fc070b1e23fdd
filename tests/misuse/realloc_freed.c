/* expect: libarena: double free: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test", .flags = ARENA_CHECKED});
    void *block = arena_alloc(arena, 100);

    arena_free(arena, block);
    block = arena_realloc(arena, block, 5000);
    return 0;
}
