/* check.c: the reports of check.h. Formats into a stack buffer; no stdio, no allocation, no lock. */
#include "check.h"

#include "heap.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    char text[256];
    size_t length;
} line_t;

/* Both words change together, under the lock. */
static lock_t handler_lock = LOCK_STATIC(RANK_OS);
static arena_error_fn handler_function;
static void *handler_context;

static void add_text(line_t *line, const char *text)
{
    while (*text != 0 && line->length < sizeof line->text - 1) {
        line->text[line->length++] = *text++;
    }
    line->text[line->length] = 0;
}

static void add_number(line_t *line, uintptr_t value, unsigned base)
{
    char digits[24];
    size_t count = sizeof digits;
    digits[--count] = 0;
    do {
        digits[--count] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    add_text(line, digits + count);
}

static void add_place(line_t *line, const char *name, const void *block)
{
    add_text(line, ": block 0x");
    add_number(line, (uintptr_t)block, 16);
    add_text(line, ", arena \"");
    add_text(line, name);
    add_text(line, "\"");
}

static void emit(line_t *line, const void *block)
{
    lock_acquire(&handler_lock);
    arena_error_fn handler = handler_function;
    void *context = handler_context;
    lock_release(&handler_lock);
    if (handler != NULL) {
        handler(context, line->text, block);
        return;
    }
    add_text(line, "\n");
    size_t done = 0;
    while (done < line->length) {
        ssize_t written = write(STDERR_FILENO, line->text + done, line->length - done);
        if (written <= 0) {
            return;
        }
        done += (size_t)written;
    }
}

const char *misuse_text(misuse_t what)
{
    static const char *const texts[] = {"",
#define X(name, text) text,
                                        MISUSE_TABLE(X)
#undef X
    };
    return texts[what];
}

void misuse_named(misuse_t what, const char *name, const void *block)
{
    line_t line = {.length = 0};
    add_text(&line, "libarena: ");
    add_text(&line, misuse_text(what));
    add_place(&line, name, block);
    emit(&line, block);
    abort();
}

void misuse(misuse_t what, const struct arena *arena, const void *block)
{
    misuse_named(what, arena == NULL ? "" : arena->name, block);
}

void check_report_named(const char *name, int number, const void *where)
{
    line_t line = {.length = 0};
    add_text(&line, "libarena: broken invariant ");
    add_number(&line, (uintptr_t)number, 10);
    add_place(&line, name, where);
    emit(&line, where);
}

void check_report_invariant(const struct arena *arena, int number, const void *where)
{
    check_report_named(arena == NULL ? "" : arena->name, number, where);
}

void check_failed(const char *file, int line_number, const char *condition)
{
    line_t line = {.length = 0};
    add_text(&line, "libarena: ");
    add_text(&line, file);
    add_text(&line, ":");
    add_number(&line, (uintptr_t)line_number, 10);
    add_text(&line, ": ");
    add_text(&line, condition);
    add_text(&line, "\n");
    (void)!write(STDERR_FILENO, line.text, line.length);
    abort();
}

void check_lock_inversion(int wanted, int held)
{
    static const char *const names[] = {"fork", "registry", "cache", "grow", "arena", "depot", "range", "os"};
    line_t line = {.length = 0};
    add_text(&line, "libarena: lock order: ");
    add_text(&line, names[wanted]);
    add_text(&line, " taken under ");
    add_text(&line, names[held]);
    add_text(&line, "\n");
    (void)!write(STDERR_FILENO, line.text, line.length);
    abort();
}

void arena_set_error_handler(arena_error_fn handler, void *context)
{
    lock_acquire(&handler_lock);
    handler_function = handler;
    handler_context = context;
    lock_release(&handler_lock);
}

lock_t *check_lock(void)
{
    return &handler_lock;
}
