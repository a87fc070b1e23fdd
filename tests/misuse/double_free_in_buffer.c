/* expect: libarena: double free: block 0x..., arena "test" */
#include "arena.h"

static char buffer[16384];

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){
        .name = "test", .source = ARENA_SOURCE_BUFFER, .buffer = buffer, .buffer_bytes = sizeof buffer});
    void *block = arena_alloc(arena, 100);

    arena_free(arena, block);
    arena_free(arena, block);
    return 0;
}
