/* test_ealloc.c: what part B of the lab asks for, point by point, with the virtual size as it goes. */
#include "ealloc.h"
#include "vsize.h"

#include <stdint.h>
#include <string.h>

static long before;

/* How many pages were mapped since the beginning, if nothing else was. */
static void expect_pages(int pages, const char *when)
{
    long now = virtual_size();
    printf("     virtual size %s: %ld KiB (%+ld bytes)\n", when, now / 1024, now - before);
    if (now != before + 4096L * pages) {
        printf("FAIL %d pages of 4,096 were expected\n", pages);
        exit(EXIT_FAILURE);
    }
}

static int in_one_page(const char *block, int size)
{
    return (uintptr_t)block / 4096 == ((uintptr_t)block + (uintptr_t)size - 1) / 4096;
}

static void bad_sizes(void)
{
    expect(alloc(0) == NULL && alloc(-256) == NULL && alloc(100) == NULL, "NULL for no multiple of 256");
    expect(alloc(4352) == NULL, "NULL for more than a page");
}

static void on_demand(void)
{
    char *blocks[16];
    for (int i = 0; i < 16; i++) { /* four to a page */
        blocks[i] = alloc(1024);
        if (blocks[i] == NULL || !in_one_page(blocks[i], 1024))
            expect(0, "blocks of 1,024, each in one page");
        memset(blocks[i], i, 1024);
        if (i % 4 == 0)
            expect_pages(i / 4 + 1, "with a page more");
    }
    expect_pages(4, "with 16 blocks of 1,024");
    int good = 1;
    for (int i = 0; i < 16; i++)
        good = good && blocks[i][0] == i && blocks[i][1023] == i;
    expect(good, "contents are kept");
    dealloc(blocks[5]);
    char *a = alloc(256), *b = alloc(512), *c = alloc(256);
    expect(a != NULL && b != NULL && c != NULL, "a freed block is split in three");
    expect_pages(4, "which need no page");
    dealloc(a);
    dealloc(c);
    dealloc(b);
    dealloc(blocks[6]);
    blocks[5] = alloc(2048);
    expect(blocks[5] != NULL && in_one_page(blocks[5], 2048), "free neighbours are merged");
    expect_pages(4, "which need no page either");
    for (int i = 0; i < 16; i++) {
        if (i != 6)
            dealloc(blocks[i]);
    }
}

static void whole_pages(void)
{
    char *blocks[4];
    for (int i = 0; i < 4; i++) {
        blocks[i] = alloc(4096);
        expect(blocks[i] != NULL && in_one_page(blocks[i], 4096), "a block of 4,096");
    }
    expect_pages(4, "with the same four pages, all given out");
#if defined(EALLOC_PAGES) && EALLOC_PAGES == 4
    expect(alloc(256) == NULL, "and no fifth, as that is the bound");
    expect_pages(4, "still");
#else
    char *more[100];
    for (int i = 0; i < 100; i++) {
        more[i] = alloc(2304); /* more than half: one to a page */
        if (more[i] == NULL || virtual_size() != before + 4096L * (5 + i))
            expect(0, "4,096 bytes for each page");
    }
    expect_pages(104, "with 100 more, one at a time: there is no bound");
    for (int i = 0; i < 100; i++)
        dealloc(more[i]);
    expect_pages(104, "which stay");
#endif
    for (int i = 0; i < 4; i++)
        dealloc(blocks[i]);
}

int main(void)
{
    printf("part B\n"); /* stdio allocates its buffer before anything is measured */
    before = virtual_size();
    init_alloc();
    expect_pages(0, "behind init_alloc");
    bad_sizes();
    expect_pages(0, "behind what it refused");
    on_demand();
    whole_pages();
    cleanup();
    expect_pages(0, "behind cleanup, which unmaps");
    init_alloc();
    char *again = alloc(256);
    expect(again != NULL, "and it begins again");
    expect_pages(1, "with a page");
    cleanup();
    return 0;
}
