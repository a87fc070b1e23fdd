/*
 * 7_segregated.c: no header at all. All blocks of a page are of one size class, and a table that lies apart
 * says for each page of which.
 *
 *   bins[class] -> free block -> free block -> ...      linked through the blocks themselves
 *
 *   free(0x006fa8b0080):   0x006fa8b | 080      the page's number is looked up in a hash table: class 2;
 *                          page's no.  offset   the block goes to the front of bins[2]
 *
 * malloc and free are O(1). Nothing is ever merged: memory of one class never serves another. Classes are
 * 16, 32, 48, 64 and then four to each doubling.
 */
#include "heapmgr.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct block {
    struct block *next;
} block_t;

enum { PAGE = 4096, ALIGNMENT = 16, CLASSES = 228, RUN_BLOCKS = 8, RUN_BYTES = 32768, FIRST_ENTRIES = 1024 };

static char *heap_start, *pad, *heap_end; /* heap_end is the program break; the pad is in no class yet */
static block_t *bins[CLASSES];

/* The hash table: open addressing, at least half empty. An entry is page number << 8 | class; 0 is none. */
static uint64_t *entries;
static size_t entries_used, entries_max; /* entries_max is a power of two, or 0 */

/* --- size classes --- */

static size_t class_bytes(unsigned class)
{
    return class < 4 ? (size_t)ALIGNMENT * (class + 1)
                     : (size_t)ALIGNMENT * (4 + class % 4 + 1) << (class / 4 - 1);
}

/* The smallest class that holds `bytes`, at least 1 and at most PTRDIFF_MAX. */
static unsigned class_of(size_t bytes)
{
    size_t units = (bytes - 1) / ALIGNMENT; /* class_of(16 * n) == class_of(16 * n - 15) */

    if (units < 4)
        return (unsigned)units;
    unsigned shift = 61u - (unsigned)__builtin_clzl(units); /* leaves the three upper bits, 4 to 7 */
    return 4 * shift + (unsigned)(units >> shift);
}

/* --- the hash table: page number -> class --- */

static uint64_t *table_slot(uint64_t page)
{
    size_t i = (size_t)(page * 0x9e3779b97f4a7c15u >> 32) & (entries_max - 1);

    while (entries[i] != 0 && entries[i] >> 8 != page)
        i = (i + 1) & (entries_max - 1);
    return &entries[i];
}

/* Makes room for `more` entries. */
static bool table_reserve(size_t more)
{
    uint64_t *old = entries;
    size_t old_max = entries_max, max = old_max != 0 ? old_max : FIRST_ENTRIES;

    while (max / 2 < entries_used + more)
        max *= 2;
    if (max == old_max)
        return true;
    void *new = mmap(NULL, max * sizeof *entries, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (new == MAP_FAILED)
        return false;
    entries = new;
    entries_max = max;
    for (size_t i = 0; i < old_max; i++)
        if (old[i] != 0)
            *table_slot(old[i] >> 8) = old[i];
    if (old != NULL)
        munmap(old, old_max * sizeof *entries);
    return true;
}

static void table_put(const void *block, unsigned class)
{
    uint64_t page = (uintptr_t)block / PAGE;
    uint64_t *slot = table_slot(page);

    if (*slot == 0)
        entries_used++;
    *slot = page << 8 | class;
}

/* The class of a block's page, or CLASSES if the page is none of ours. */
static unsigned table_class(const void *block)
{
    uint64_t entry = entries_max != 0 ? *table_slot((uintptr_t)block / PAGE) : 0;

    return entry != 0 ? (unsigned)(entry & 0xff) : CLASSES;
}

/* --- pages --- */

/* Takes whole pages from the pad, which grows by moving the break, or NULL. */
static char *pages_take(size_t bytes)
{
    if (heap_end == NULL) {
        char *now = sbrk(0);
        char *aligned = now + (-(uintptr_t)now & (PAGE - 1));
        if (brk(aligned) != 0)
            return NULL;
        heap_start = pad = heap_end = aligned;
    }
    size_t room = (size_t)(heap_end - pad);
    if (bytes > room) {
        size_t missing = bytes - room < HEAP_GROWTH_BYTES ? HEAP_GROWTH_BYTES : bytes - room;
        if (sbrk(0) != heap_end || brk(heap_end + missing) != 0)
            return NULL;
        heap_end += missing;
    }
    char *pages = pad;
    pad += bytes;
    return pages;
}

/* What a bin is refilled with, in whole pages: eight blocks, as many as 32 KiB hold if that is less, or one large one. */
static size_t run_bytes(size_t size)
{
    size_t bytes = size < RUN_BYTES / RUN_BLOCKS ? RUN_BLOCKS * size : size < RUN_BYTES ? RUN_BYTES : size;

    return (bytes + PAGE - 1) / PAGE * PAGE;
}

/* Cuts new pages into blocks of a class. */
static bool bin_refill(unsigned class)
{
    size_t size = class_bytes(class), bytes = run_bytes(size), blocks = bytes / size;

    char *pages = table_reserve(blocks < bytes / PAGE ? blocks : bytes / PAGE) ? pages_take(bytes) : NULL;
    if (pages == NULL)
        return false;
    for (size_t i = blocks; i-- > 0;) { /* from the end, so that the first block is in front */
        block_t *block = (block_t *)(void *)(pages + i * size);
        table_put(block, class);
        block->next = bins[class];
        bins[class] = block;
    }
    return true;
}

void *HeapMgr_malloc(size_t bytes)
{
    if (bytes == 0 || bytes > PTRDIFF_MAX / 2) /* which is in the last class */
        return NULL;
    unsigned class = class_of(bytes);
    if (bins[class] == NULL && !bin_refill(class))
        return NULL;
    block_t *block = bins[class];
    bins[class] = block->next;
    return block;
}

void HeapMgr_free(void *opaque)
{
    if (opaque == NULL)
        return;
    block_t *block = opaque;
    unsigned class = table_class(block);
    if (class == CLASSES) {
        fputs("HeapMgr: a block is freed that lies in no page of ours\n", stderr);
        abort();
    }
    block->next = bins[class];
    bins[class] = block;
}

/* Whether `wanted` is in the bin; `*fault` if the bin is broken. */
static bool bin_holds(unsigned class, const void *wanted, const char **fault)
{
    size_t most = (size_t)(pad - heap_start) / class_bytes(class);
    bool found = false;

    for (block_t *block = bins[class]; block != NULL; block = block->next) {
        found = found || block == wanted;
        if (table_class(block) != class || (uintptr_t)block % ALIGNMENT != 0)
            *fault = "a bin leads to what is no block of it";
        else if (most-- == 0)
            *fault = "a bin is a ring: a block was freed twice";
        if (*fault != NULL)
            break;
    }
    return found;
}

/* Every free block lies in a page of its bin's class. Of a block in use nothing is kept that it could break. */
const char *HeapMgr_check(const void *block)
{
    const char *fault = NULL;
    unsigned class = block != NULL ? table_class(block) : CLASSES;

    if (heap_end != NULL && sbrk(0) != heap_end)
        return "the program break is not where we left it";
    if (block != NULL && class == CLASSES)
        return "the block is in no page of ours";
    for (unsigned i = 0; i < CLASSES && fault == NULL; i++)
        if (bin_holds(i, block, &fault) && fault == NULL)
            return "the block is not in use";
    return fault;
}

/* Visits the free blocks; those in use are nowhere listed. */
void HeapMgr_walk(HeapMgr_visit visit, void *context)
{
    for (unsigned class = 0; class < CLASSES; class ++)
        for (block_t *block = bins[class]; block != NULL; block = block->next)
            visit(context, block, class_bytes(class), true);
}
