/* expect: libarena: double free: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    void *blocks[5000];

    arena_alloc_batch(arena, 48, 5000, blocks);
    for (int i = 0; i < 5000; i += 2)
        arena_free(arena, blocks[i]);
    arena_thread_flush();
    arena_trim(arena, 0);
    arena_free(arena, blocks[4000]);
    return 0;
}
