/*
 * preload_support.h: what the programs of this folder share. They call malloc by its own names and never
 * the library's: each runs under the preload library and, to show that the test is right, on plain glibc.
 */
#ifndef PRELOAD_SUPPORT_H
#define PRELOAD_SUPPORT_H

#include "../support.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdatomic.h>
#include <sys/resource.h>

enum { ALIGNMENT = 16, PAGE_AT_MOST = 65536 };

/* Larger than any object may be. Not a constant to the compiler, which would warn or know the answer. */
SUPPORT_UNUSED static size_t volatile too_large = (size_t)PTRDIFF_MAX + 1;

/* The file that the symbol comes from. */
SUPPORT_UNUSED static const char *home_of(const char *symbol)
{
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, symbol);

    return address != NULL && dladdr(address, &info) != 0 ? info.dli_fname : NULL;
}

/* Whether malloc is the library's and not glibc's. */
SUPPORT_UNUSED static bool under_library(void)
{
    const char *home = home_of("malloc");

    return home == NULL || strstr(home, "libc.so") == NULL;
}

SUPPORT_UNUSED static bool aligned_to(const void *block, size_t alignment)
{
    return ((uintptr_t)block & (alignment - 1)) == 0;
}

/* One figure of /proc/self/statm in bytes: 0 the address space, 1 what is resident. */
SUPPORT_UNUSED static size_t statm_bytes(int which)
{
    char text[128] = "";
    FILE *file = fopen("/proc/self/statm", "r");
    size_t pages[2];

    must(file != NULL && fgets(text, sizeof text, file) != NULL);
    fclose(file);
    must(sscanf(text, "%zu %zu", &pages[0], &pages[1]) == 2);
    return pages[which] * (size_t)sysconf(_SC_PAGESIZE);
}

/* Lets the address space grow by `more` bytes and not further. */
SUPPORT_UNUSED static void limit_address_space(size_t more)
{
    rlim_t limit = statm_bytes(0) + more;

    must(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}) == 0);
}

/* Random sizes, replaced at random and verified, until `seconds` are over or `stop` is set. */
SUPPORT_UNUSED static void churn(uint64_t seed, double seconds, const atomic_bool *stop)
{
    enum { SLOTS = 400 };
    struct {
        unsigned char *block;
        size_t size;
    } slots[SLOTS] = {0};
    rng_t rng = {seed};
    double end = now_seconds() + seconds;

    for (size_t round = 0; (round & 63) != 0 || (now_seconds() < end && (stop == NULL || !*stop)); round++) {
        size_t i = rng_below(&rng, SLOTS), size = rng_size(&rng, round % 512 == 0 ? 20 : 13);
        if (slots[i].block != NULL)
            must(holds(slots[i].block, slots[i].size, seed + i));
        if (rng_below(&rng, 4) == 0) {
            slots[i].block = realloc(slots[i].block, size + 1);
        } else {
            free(slots[i].block);
            slots[i].block = malloc(size + 1);
        }
        must(slots[i].block != NULL);
        slots[i].size = size + 1;
        fill(slots[i].block, size + 1, seed + i);
    }
    for (size_t i = 0; i < SLOTS; i++)
        free(slots[i].block);
}

#endif
