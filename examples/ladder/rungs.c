/* rungs.c: each rung is compiled with a prefix of its own, see CMakeLists.txt. */
#include "rungs.h"

#include "arena.h"

#include <stdlib.h>

#define DECLARE(prefix)                                   \
    void *prefix##HeapMgr_malloc(size_t bytes);           \
    void prefix##HeapMgr_free(void *block);               \
    const char *prefix##HeapMgr_check(const void *block); \
    void prefix##HeapMgr_walk(HeapMgr_visit visit, void *context);
#define USE(prefix) prefix##HeapMgr_malloc, prefix##HeapMgr_free, prefix##HeapMgr_check, prefix##HeapMgr_walk

DECLARE(r1_)
DECLARE(r2_)
DECLARE(r3_)
DECLARE(r3b_)
DECLARE(r4_)
DECLARE(r4b_)
DECLARE(r5_)
DECLARE(r6_)
DECLARE(r7_)

static arena_t *arena;

static void *libarena_malloc(size_t bytes)
{
    if (arena == NULL)
        arena = arena_create(NULL);
    return arena != NULL ? arena_alloc(arena, bytes) : NULL;
}

static void libarena_free(void *block)
{
    arena_free(arena, block);
}

static const char *libarena_check(const void *block)
{
    (void)block;
    return arena_check(arena) == 0 ? NULL : "arena_check found damage";
}

const rung_t rungs[ALLOCATORS] = {
    {"1", "minimal", "bad", "bad", "good", USE(r1_)},
    {"2", "pad", "bad", "good", "good", USE(r2_)},
    {"3", "list", "good", "bad", "bad", USE(r3_)},
    {"3b", "unsorted list", NULL, NULL, NULL, USE(r3b_)}, /* the lecture leaves it to the students */
    {"4", "doubly linked", "good", "bad", "good", USE(r4_)},
    {"4b", "payload used", "good", "bad", "good", USE(r4b_)},
    {"5", "bins", "good", "good", "good", USE(r5_)},
    {"6", "VM mapping", NULL, "bad", "bad", USE(r6_)},   /* for small chunks; space depends on the system */
    {"7", "segregated", NULL, "good", "good", USE(r7_)}, /* no headers, but fragmentation, "possibly bad" */
    {"arena", "libarena", NULL, NULL, NULL, libarena_malloc, libarena_free, libarena_check, NULL},
    {"libc", "C library", NULL, NULL, NULL, malloc, free, NULL, NULL},
};
