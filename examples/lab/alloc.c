/*
 * alloc.c: part A of the lab. The page is a range of addresses like any other to libarena, which writes nothing in
 * it: all 4,096 bytes can be given out, as one block or as 512.
 *
 *     gcc test_alloc.c alloc.c -larena
 *
 * introduces: ARENA_RANGE_GIVEN, arena_range_create(), arena_range_alloc(), arena_range_free(), arena_range_destroy()
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, if the compiler is told to keep to the standard */
#include "alloc.h"

#include <arena.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

enum { PAGE = 4096, UNIT = 8 };

static uint64_t metadata[24 * 1024 / 8]; /* enough for 256 free blocks of 8, which is the most there can be */
static arena_range_t *range;
static void *page;

int init_alloc(void)
{
    if (range != NULL)
        return -1;
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return -1;
    arena_range_options_t options = {
        .name = "lab, part A",
        .fit = ARENA_FIT_FIRST,
        .flags = ARENA_RANGE_FIXED_METADATA,
        .base = (uintptr_t)page,
        .bytes = PAGE,
        .quantum = UNIT,
        .metadata = metadata,
        .metadata_bytes = sizeof metadata,
    };
    range = arena_range_create(&options);
    if (range == NULL)
        munmap(page, PAGE);
    return range == NULL ? -1 : 0;
}

int cleanup(void)
{
    if (range == NULL)
        return -1;
    arena_range_destroy(range);
    range = NULL;
    return munmap(page, PAGE);
}

char *alloc(int size)
{
    if (range == NULL || size <= 0 || size % UNIT != 0)
        return NULL;
    uint64_t address = arena_range_alloc(range, (uint64_t)size);
    return address == ARENA_RANGE_NONE ? NULL : (char *)(uintptr_t)address;
}

void dealloc(char *block)
{
    if (range != NULL && block != NULL)
        arena_range_free(range, (uintptr_t)block);
}
