/*
 * scratch.h: the words of one file, each with the places where it stands. All in an arena of the file's own,
 * which one thread uses while it has the file at hand.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include "corpus.h"
#include "heap.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A word of the file, and where in the file it stands. */
typedef struct {
    uint64_t hash;
    uint8_t *positions; /* each as a varint of its distance from the one before, the first from 0 */
    size_t used, capacity;
    uint64_t last;
    uint32_t count, length;
    char text[];
} word_t;

/* All in one arena, which lives as long as the file is open. */
typedef struct {
    heap_t heap;
    unsigned char *window;
    size_t window_bytes;
    word_t **slots; /* open addressing; at most three quarters full */
    size_t slot_count, word_count;
    word_t **sorted;   /* the words by shard, once they are complete */
    uint64_t position; /* of the last word seen, the first being 1 */
    size_t length;     /* of the word that is being read; may be above MAX_WORD */
    char word[MAX_WORD];
} scratch_t;

/* False if there is no memory; to be dropped nevertheless. */
bool scratch_create(scratch_t *scratch, size_t file_bytes);
void scratch_drop(scratch_t *scratch);

/* Takes in the words of a file and sets the document's outcome; false if there is no memory. */
bool scratch_read(scratch_t *scratch, int descriptor, document_t *document);

#endif
