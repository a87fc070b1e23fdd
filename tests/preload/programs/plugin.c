/*
 * plugin.c: what plugins.c loads. It allocates in its constructor and lets blocks cross its boundary, by
 * malloc's own names and by functions of the C library that allocate for it.
 */
#define _GNU_SOURCE
#include "plugin.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static char *from_constructor;

__attribute__((constructor)) static void load(void)
{
    from_constructor = malloc(PLUGIN_BLOCK);
    if (from_constructor != NULL)
        memset(from_constructor, 'c', PLUGIN_BLOCK);
}

__attribute__((destructor)) static void unload(void)
{
    free(from_constructor);
}

static char *take_from_constructor(void)
{
    char *block = from_constructor;

    from_constructor = NULL;
    return block;
}

static char *duplicate(const char *text)
{
    return strdup(text);
}

static void *allocate_aligned(size_t alignment, size_t size)
{
    void *block;

    return posix_memalign(&block, alignment, size) == 0 ? block : NULL;
}

/* dlopen tells by its return address whose RUNPATH to search: no jump may stand for the call. */
static void *open_by_name(const char *name, int flags)
{
    void *volatile handle = dlopen(name, flags);

    return handle;
}

const plugin_t plugin = {
    .take_from_constructor = take_from_constructor,
    .malloc = malloc,
    .calloc = calloc,
    .realloc = realloc,
    .aligned = allocate_aligned,
    .strdup = duplicate,
    .free = free,
    .open = open_by_name,
};
