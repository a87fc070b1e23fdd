/* expect: libarena: block of another arena: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    arena_t *other = arena_create(&(arena_options_t){.name = "other"});
    void *block = arena_alloc(other, 2 << 20);

    arena_free(arena, block);
    return 0;
}
