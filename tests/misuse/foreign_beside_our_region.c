/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    char *block = arena_alloc(arena, 100);

    arena_free(arena, (char *)((uintptr_t)block ^ (uintptr_t)1 << 40));
    return 0;
}
