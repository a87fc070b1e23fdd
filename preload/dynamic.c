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

static bool is_ours(const void *address)
{
    Dl_info there, here;
    return dladdr(address, &there) != 0 && dladdr(&settings, &here) != 0 && there.dli_fbase == here.dli_fbase;
}

/* An object that is loaded is found by the name that it was loaded by. glibc allocates here only for one that is loaded
 * as another's dependency alone. */
static void *find_in(const char *path, const char *symbol)
{
    void *object = dlopen(path, RTLD_NOLOAD | RTLD_LAZY);
    void *found = object == NULL ? NULL : dlsym(object, symbol);
    if (object != NULL) {
        dlclose(object); /* its code is running: it stays */
    }
    return found == NULL || is_ours(found) ? NULL : found;
}

void *dynamic_find(const char *symbol, const void *caller)
{
    Dl_info home;
    void *found = dlsym(RTLD_NEXT, symbol);
    if (found == NULL && dladdr(caller, &home) != 0) {
        found = find_in(home.dli_fname, symbol);
    }
    return found != NULL ? found : find_in("libstdc++.so.6", symbol);
}

typedef void *dlopen_fn(const char *path, int mode);

__attribute__((visibility("default"))) void *dlopen(const char *path, int mode);

void *dlopen(const char *path, int mode)
{
    static _Atomic(dlopen_fn *) real; /* relaxed: every thread finds the same */
    dlopen_fn *next = atomic_load_explicit(&real, memory_order_relaxed);
    if (next == NULL) {
        *(void **)&next = dlsym(RTLD_NEXT, "dlopen");
        atomic_store_explicit(&real, next, memory_order_relaxed);
    }
    return next(path, settings.deepbind ? mode : mode & ~RTLD_DEEPBIND);
}
