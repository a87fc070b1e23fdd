/* expect: libarena: pointer into the middle of a block: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_range_t *range = arena_range_create(&(arena_range_options_t){.name = "test", .bytes = 4096});
    uint64_t block = arena_range_alloc(range, 100);
    arena_range_free(range, block + 1);
    return 0;
}
