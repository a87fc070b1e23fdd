/* test_alloc.c: what part A of the lab asks for, point by point, with the virtual size as it goes. */
#include "alloc.h"
#include "vsize.h"

#include <string.h>

static long before;

static void show(const char *when)
{
    printf("     virtual size %s: %ld KiB (%+ld bytes)\n", when, virtual_size() / 1024,
           virtual_size() - before);
}

static void whole_page(void)
{
    char *all = alloc(4096);
    expect(all != NULL, "one block of 4,096 bytes");
    memset(all, 1, 4096);
    expect(alloc(8) == NULL, "and nothing besides it");
    dealloc(all);
}

static void bad_sizes(void)
{
    expect(alloc(0) == NULL && alloc(-8) == NULL, "NULL for sizes that are not positive");
    expect(alloc(1) == NULL && alloc(12) == NULL && alloc(4095) == NULL, "NULL for no multiple of 8");
    expect(alloc(4104) == NULL, "NULL for what does not fit");
}

static void smallest(void)
{
    char *blocks[512];
    int good = 1;
    for (int i = 0; i < 512; i++) {
        blocks[i] = alloc(8);
        good = good && blocks[i] != NULL;
        if (blocks[i] != NULL)
            memset(blocks[i], i, 8);
    }
    for (int i = 0; i < 512; i++)
        good = good && blocks[i][0] == (char)i && blocks[i][7] == (char)i;
    expect(good && alloc(8) == NULL, "512 blocks of 8 bytes, each its own, and no 513th");
    for (int i = 0; i < 512; i += 2)
        dealloc(blocks[i]);
    expect(alloc(16) == NULL, "every other one freed: 2,048 bytes free, and no 16 in one piece");
    char *again = alloc(8);
    expect(again != NULL, "but 8 are");
    dealloc(again);
    for (int i = 1; i < 512; i += 2)
        dealloc(blocks[i]);
    whole_page();
}

static void split_and_merge(void)
{
    char *a = alloc(1024), *b = alloc(1024), *c = alloc(1024), *d = alloc(1024);
    expect(a != NULL && b != NULL && c != NULL && d != NULL && alloc(8) == NULL, "four of 1,024");
    dealloc(b);
    char *e = alloc(512), *f = alloc(512);
    expect(e != NULL && f != NULL && alloc(8) == NULL, "a freed block is split: 1,024 into 512 and 512");
    dealloc(e);
    dealloc(f);
    dealloc(c);
    char *g = alloc(2048);
    expect(g != NULL, "free neighbours are merged: 512, 512 and 1,024 into 2,048");
    dealloc(a);
    dealloc(d);
    dealloc(g);
}

int main(void)
{
    printf("part A\n"); /* stdio allocates its buffer before anything is measured */
    before = virtual_size();
    show("at first");
    expect(alloc(8) == NULL && cleanup() != 0, "nothing works before init_alloc");
    expect(init_alloc() == 0, "init_alloc");
    show("with a page");
    expect(virtual_size() == before + 4096, "which is all that is mapped");
    expect(init_alloc() != 0, "a second init_alloc fails");
    whole_page();
    bad_sizes();
    smallest();
    split_and_merge();
    expect(virtual_size() == before + 4096, "nothing more was mapped");
    expect(cleanup() == 0, "cleanup");
    show("at last");
    expect(virtual_size() == before, "the page is gone");
    expect(init_alloc() == 0, "init_alloc works again");
    whole_page();
    expect(cleanup() == 0, "cleanup, too");
    return 0;
}
