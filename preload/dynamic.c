/*
 * dynamic.c: dlopen without RTLD_DEEPBIND. An object opened with that flag takes malloc and free from the C
 * library, past us, while the C library's own functions (strdup, getline) go on using ours: what one allocates
 * the other cannot free. So the flag is dropped, unless ARENA_DEEPBIND=1.
 *
 * dlopen looks at its return address to know who calls ($ORIGIN, RUNPATH): the call of the real one is the last
 * thing here, and gcc and clang make a jump of it (tests/preload has a plugin that is found in this way only).
 * Not in the archive: a static program binds everything before it starts.
 */
#include "dynamic.h"

#include "settings.h"

#include <dlfcn.h>

void *dynamic_next(const char *symbol)
{
    return dlsym(RTLD_NEXT, symbol);
}

typedef void *dlopen_fn(const char *path, int mode);

__attribute__((visibility("default"))) void *dlopen(const char *path, int mode);

void *dlopen(const char *path, int mode)
{
    static _Atomic(dlopen_fn *) real; /* relaxed: every thread finds the same */
    dlopen_fn *next = atomic_load_explicit(&real, memory_order_relaxed);
    if (next == NULL) {
        *(void **)&next = dynamic_next("dlopen");
        atomic_store_explicit(&real, next, memory_order_relaxed);
    }
    return next(path, settings.deepbind ? mode : mode & ~RTLD_DEEPBIND);
}
