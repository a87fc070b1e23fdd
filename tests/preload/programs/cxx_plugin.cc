/*
 * cxx_plugin.cc: what cxx_plugins.c loads into a program without C++: every throwing and every quiet form of operator new
 * where there is no memory.
 */
#include <cstddef>
#include <new>

static int calls;

static void give_up()
{
    calls++;
    std::set_new_handler(nullptr);
}

static void throw_bad_alloc()
{
    throw std::bad_alloc();
}

template <typename Call> static int throws_bad_alloc(Call call)
{
    try {
        call();
    } catch (const std::bad_alloc &) {
        return 1;
    }
    return 0;
}

/* A bit for each promise that is kept. */
extern "C" unsigned keep_promises(std::size_t size)
{
    const std::align_val_t alignment{64};
    unsigned kept = 0, bit = 1;
    auto promise = [&](bool keeps) {
        kept |= keeps ? bit : 0;
        bit *= 2;
    };
    promise(throws_bad_alloc([=] { ::operator delete(::operator new(size)); }));
    promise(throws_bad_alloc([=] { ::operator delete[](::operator new[](size)); }));
    promise(throws_bad_alloc([=] { ::operator delete(::operator new(size, alignment), alignment); }));
    promise(throws_bad_alloc([=] { ::operator delete[](::operator new[](size, alignment), alignment); }));
    promise(::operator new(size, std::nothrow) == nullptr);
    promise(::operator new[](size, std::nothrow) == nullptr);
    promise(::operator new(size, alignment, std::nothrow) == nullptr);
    promise(::operator new[](size, alignment, std::nothrow) == nullptr);
    calls = 0;
    std::set_new_handler(give_up);
    promise(throws_bad_alloc([=] { ::operator delete(::operator new(size)); }) && calls == 1);
    return kept;
}

/* With a handler that throws. */
extern "C" unsigned keep_quiet(std::size_t size)
{
    std::set_new_handler(throw_bad_alloc);
    unsigned kept = (::operator new(size, std::nothrow) == nullptr) |
                    (::operator new[](size, std::nothrow) == nullptr) << 1;
    std::set_new_handler(nullptr);
    return kept;
}
