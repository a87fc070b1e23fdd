/* util.h: arithmetic on sizes, bits and addresses. No state, no locks, nothing of the heap. */
#ifndef ARENA_UTIL_H
#define ARENA_UTIL_H

#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

INLINE size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

INLINE size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* `alignment` is a power of two in all three. */
INLINE size_t align_up(size_t value, size_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

INLINE size_t align_down(size_t value, size_t alignment)
{
    return value & ~(alignment - 1);
}

INLINE bool is_aligned(const void *address, size_t alignment)
{
    return ((uintptr_t)address & (alignment - 1)) == 0;
}

INLINE bool is_power_of_two(size_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* Index of the highest set bit; value is not 0. */
INLINE unsigned floor_log2(uint64_t value)
{
    return 63U ^ (unsigned)__builtin_clzll(value); /* one instruction; 63 - is three */
}

/* Index of the lowest set bit; bits is not 0. */
INLINE unsigned lowest_bit(uint64_t bits)
{
    return (unsigned)__builtin_ctzll(bits);
}

/* The bits from `first` up. */
INLINE uint64_t bits_from(unsigned first)
{
    return first >= 64 ? 0 : ~(uint64_t)0 << first;
}

INLINE void *at(const void *base, size_t bytes)
{
    return (void *)((char *)(uintptr_t)base + bytes);
}

INLINE void *before(const void *base, size_t bytes)
{
    return (void *)((char *)(uintptr_t)base - bytes);
}

INLINE size_t distance(const void *from, const void *to)
{
    return (size_t)((const char *)to - (const char *)from);
}

INLINE bool contains(const void *start, size_t bytes, const void *address)
{
    return (uintptr_t)address - (uintptr_t)start < bytes;
}

INLINE bool multiply_overflows(size_t a, size_t b, size_t *product)
{
    return __builtin_mul_overflow(a, b, product);
}

#endif
