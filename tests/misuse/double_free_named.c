/* expect: libarena: double free: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "test"});
    void *keep = arena_alloc_named(arena, 64, "keeps the mark");
    void *block = arena_alloc_named(arena, 64, "name");

    arena_free(arena, block);
    arena_free(arena, block);
    arena_free(arena, keep);
    return 0;
}
