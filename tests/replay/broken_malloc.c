/*
 * broken_malloc.c: malloc's names over a bump, with one defect, named by BROKEN_MALLOC: what a replay must
 * notice. Without a defect nothing is ever reused, and all is well.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { ROOM = 64 << 20, HEADER = 16 };

static _Alignas(4096) unsigned char room[ROOM];
static size_t used = HEADER;

static bool broken(const char *defect)
{
    const char *now = getenv("BROKEN_MALLOC");
    return now != NULL && strcmp(now, defect) == 0;
}

static size_t *size_of(void *block)
{
    return (size_t *)((unsigned char *)block - HEADER);
}

static void *take(size_t alignment, size_t size)
{
    size_t at = (used + HEADER + alignment - 1) / alignment * alignment;
    if (size > ROOM || at > ROOM - size || broken("exhausted")) {
        errno = ENOMEM;
        return NULL;
    }
    used = (at + size + 15) / 16 * 16;
    if (broken("overlap") && size >= 64)
        used -= 48;
    memset(room + at, 0x5a, size);
    *size_of(room + at) = size;
    return room + at + (broken("misaligned") ? 8 : 0);
}

EXPORT void *malloc(size_t size)
{
    return take(16, size);
}

EXPORT void free(void *block)
{
    if (block != NULL && broken("scribble"))
        used -= used > 4096 ? 1024 : 0;
}

EXPORT void *calloc(size_t count, size_t size)
{
    void *block = take(16, count * size);
    return block == NULL || broken("unzeroed") ? block : memset(block, 0, count * size);
}

EXPORT void *realloc(void *block, size_t size)
{
    void *moved = take(16, size);
    if (moved == NULL || block == NULL)
        return moved;
    size_t old = *size_of(block);
    return broken("lost") ? moved : memcpy(moved, block, old < size ? old : size);
}

EXPORT int posix_memalign(void **result, size_t alignment, size_t size)
{
    *result = take(broken("unaligned") ? 16 : alignment, size);
    return *result == NULL ? ENOMEM : 0;
}
