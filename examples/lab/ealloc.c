/*
 * ealloc.c: part B of the lab. Pages of 4,096 bytes are mapped one at a time, and only when no page has room; no block
 * crosses a page. What describes them is in a static buffer, so that virtual size grows by the pages and by nothing
 * else. There is no bound on pages; -DEALLOC_PAGES=4 is the lab's.
 *
 *     gcc test_ealloc.c ealloc.c -larena
 *
 * introduces: ARENA_RANGE_MMAP, ARENA_RANGE_WITHIN_PAGES, keep_bytes, limit_bytes
 */
#include "ealloc.h"

#include <arena.h>
#include <stddef.h>
#include <stdint.h>

#ifndef EALLOC_PAGES
#define EALLOC_PAGES 0 /* no bound */
#endif

enum { PAGE = 4096, UNIT = 256 };

static uint64_t metadata[256 * 1024 / 8]; /* touched as it is needed; behind it libarena maps more */
static arena_range_t *range;

void init_alloc(void)
{
    arena_range_options_t options = {
        .name = "lab, part B",
        .source = ARENA_RANGE_MMAP,
        .fit = ARENA_FIT_FIRST,
        .flags = ARENA_RANGE_WITHIN_PAGES,
        .quantum = UNIT,
        .page_bytes = PAGE,
        .limit_bytes = (uint64_t)EALLOC_PAGES * PAGE,
        .keep_bytes = UINT64_MAX, /* 0 would unmap each page when it is empty */
        .metadata = metadata,
        .metadata_bytes = sizeof metadata,
    };
    if (range == NULL)
        range = arena_range_create(&options);
}

void cleanup(void)
{
    arena_range_destroy(range);
    range = NULL;
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
