/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"
#include <stdlib.h>

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    arena_free(arena, malloc(100));
    return 0;
}
