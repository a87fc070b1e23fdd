/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"

static char buffer[16384];

int main(void)
{
    arena_t *arena = arena_create(&(arena_options_t){
        .name = "test", .source = ARENA_SOURCE_BUFFER, .buffer = buffer, .buffer_bytes = sizeof buffer});
    arena_free(arena, buffer + sizeof buffer);
    return 0;
}
