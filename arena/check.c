/* check.c: the reports of check.h. Formats into a stack buffer; no stdio, no allocation, no lock. */
#include "check.h"

#include "heap.h"
#include "log.h"
#include "text.h"

#include <stdlib.h>
#include <unistd.h>

enum { LINE_BYTES = 256 };

/* Both words change together, under the lock. */
static lock_t handler_lock = LOCK_STATIC(RANK_OS);
static arena_error_fn handler_function;
static void *handler_context;

static void add_place(text_t *line, const char *name, const void *block)
{
    text_put(line, ": block ");
    text_put_number(line, (uintptr_t)block, 16, 0);
    text_put(line, ", arena \"");
    text_put(line, name);
    text_put(line, "\"");
}

static void emit(text_t *line, const void *block)
{
    lock_acquire(&handler_lock);
    arena_error_fn handler = handler_function;
    void *context = handler_context;
    lock_release(&handler_lock);
    if (handler != NULL) {
        handler(context, line->text, block);
        return;
    }
    text_put(line, "\n");
    text_write(STDERR_FILENO, line->text, line->length);
}

static const char *misuse_text(misuse_t what)
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
    char room[LINE_BYTES];
    text_t line = text_in(room, sizeof room);
    text_put(&line, "libarena: ");
    text_put(&line, misuse_text(what));
    add_place(&line, name, block);
    log_flush_all();
    emit(&line, block);
    abort();
}

void misuse(misuse_t what, const struct arena *arena, const void *block)
{
    misuse_named(what, arena == NULL ? "" : arena->name, block);
}

void check_report_named(const char *name, int number, const void *where)
{
    char room[LINE_BYTES];
    text_t line = text_in(room, sizeof room);
    text_put(&line, "libarena: broken invariant ");
    text_put_number(&line, (uint64_t)number, 10, 0);
    add_place(&line, name, where);
    emit(&line, where);
}

void check_failed(const char *file, int line_number, const char *condition)
{
    char room[LINE_BYTES];
    text_t line = text_in(room, sizeof room);
    text_put(&line, "libarena: ");
    text_put(&line, file);
    text_put(&line, ":");
    text_put_number(&line, (uint64_t)line_number, 10, 0);
    text_put(&line, ": ");
    text_put(&line, condition);
    text_put(&line, "\n");
    text_write(STDERR_FILENO, line.text, line.length);
    log_flush_at_end(); /* locks may be held */
    abort();
}

void check_lock_inversion(int wanted, int held)
{
    static const char *const names[] = {"fork",  "registry", "cache", "grow", "arena",
                                        "depot", "log",      "range", "os"};
    char room[LINE_BYTES];
    text_t line = text_in(room, sizeof room);
    text_put(&line, "libarena: lock order: ");
    text_put(&line, names[wanted]);
    text_put(&line, " taken under ");
    text_put(&line, names[held]);
    text_put(&line, "\n");
    text_write(STDERR_FILENO, line.text, line.length);
    log_flush_at_end(); /* locks may be held */
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
