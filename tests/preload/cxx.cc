/*
 * cxx.cc: operator new and delete in all their forms, what they throw, the new handler, and the standard
 * library's containers over them.
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <sys/resource.h>
#include <unistd.h>

#define must(condition) ((condition) ? (void)0 : die(__LINE__, #condition))

namespace {

[[noreturn]] void die(int line, const char *condition)
{
    std::fprintf(stderr, "cxx.cc:%d: broken: %s\n", line, condition);
    std::abort();
}

constexpr std::size_t MIB = std::size_t(1) << 20;
std::size_t volatile too_large = std::size_t(PTRDIFF_MAX) + 1;

std::string *from_constructor = new std::string(1000, 'c'); // before main
std::map<int, std::string> static_map = {{1, "one"}, {2, std::string(500, '2')}};
thread_local std::vector<int> of_a_thread(1000, 7); // freed after the library's own part of a thread's end

bool aligned_to(const void *block, std::size_t alignment)
{
    return (reinterpret_cast<std::uintptr_t>(block) & (alignment - 1)) == 0;
}

void *filled(void *block, std::size_t size)
{
    must(block != nullptr && aligned_to(block, 16));
    return std::memset(block, 0x5a, size);
}

void plain_forms_pair()
{
    for (std::size_t size = 0; size < 2 * MIB; size = size * 3 / 2 + 1) {
        ::operator delete(filled(::operator new(size), size));
        ::operator delete(filled(::operator new(size), size), size);
        ::operator delete[](filled(::operator new[](size), size));
        ::operator delete[](filled(::operator new[](size), size), size);
        ::operator delete(filled(::operator new(size, std::nothrow), size), std::nothrow);
        ::operator delete[](filled(::operator new[](size, std::nothrow), size), std::nothrow);
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    ::operator delete(nullptr, std::size_t(8));
    void *first = ::operator new(0), *second = ::operator new(0);
    must(first != nullptr && first != second);
    ::operator delete(first);
    ::operator delete(second);
}

void aligned_forms_pair()
{
    for (std::size_t log2 = 3; log2 <= 20; log2++) {
        std::align_val_t alignment{std::size_t(1) << log2};
        for (std::size_t size = 0; size < 100000; size = size * 5 + 1) {
            void *blocks[] = {::operator new(size, alignment),
                              ::operator new(size, alignment),
                              ::operator new(size, alignment, std::nothrow),
                              ::operator new[](size, alignment),
                              ::operator new[](size, alignment),
                              ::operator new[](size, alignment, std::nothrow)};
            for (void *block : blocks) {
                must(block != nullptr && aligned_to(block, std::size_t(1) << log2));
                std::memset(block, 1, size);
            }
            ::operator delete(blocks[0], alignment);
            ::operator delete(blocks[1], size, alignment);
            ::operator delete(blocks[2], alignment, std::nothrow);
            ::operator delete[](blocks[3], alignment);
            ::operator delete[](blocks[4], size, alignment);
            ::operator delete[](blocks[5], alignment, std::nothrow);
        }
    }
}

template <typename Call> bool throws_bad_alloc(Call call)
{
    try {
        call();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

bool under_library()
{
    Dl_info home{};
    return dladdr(dlsym(RTLD_DEFAULT, "malloc"), &home) == 0 ||
           std::strstr(home.dli_fname, "libc.so") == nullptr;
}

void huge_sizes_throw()
{
    const std::align_val_t alignment{64};
    for (std::size_t size :
         {std::size_t(too_large), std::size_t(too_large) + 4096, SIZE_MAX - 15, SIZE_MAX}) {
        must(throws_bad_alloc([=] { ::operator delete(::operator new(size)); }));
        must(throws_bad_alloc([=] { ::operator delete[](::operator new[](size)); }));
        must(::operator new(size, std::nothrow) == nullptr);
        must(::operator new[](size, std::nothrow) == nullptr);
        if (size > SIZE_MAX / 4 * 3 && !under_library())
            continue; // libstdc++ 12 rounds these up to 0
        must(throws_bad_alloc([=] { ::operator delete(::operator new(size, alignment)); }));
        must(throws_bad_alloc([=] { ::operator delete[](::operator new[](size, alignment)); }));
        must(::operator new(size, alignment, std::nothrow) == nullptr);
        must(::operator new[](size, alignment, std::nothrow) == nullptr);
    }
    std::size_t volatile count = SIZE_MAX / 4;
    must(throws_bad_alloc([&] { delete[] new long[count]; }));
}

int calls;
void *ballast;

void give_up_after_three()
{
    if (++calls == 3)
        std::set_new_handler(nullptr);
}

struct own_error {};

void throw_own_error()
{
    throw own_error();
}

void throw_bad_alloc()
{
    throw std::bad_alloc();
}

void free_the_ballast()
{
    calls++;
    ::operator delete(ballast);
    ballast = nullptr;
    std::set_new_handler(nullptr);
}

void the_new_handler_is_called_until_it_gives_up()
{
    calls = 0;
    std::set_new_handler(give_up_after_three);
    must(throws_bad_alloc([] { ::operator delete(::operator new(too_large)); }));
    must(calls == 3);
    calls = 0;
    std::set_new_handler(give_up_after_three);
    must(::operator new(too_large, std::nothrow) == nullptr &&calls == 3);
    calls = 0;
    std::set_new_handler(give_up_after_three);
    must(::operator new[](too_large, std::align_val_t{64}, std::nothrow) == nullptr);
    must(calls == 3);
}

void the_new_handler_may_throw()
{
    bool caught = false;
    std::set_new_handler(throw_own_error);
    try {
        ::operator delete(::operator new(too_large));
    } catch (const own_error &) {
        caught = true;
    }
    must(caught);
    std::set_new_handler(throw_bad_alloc);
    must(throws_bad_alloc([] { ::operator delete[](::operator new[](too_large)); }));
    std::set_new_handler(nullptr);
}

void the_new_handler_may_free_memory()
{
    rlimit before{}, tight{};
    std::size_t pages = 0;
    std::FILE *file = std::fopen("/proc/self/statm", "r");
    must(file != nullptr && std::fscanf(file, "%zu", &pages) == 1);
    std::fclose(file);
    must(getrlimit(RLIMIT_AS, &before) == 0);
    tight = before;
    tight.rlim_cur = pages * std::size_t(sysconf(_SC_PAGESIZE)) + 200 * MIB;
    must(setrlimit(RLIMIT_AS, &tight) == 0);
    calls = 0;
    ballast = ::operator new(150 * MIB);
    std::set_new_handler(free_the_ballast);
    ::operator delete(::operator new(150 * MIB));
    must(calls == 1 && ballast == nullptr);
    must(setrlimit(RLIMIT_AS, &before) == 0);
}

void use_containers(unsigned seed)
{
    std::map<unsigned, std::vector<std::string>> map;
    for (unsigned i = 0; i < 3000; i++) {
        seed = seed * 1664525u + 1013904223u;
        map[seed % 300].push_back(std::string(seed % 200, char('a' + seed % 26)));
        if (seed % 5 == 0)
            map.erase(seed / 7 % 300);
    }
    for (const auto &entry : map)
        for (const std::string &text : entry.second)
            must(text.find_first_not_of(text.empty() ? 'x' : text[0]) == std::string::npos);
    of_a_thread.assign(2000, int(seed));
    std::shared_ptr<long> shared = std::make_shared<long>(3);
    try {
        throw std::string(300, 'e');
    } catch (const std::string &text) {
        must(text.size() == 300);
    }
}

void containers_work_in_threads()
{
    for (int round = 0; round < 10; round++) {
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < 4; i++)
            threads.emplace_back(use_containers, i + 1);
        for (std::thread &thread : threads)
            thread.join();
    }
}

void what_was_made_before_main_is_whole()
{
    must(*from_constructor == std::string(1000, 'c'));
    delete from_constructor;
    must(static_map.at(2).size() == 500);
}

/* Under the library all forms are its own: some straight to malloc, and sized ones with no size lost. */
void all_forms_come_from_one_object()
{
    static const char *const names[] = {"_Znwm",
                                        "_Znam",
                                        "_ZnwmRKSt9nothrow_t",
                                        "_ZnamRKSt9nothrow_t",
                                        "_ZnwmSt11align_val_t",
                                        "_ZnamSt11align_val_t",
                                        "_ZnwmSt11align_val_tRKSt9nothrow_t",
                                        "_ZnamSt11align_val_tRKSt9nothrow_t",
                                        "_ZdlPv",
                                        "_ZdaPv",
                                        "_ZdlPvm",
                                        "_ZdaPvm",
                                        "_ZdlPvRKSt9nothrow_t",
                                        "_ZdaPvRKSt9nothrow_t",
                                        "_ZdlPvSt11align_val_t",
                                        "_ZdaPvSt11align_val_t",
                                        "_ZdlPvmSt11align_val_t",
                                        "_ZdaPvmSt11align_val_t",
                                        "_ZdlPvSt11align_val_tRKSt9nothrow_t",
                                        "_ZdaPvSt11align_val_tRKSt9nothrow_t"};
    Dl_info home{}, other{};
    if (!under_library())
        return;
    must(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &home) != 0);
    for (const char *name : names) {
        void *address = dlsym(RTLD_DEFAULT, name);
        bool same = address != nullptr && dladdr(address, &other) != 0 &&
                    std::strcmp(home.dli_fname, other.dli_fname) == 0;
        if (!same)
            std::fprintf(stderr, "%s is not the library's\n", name);
        must(same);
    }
}

} // namespace

int main()
{
    what_was_made_before_main_is_whole();
    the_new_handler_may_free_memory(); // while little else is mapped
    plain_forms_pair();
    aligned_forms_pair();
    huge_sizes_throw();
    the_new_handler_is_called_until_it_gives_up();
    the_new_handler_may_throw();
    containers_work_in_threads();
    all_forms_come_from_one_object();
    std::puts("all forms of new and delete work");
    return 0;
}
