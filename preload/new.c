/*
 * new.c: C++'s operator new and delete, in C, by their mangled names (Itanium C++ ABI), so that the shared library
 * does not depend on the C++ runtime. Its new handler and its way to throw std::bad_alloc are weak symbols there, bound
 * as the program is loaded. A runtime that came later, with a plugin, is looked for when memory is out; where there is
 * none at all the program is ended with a message. In the archive they are no weak symbols: these would take no member
 * out of the runtime's own archive.
 *
 * Compiled with -fexceptions, because what a handler throws passes through here.
 */
#include "../arena/util.h"
#include "dynamic.h"
#include "names.h"

#include <unistd.h>

typedef void new_handler_fn(void);

/* std::get_new_handler() and std::__throw_bad_alloc() of libstdc++. ARENA_RUNTIME makes them weak. */
extern new_handler_fn *_ZSt15get_new_handlerv(void) ARENA_RUNTIME;
extern void _ZSt17__throw_bad_allocv(void) ARENA_RUNTIME;

/* NULL: was not there as the program was loaded. */
typedef struct {
    new_handler_fn *(*get_handler)(void);
    void (*throw_bad_alloc)(void); /* does not return */
} runtime_t;

static const runtime_t runtime = {_ZSt15get_new_handlerv, _ZSt17__throw_bad_allocv};

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
        new_handler_fn *handler = block != NULL || runtime.get_handler == NULL ? NULL : runtime.get_handler();
        if (handler == NULL) {
            return block;
        }
        handler();
    }
}

/* Who called the form that throws nothing, while the runtime's calls the throwing one: from an object that glibc may need
 * memory to look into. NULL: nobody. */
static _Thread_local const void *quiet_caller;

/* As the code at `caller` would have found it without us, or NULL. Each time anew: a plugin may have its own runtime. */
static void *find_late(const char *symbol, const void *caller)
{
    return dynamic_find == NULL ? NULL : dynamic_find(symbol, quiet_caller != NULL ? quiet_caller : caller);
}

/* It calls our malloc and its own handlers, and throws. libstdc++ 12 rounds an aligned SIZE_MAX up to 0. */
static void *call_throwing(void *operator, size_t size, size_t alignment)
{
    size = min_size(size, PTRDIFF_MAX);
    if (alignment == 0) {
        void *(*plain)(size_t);
        *(void **)&plain = operator;
        return plain(size);
    }
    void *(*aligned)(size_t, size_t);
    *(void **)&aligned = operator;
    return aligned(size, alignment);
}

/* The late operators are those for one object: libstdc++'s for arrays call these, which are ours. */
static NOINLINE void *new_or_throw(size_t size, size_t alignment, const void *caller)
{
    static const char message[] = "libarena: operator new: out of memory\n";
    void *late = runtime.throw_bad_alloc != NULL
                     ? NULL
                     : find_late(alignment == 0 ? "_Znwm" : "_ZnwmSt11align_val_t", caller);
    if (late != NULL) {
        return call_throwing(late, size, alignment);
    }
    void *block = try_with_handler(size, alignment);
    if (block == NULL && runtime.throw_bad_alloc != NULL) {
        runtime.throw_bad_alloc();
    }
    if (block == NULL) {
        (void)!write(STDERR_FILENO, message, sizeof message - 1);
        abort();
    }
    return block;
}

static bool has_handler(const void *caller)
{
    runtime_t late = runtime;
    if (late.get_handler == NULL) {
        *(void **)&late.get_handler = find_late("_ZSt15get_new_handlerv", caller);
    }
    return late.get_handler != NULL && late.get_handler() != NULL;
}

static void *call_quiet(void *operator, size_t size, size_t alignment, const void *nothrow)
{
    if (alignment == 0) {
        void *(*plain)(size_t, const void *);
        *(void **)&plain = operator;
        return plain(size, nothrow);
    }
    void *(*aligned)(size_t, size_t, const void *);
    *(void **)&aligned = operator;
    return aligned(size, alignment, nothrow);
}

/*
 * A handler may throw, and then a form that throws nothing returns NULL. C cannot catch; the C++ runtime's own form
 * calls the throwing one, which is ours, and catches.
 */
static NOINLINE void *new_or_null(size_t size, size_t alignment, const void *nothrow, const char *symbol,
                                  const void *caller)
{
    void *own = has_handler(caller) ? find_late(symbol, caller) : NULL;
    if (own == NULL) {
        return try_with_handler(size, alignment);
    }
    const void *outer = quiet_caller;
    quiet_caller = outer != NULL ? outer : caller;
    void *block = call_quiet(own, size, alignment, nothrow);
    quiet_caller = outer;
    return block;
}

#pragma GCC visibility push(default)

/* clang-format off */
#define CALLER                  __builtin_return_address(0)
#define NEW(name)               void *name(size_t size); \
                                void *name(size_t size) \
                                { void *block = malloc(size); \
                                  return LIKELY(block != NULL) ? block : new_or_throw(size, 0, CALLER); }
#define NEW_NOTHROW(name)       void *name(size_t size, const void *nothrow); \
                                void *name(size_t size, const void *nothrow) \
                                { void *block = malloc(size); \
                                  return LIKELY(block != NULL) \
                                             ? block : new_or_null(size, 0, nothrow, #name, CALLER); }
#define NEW_ALIGNED(name)       void *name(size_t size, size_t alignment); \
                                void *name(size_t size, size_t alignment) \
                                { void *block = memalign(alignment, size); \
                                  return LIKELY(block != NULL) ? block : new_or_throw(size, alignment, CALLER); }
#define NEW_ALIGNED_NOTHROW(name) void *name(size_t size, size_t alignment, const void *nothrow); \
                                void *name(size_t size, size_t alignment, const void *nothrow) \
                                { void *block = memalign(alignment, size); \
                                  return LIKELY(block != NULL) \
                                             ? block : new_or_null(size, alignment, nothrow, #name, CALLER); }
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
