/* expect: libarena: double free: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    void *block = arena_alloc(arena, 100), *twice[] = {block, NULL, block};

    arena_free_batch(arena, twice, 3);
    return 0;
}
