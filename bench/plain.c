/*
 * plain.c: what malloc's names do not say: how the allocator behind them is told to give memory back.
 */
#include "heap.h"

#include <dlfcn.h>
#include <malloc.h>

/* Gives back what is free by the allocator's own means, whichever is loaded. */
void plain_trim(void)
{
    void (*collect)(bool) = (void (*)(bool))dlsym(RTLD_DEFAULT, "mi_collect");
    void (*release)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "MallocExtension_ReleaseFreeMemory");
    int (*command)(int, void *) = (int (*)(int, void *))dlsym(RTLD_DEFAULT, "scalable_allocation_command");
    int (*control)(const char *, void *, size_t *, void *, size_t) =
        (int (*)(const char *, void *, size_t *, void *, size_t))dlsym(RTLD_DEFAULT, "mallctl");
    if (collect != NULL) {
        collect(true);
    } else if (release != NULL) {
        release();
    } else if (command != NULL) {
        command(0, NULL); /* TBBMALLOC_CLEAN_ALL_BUFFERS */
    } else if (control != NULL) {
        control("thread.tcache.flush", NULL, NULL, NULL, 0);
        control("arena.4096.purge", NULL, NULL, NULL, 0); /* MALLCTL_ARENAS_ALL */
    } else {
        malloc_trim(0);
    }
}
