/*
 * cxx_nothrow.cc: the nothrow forms of operator new answer null also when the new handler throws.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <new>

static std::size_t volatile too_large = std::size_t(PTRDIFF_MAX) + 1;

static void throw_bad_alloc()
{
    throw std::bad_alloc();
}

int main()
{
    const std::align_val_t alignment{64};
    std::set_new_handler(throw_bad_alloc);
    bool all_null = ::operator new(too_large, std::nothrow) ==
                    nullptr && ::operator new[](too_large, std::nothrow) ==
                    nullptr && ::operator new(too_large, alignment, std::nothrow) ==
                    nullptr && ::operator new[](too_large, alignment, std::nothrow) == nullptr;
    std::puts(all_null ? "all are null" : "one is not null");
    return !all_null;
}
