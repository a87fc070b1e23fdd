/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    void *block = arena_alloc(arena, 100);

    arena_free(arena, (void *)((uintptr_t)block | (uintptr_t)1 << 57));
    return 0;
}
