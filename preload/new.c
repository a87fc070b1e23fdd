/*
 * new.c: C++'s operator new and delete, in C, by their mangled names (Itanium C++ ABI), so that the C++ runtime is
 * not linked. If the program has it, its new handler and its way to throw std::bad_alloc are found as weak
 * symbols; a program that has none and runs out of memory in operator new is ended with a message.
 *
 * Compiled with -fexceptions, because what a handler throws passes through here.
 */
#include "dynamic.h"
#include "names.h"

#include <unistd.h>

typedef void new_handler_fn(void);

/* std::get_new_handler() and std::__throw_bad_alloc() of libstdc++. */
extern new_handler_fn *_ZSt15get_new_handlerv(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak, noreturn));

static void *try_once(size_t size, size_t alignment)
{
    if (alignment == 0) {
        return malloc(size);
    }
    return memalign(alignment, size);
}

/* The handler frees something, installs another, throws, or does not return; without one it is the end. */
static void *try_with_handler(size_t size, size_t alignment)
{
    for (;;) {
        void *block = try_once(size, alignment);
        new_handler_fn *handler =
            block != NULL || _ZSt15get_new_handlerv == NULL ? NULL : _ZSt15get_new_handlerv();
        if (handler == NULL) {
            return block;
        }
        handler();
    }
}

static NOINLINE void *new_or_throw(size_t size, size_t alignment)
{
    static const char message[] = "libarena: operator new: out of memory\n";
    void *block = try_with_handler(size, alignment);
    if (block == NULL && _ZSt17__throw_bad_allocv != NULL) {
        _ZSt17__throw_bad_allocv();
    }
    if (block == NULL) {
        (void)!write(STDERR_FILENO, message, sizeof message - 1);
        abort();
    }
    return block;
}

/*
 * A handler may throw, and then a form that throws nothing returns NULL. C cannot catch; the C++ runtime's own form, next
 * behind ours, calls the throwing one and catches.
 */
static void *new_nothrow(const char *symbol, size_t size, size_t alignment, const void *nothrow)
{
    void *block = try_once(size, alignment);
    void *next = block != NULL || dynamic_next == NULL ? NULL : dynamic_next(symbol);
    if (next == NULL) {
        return block != NULL ? block : try_with_handler(size, alignment);
    }
    if (alignment == 0) {
        void *(*plain)(size_t, const void *);
        *(void **)&plain = next;
        return plain(size, nothrow);
    }
    void *(*aligned)(size_t, size_t, const void *);
    *(void **)&aligned = next;
    return aligned(size, alignment, nothrow);
}

static void *new_plain(size_t size)
{
    void *block = malloc(size);
    return LIKELY(block != NULL) ? block : new_or_throw(size, 0);
}

#pragma GCC visibility push(default)

/* clang-format off */
#define NEW(name)               void *name(size_t size); \
                                void *name(size_t size) { return new_plain(size); }
#define NEW_NOTHROW(name)       void *name(size_t size, const void *nothrow); \
                                void *name(size_t size, const void *nothrow) \
                                { return new_nothrow(#name, size, 0, nothrow); }
#define NEW_ALIGNED(name)       void *name(size_t size, size_t alignment); \
                                void *name(size_t size, size_t alignment) { return new_or_throw(size, alignment); }
#define NEW_ALIGNED_NOTHROW(name) void *name(size_t size, size_t alignment, const void *nothrow); \
                                void *name(size_t size, size_t alignment, const void *nothrow) \
                                { return new_nothrow(#name, size, alignment, nothrow); }
/* What else a delete is told (size, alignment, nothrow) is not needed. */
#define DELETE(name)            void name(void *block); \
                                void name(void *block) { free(block); }

NEW(_Znwm)                                          /* operator new(size_t) */
NEW(_Znam)                                          /* operator new[](size_t) */
NEW_NOTHROW(_ZnwmRKSt9nothrow_t)
NEW_NOTHROW(_ZnamRKSt9nothrow_t)
NEW_ALIGNED(_ZnwmSt11align_val_t)
NEW_ALIGNED(_ZnamSt11align_val_t)
NEW_ALIGNED_NOTHROW(_ZnwmSt11align_val_tRKSt9nothrow_t)
NEW_ALIGNED_NOTHROW(_ZnamSt11align_val_tRKSt9nothrow_t)
DELETE(_ZdlPv)                                      /* operator delete(void *) */
DELETE(_ZdaPv)                                      /* operator delete[](void *) */
DELETE(_ZdlPvm)
DELETE(_ZdaPvm)
DELETE(_ZdlPvRKSt9nothrow_t)
DELETE(_ZdaPvRKSt9nothrow_t)
DELETE(_ZdlPvSt11align_val_t)
DELETE(_ZdaPvSt11align_val_t)
DELETE(_ZdlPvmSt11align_val_t)
DELETE(_ZdaPvmSt11align_val_t)
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t)
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t)
/* clang-format on */

#pragma GCC visibility pop
