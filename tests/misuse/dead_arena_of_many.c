/* expect: libarena: use of a destroyed arena: block 0x..., arena "" */
#include "arena.h"

enum { ARENAS = 1000 };

/* The last of many: more than wait with all that an arena has. */
int main(void)
{
    static arena_t *arenas[ARENAS];

    for (int i = 0; i < ARENAS; i++) {
        arenas[i] = arena_create(NULL);
        arena_free(arenas[i], arena_alloc(arenas[i], 100));
    }
    for (int i = 0; i < ARENAS; i++) {
        arena_destroy(arenas[i]);
    }
    arena_trim(arenas[ARENAS - 1], 0);
    return 0;
}
