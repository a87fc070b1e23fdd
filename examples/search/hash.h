/*
 * hash.h: the hash of a word, and of whatever a checksum is made of.
 * In the header, as every word of every file passes through.
 */
#ifndef HASH_H
#define HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The finaliser of MurmurHash3 (Appleby, 2011). */
static inline uint64_t hash_mix(uint64_t z)
{
    z = (z ^ z >> 33) * 0xff51afd7ed558ccdu;
    z = (z ^ z >> 33) * 0xc4ceb9fe1a85ec53u;
    return z ^ z >> 33;
}

static inline uint64_t hash_bytes(const void *bytes, size_t length)
{
    const unsigned char *from = bytes;
    uint64_t hash = length * 0x9e3779b97f4a7c15u, word;
    for (; length >= sizeof word; from += sizeof word, length -= sizeof word) {
        memcpy(&word, from, sizeof word);
        hash = hash_mix(hash ^ word);
    }
    for (word = 0; length > 0; length--) {
        word = word << 8 | from[length - 1];
    }
    return hash_mix(hash ^ word);
}

#endif
