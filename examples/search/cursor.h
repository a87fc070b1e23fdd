/*
 * cursor.h: a place in the postings of one term, and in the positions of the posting there.
 * Inline, as whole lists are gone through with it.
 */
#ifndef CURSOR_H
#define CURSOR_H

#include "shard.h"
#include "varint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const term_t *term;
    size_t at;
    uint64_t offset; /* of the word within the query */
    const uint8_t *next;
    uint32_t left; /* positions to be decoded */
    uint64_t position;
} cursor_t;

/* Moves on to a document by bisection; whether the term is in it. */
static inline bool cursor_seek(cursor_t *cursor, uint32_t document)
{
    size_t low = cursor->at, high = cursor->term->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cursor->term->postings[middle].document < document)
            low = middle + 1;
        else
            high = middle;
    }
    cursor->at = low;
    return low < cursor->term->count && cursor->term->postings[low].document == document;
}

static inline void cursor_open_positions(cursor_t *cursor)
{
    const posting_t *posting = &cursor->term->postings[cursor->at];
    cursor->next = cursor->term->positions + posting->positions;
    cursor->left = posting->count;
    cursor->position = 0;
}

static inline bool cursor_next_position(cursor_t *cursor)
{
    if (cursor->left == 0)
        return false;
    cursor->left--;
    cursor->position += varint_get(&cursor->next);
    return true;
}

#endif
