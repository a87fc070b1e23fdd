/*
 * trace.c: parses the text of a trace, see trace.h. Four header lines (suggested heap bytes, ids, operations,
 * weight), then an operation a line:
 *
 *     a ID BYTES       c ID COUNT BYTES       r ID BYTES       l ID ALIGN BYTES       f ID
 *
 * An `r` on an id that holds nothing allocates, an `f` of one, or of -1, is free(NULL).
 */
#include "trace.h"

#include "../../bench/bench.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20, HEADER_LINES = 4 };

typedef struct {
    const char *at, *end;
    size_t line;
} text_t;

typedef struct {
    uint32_t *slot_of;  /* of an id */
    bool *live;         /* of an id: a block is in its slot */
    size_t *live_bytes; /* of a slot */
    size_t ids, live_sum;
} books_t;

static _Noreturn void refuse(const text_t *text, const char *why)
{
    fprintf(stderr, "replay: line %zu of the trace: %s\n", text->line, why);
    exit(1);
}

static char *read_all(int file, size_t *length)
{
    size_t room = READ_BYTES, used = 0;
    char *text = bench_table(room);
    for (;;) {
        ssize_t got = read(file, text + used, room - used);
        bench_require(got >= 0, "reading the trace");
        if (got == 0)
            break;
        used += (size_t)got;
        if (used == room) {
            text = mremap(text, room, 2 * room, MREMAP_MAYMOVE);
            bench_require(text != MAP_FAILED, "mremap of the trace's text");
            room *= 2;
        }
    }
    *length = used;
    return text;
}

static void skip_blanks(text_t *text)
{
    while (text->at < text->end && (*text->at == ' ' || *text->at == '\t' || *text->at == '\r'))
        text->at++;
}

static void end_line(text_t *text)
{
    skip_blanks(text);
    if (text->at < text->end && *text->at != '\n')
        refuse(text, "more than was expected");
    text->at++;
    text->line++;
}

static void skip_empty_lines(text_t *text)
{
    for (skip_blanks(text); text->at < text->end && *text->at == '\n'; skip_blanks(text))
        end_line(text);
}

static size_t number(text_t *text)
{
    size_t value = 0;
    skip_blanks(text);
    if (text->at >= text->end || !isdigit((unsigned char)*text->at))
        refuse(text, "a number was expected");
    for (; text->at < text->end && isdigit((unsigned char)*text->at); text->at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (size_t)(*text->at - '0'), &value))
            refuse(text, "too large a number");
    }
    return value;
}

static bool minus_one(text_t *text)
{
    skip_blanks(text);
    if (text->end - text->at < 2 || text->at[0] != '-' || text->at[1] != '1')
        return false;
    text->at += 2;
    return true;
}

static void account(trace_t *trace, books_t *books, const op_t *op)
{
    size_t *live = &books->live_bytes[op->slot];
    size_t bytes = op->kind == OP_FREE ? 0 : op->bytes;
    books->live_sum += bytes - *live;
    *live = bytes;
    if (books->live_sum > trace->peak_payload_bytes)
        trace->peak_payload_bytes = books->live_sum;
    if (bytes > trace->largest_bytes)
        trace->largest_bytes = bytes;
}

/* The slot for a new block of the id: another one if the block that it means is still live. */
static uint32_t slot_for_new(trace_t *trace, books_t *books, size_t id)
{
    if (books->live[id])
        books->slot_of[id] = (uint32_t)(books->ids + trace->leaked++);
    books->live[id] = true;
    return books->slot_of[id];
}

static size_t known_id(text_t *text, const books_t *books)
{
    size_t id = number(text);
    if (id >= books->ids)
        refuse(text, "an id that the header does not announce");
    return id;
}

static op_t parse_free(text_t *text, books_t *books)
{
    if (minus_one(text))
        return (op_t){.kind = OP_FREE_NULL};
    size_t id = known_id(text, books);
    op_t op = {.kind = books->live[id] ? OP_FREE : OP_FREE_NULL, .slot = books->slot_of[id]};
    books->live[id] = false;
    return op;
}

static op_kind_t kind_of(text_t *text, char letter)
{
    switch (letter) {
    case 'a':
        return OP_ALLOC;
    case 'c':
        return OP_CALLOC;
    case 'r':
        return OP_REALLOC;
    case 'l':
        return OP_ALIGNED;
    case 'f':
        return OP_FREE;
    default:
        refuse(text, "none of the operations a, c, r, l, f");
    }
}

static op_t parse_op(text_t *text, trace_t *trace, books_t *books)
{
    op_kind_t kind = kind_of(text, *text->at++);
    if (kind == OP_FREE)
        return parse_free(text, books);
    op_t op = {.kind = kind};
    size_t id = known_id(text, books);
    if (kind == OP_CALLOC || kind == OP_ALIGNED)
        op.extra = number(text);
    op.bytes = number(text);
    if (kind == OP_CALLOC && __builtin_mul_overflow(op.bytes, op.extra, &op.bytes))
        refuse(text, "a size that overflows");
    if (kind == OP_ALIGNED && (op.extra == 0 || (op.extra & (op.extra - 1)) != 0))
        refuse(text, "an alignment that is no power of two");
    op.slot = kind == OP_REALLOC && books->live[id] ? books->slot_of[id] : slot_for_new(trace, books, id);
    return op;
}

static books_t books_new(size_t ids, size_t slots)
{
    books_t books = {.ids = ids};
    books.slot_of = bench_table((ids + 1) * sizeof *books.slot_of);
    books.live = bench_table((ids + 1) * sizeof *books.live);
    books.live_bytes = bench_table((slots + 1) * sizeof *books.live_bytes);
    for (size_t id = 0; id < ids; id++)
        books.slot_of[id] = (uint32_t)id;
    return books;
}

trace_t trace_read(int file)
{
    trace_t trace = {0};
    size_t length = 0, header[HEADER_LINES];
    char *start = read_all(file, &length);
    text_t text = {start, start + length, 1};
    for (unsigned i = 0; i < HEADER_LINES; i++) {
        header[i] = number(&text);
        end_line(&text);
    }
    size_t ids = header[1], announced = header[2];
    if (ids > length || announced > length || ids + announced > UINT32_MAX)
        refuse(&text, "a header that announces more than the trace can hold");
    trace.ops = bench_table((announced + 1) * sizeof *trace.ops);
    books_t books = books_new(ids, ids + announced);
    for (skip_empty_lines(&text); text.at < text.end; skip_empty_lines(&text)) {
        if (trace.count == announced)
            refuse(&text, "more operations than the header announces");
        op_t op = parse_op(&text, &trace, &books);
        end_line(&text);
        if (op.kind != OP_FREE_NULL)
            account(&trace, &books, &op);
        trace.ops[trace.count++] = op;
    }
    if (trace.count < announced)
        refuse(&text, "fewer operations than the header announces");
    trace.slots = ids + trace.leaked;
    trace.end_payload_bytes = books.live_sum;
    return trace; /* the books stay: unmapping them would only blur what is resident */
}
