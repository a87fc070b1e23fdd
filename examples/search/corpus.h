/*
 * corpus.h: the files to be indexed, sorted by path, and what became of each. A file's place in the list is
 * its document number.
 */
#ifndef CORPUS_H
#define CORPUS_H

#include "heap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    FILE_WAITS,
    FILE_INDEXED,
    FILE_BINARY,
    FILE_TOO_LARGE,
    FILE_UNREADABLE,
    FILE_OUTCOMES
} outcome_t;

typedef struct {
    char *path;
    uint64_t bytes, words; /* written by the thread that took the file, as the outcome */
    outcome_t outcome;
} document_t;

typedef struct {
    heap_t heap;
    document_t *documents;
    size_t count, capacity;
    size_t unreadable; /* directories that could not be listed, paths that do not exist */
} corpus_t;

/* All files below the given paths, or the default ones. False after a message. */
bool corpus_list(corpus_t *corpus, char **paths, int count);

void corpus_drop(corpus_t *corpus);

#endif
