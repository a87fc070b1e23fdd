/* print.c: arena_print: a snapshot in columns, by write(2), with no lock held. */
#include "alloc.h"
#include "snapshot.h"
#include "text.h"

#include <errno.h>

enum { PAGE_BYTES = 4096, LINE_BYTES = 256 };

/* What is to be written; a line that does not fit sends it off. */
typedef struct {
    int fd;
    bool failed;
    text_t text;
    char room[PAGE_BYTES];
} page_t;

static void send(page_t *page)
{
    if (!page->failed) {
        page->failed = text_write(page->fd, page->room, page->text.length) != page->text.length;
    }
    page->text.length = 0;
}

/* Room for one line more. */
static text_t *line(page_t *page)
{
    if (page->text.room - page->text.length < LINE_BYTES) {
        send(page);
    }
    return &page->text;
}

/* [start, start + bytes) by its first and last address. */
static void put_span(page_t *page, const void *start, size_t bytes)
{
    text_t *text = line(page);
    text_put_number(text, (uintptr_t)start, 16, 18);
    text_put_number(text, (uintptr_t)start + bytes - (bytes != 0), 16, 19);
    text_put_number(text, bytes, 10, 12);
}

/* Of any length. */
static void put_name(page_t *page, const char *name)
{
    name += text_put_name(&page->text, name);
    while (*name != 0) {
        send(page);
        name += text_put_name(&page->text, name);
    }
    text_put(line(page), "\n");
}

static void print_regions(page_t *page, const snapshot_t *snapshot)
{
    static const char *const sources[] = {"mmap", "sbrk", "buffer", "hooks"};
    text_t *text = line(page);
    text_put(text, "arena \"");
    text_put_name(text, snapshot->arena->name);
    text_put(text, "\"\n\nregions      first               last       bytes\n");
    for (size_t i = 0; i < snapshot->member_count; i++) {
        const member_t *member = &snapshot->members[i];
        if (member->list == LIST_REGIONS) {
            put_span(page, member->start, member->bytes);
            text_put(text, "  ");
            text_put(text, sources[member->bin]);
            text_put(text, "\n");
        }
    }
}

static void print_blocks(page_t *page, snapshot_t *snapshot)
{
    static const char *const states[] = {"  USED    ", "  CACHED  ", "  FREE    "};
    arena_block_t block;
    text_put(line(page), "\nblocks       first               last       bytes  state   name\n");
    while (!page->failed && snapshot_next(snapshot, &block)) {
        put_span(page, block.start, block.usable);
        text_put(&page->text, states[block.state]);
        put_name(page, block.name == NULL ? "-" : block.name);
    }
}

/* Within a bin in the order in which they serve, if the policy does not search. */
static void print_free_lists(page_t *page, const snapshot_t *snapshot)
{
    static const char *const titles[] = {"", "\nfree chunks by size", "\nfree runs, resident",
                                         "\nfree runs, not resident", "\nslabs with free blocks"};
    list_t list = LIST_REGIONS;
    for (size_t i = 0; i < snapshot->member_count && !page->failed; i++) {
        const member_t *member = &snapshot->members[i];
        if (member->list == LIST_REGIONS) {
            continue;
        }
        if (member->list != list) {
            list = member->list;
            text_put(line(page), titles[list]);
            text_put(line(page), "\n bin      first               last       bytes\n");
        }
        text_put_number(line(page), member->bin, 10, 4);
        put_span(page, member->start, member->bytes);
        text_put(&page->text, "\n");
    }
}

bool arena_print(arena_t *arena, int fd)
{
    page_t page = {.fd = fd};
    snapshot_t snapshot;
    page.text = text_in(page.room, sizeof page.room);
    if (arena == NULL) {
        errno = EINVAL;
        return false;
    }
    alloc_check_alive(arena, NULL);
    if (!snapshot_take(arena, true, &snapshot)) {
        errno = ENOMEM;
        return false;
    }
    int saved = errno;
    print_regions(&page, &snapshot);
    print_blocks(&page, &snapshot);
    print_free_lists(&page, &snapshot);
    send(&page);
    int error = errno;
    snapshot_release(&snapshot);
    errno = page.failed ? error : saved;
    return !page.failed;
}
