// A C++ consumer: the header compiles as C++ and its functions link.
#include <arena.h>

#include <cstdio>
#include <new>

namespace {

struct point {
    double x, y;
};

} // namespace

int main()
{
    arena_options_t options{};
    options.name = "c++";
    options.flags = ARENA_NO_SLABS | ARENA_ZERO;
    arena_t *arena = arena_create(&options);
    if (arena == nullptr) {
        return 1;
    }

    void *memory = arena_aligned_alloc(arena, alignof(point), sizeof(point));
    if (memory == nullptr) {
        return 1;
    }
    point *p = new (memory) point{1, 2};
    arena_free_sized(arena, p, sizeof(point));
    arena_destroy(arena);
    std::puts(arena_version());
    return 0;
}
