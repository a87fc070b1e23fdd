/*
 * varint.h: numbers of 64 bits in 1 to 10 bytes, seven bits each, the lowest first.
 * In the header, as every place of every word passes through.
 */
#ifndef VARINT_H
#define VARINT_H

#include <stddef.h>
#include <stdint.h>

enum { VARINT_MAX_BYTES = 10 };

/* Returns the length. */
static inline size_t varint_put(uint8_t *to, uint64_t value)
{
    size_t length = 0;
    for (; value >= 0x80; value >>= 7) {
        to[length++] = (uint8_t)(value | 0x80);
    }
    to[length++] = (uint8_t)value;
    return length;
}

/* Leaves *from behind it. */
static inline uint64_t varint_get(const uint8_t **from)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t byte = *(*from)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return value;
    }
}

#endif
