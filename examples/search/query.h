/*
 * query.h: a query: the documents that have all its words, or the exact "phrase in quotes", and the best of
 * them. Only when the index is built and sorted.
 */
#ifndef QUERY_H
#define QUERY_H

#include "cursor.h"
#include "index.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUERY_TOP = 5 }; /* documents shown for each query */

typedef struct {
    uint64_t score;
    uint32_t document;
} hit_t;

/* The cursors live in an arena of the query's own. */
typedef struct {
    heap_t heap;
    cursor_t *cursors;
    size_t count, capacity;
    bool phrase, unknown_word;
    uint64_t matches;
    hit_t top[QUERY_TOP];
    size_t top_count;
} query_t;

/* The whole life of a query; false if there is no memory. What is in query->top outlives its arena. */
bool query_answer(index_t *index, const char *text, query_t *query);

/* Adds an answer to a checksum of answers. */
uint64_t query_sum(uint64_t sum, const query_t *query);

void query_print(const index_t *index, const char *text, const query_t *query, double seconds);

#endif
