/* expect: libarena: not a block of this library: block 0x..., arena "test" */
#include "arena.h"

int main(void)
{
    arena_range_options_t options = {.name = "test", .source = ARENA_RANGE_SBRK, .flags = ARENA_RANGE_INSIDE};
    arena_range_t *range = arena_range_create(&options);
    arena_range_free(range, (uintptr_t)range); /* it lies where its own first block is */
    return 0;
}
