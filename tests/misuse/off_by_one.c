/* expect: libarena: broken chunk header: block 0x..., arena "test" */
#include "arena.h"
#include <string.h>

int main(void)
{
    arena_t *arena =
        arena_create(&(arena_options_t){.name = "test", .flags = ARENA_NO_SLABS | ARENA_NO_CACHE});
    char *first = arena_alloc(arena, 200), *volatile second = arena_alloc(arena, 200);
    size_t usable = arena_usable_size(arena, first);

    memset(first, 'x', usable);
    memset(first + usable, 0, 1);
    arena_free(arena, second);
    return 0;
}
