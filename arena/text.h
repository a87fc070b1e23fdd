/*
 * text.h: lines of text without stdio: formats into a buffer of the caller's and writes by write(2). What does
 * not fit is cut off. No locks, no allocation; for reports that come when anything may be broken.
 */
#ifndef ARENA_TEXT_H
#define ARENA_TEXT_H

#include "config.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *text; /* ends with a 0 */
    size_t length, room;
} text_t;

/* An empty text in `bytes` (at least 1) at `buffer`. */
INLINE text_t text_in(char *buffer, size_t bytes)
{
    buffer[0] = 0;
    return (text_t){buffer, 0, bytes - 1};
}

HIDDEN void text_put(text_t *text, const char *more);
HIDDEN void text_put_bytes(text_t *text, const char *more, size_t bytes);

/* In base 10 or 16; 16 begins with 0x. At least `width` wide, spaces in front. */
HIDDEN void text_put_number(text_t *text, uint64_t value, unsigned base, size_t width);

/* Spaces until `width` characters stand behind the first `from`. */
HIDDEN void text_pad(text_t *text, size_t from, size_t width);

/* A name that stays on its line: control characters, 0x7f and backslashes become \xHH. Returns the bytes of `name`
 * that found room. */
HIDDEN size_t text_put_name(text_t *text, const char *name);

/* How many bytes were written: all, or errno says why not. */
HIDDEN size_t text_write(int fd, const char *text, size_t bytes);

#endif
