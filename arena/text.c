/* text.c: see text.h. */
#include "text.h"

#include "util.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void text_put_bytes(text_t *text, const char *more, size_t bytes)
{
    bytes = min_size(bytes, text->room - text->length);
    memcpy(text->text + text->length, more, bytes);
    text->length += bytes;
    text->text[text->length] = 0;
}

void text_put(text_t *text, const char *more)
{
    text_put_bytes(text, more, strlen(more));
}

void text_pad(text_t *text, size_t from, size_t width)
{
    while (text->length - from < width && text->length < text->room) {
        text_put_bytes(text, " ", 1);
    }
}

void text_put_number(text_t *text, uint64_t value, unsigned base, size_t width)
{
    char digits[24];
    size_t first = sizeof digits;
    do {
        digits[--first] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    if (base == 16) {
        digits[--first] = 'x';
        digits[--first] = '0';
    }
    size_t length = sizeof digits - first;
    text_pad(text, text->length, width - min_size(width, length));
    text_put_bytes(text, digits + first, length);
}

size_t text_put_name(text_t *text, const char *name)
{
    static const char hex[] = "0123456789abcdef";
    size_t done = 0;
    for (; name[done] != 0; done++) {
        unsigned char byte = (unsigned char)name[done];
        bool plain = byte >= 0x20 && byte != 0x7f && byte != '\\';
        char escaped[4] = {'\\', 'x', hex[byte >> 4], hex[byte & 15]};
        size_t bytes = plain ? 1 : sizeof escaped;
        if (text->room - text->length < bytes) {
            break;
        }
        text_put_bytes(text, plain ? name + done : escaped, bytes);
    }
    return done;
}

size_t text_write(int fd, const char *text, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t written = write(fd, text + done, bytes - done);
        if (written > 0) {
            done += (size_t)written;
        } else if (written == 0 || errno != EINTR) {
            break;
        }
    }
    return done;
}
