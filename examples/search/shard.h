/*
 * shard.h: a part of the index: the terms whose hash selects it, in an arena of its own, under a mutex of its
 * own. Threads merge into it by shard_merge(); once all have ended, it is read without the lock.
 */
#ifndef SHARD_H
#define SHARD_H

#include "heap.h"
#include "scratch.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t document, count;
    size_t positions; /* where its positions begin in the term's */
} posting_t;

typedef struct {
    posting_t *postings; /* in any order while the index is built, then by document */
    uint8_t *positions;
    size_t count, capacity, used_bytes, capacity_bytes;
    uint32_t length;
    char text[];
} term_t;

typedef struct {
    uint64_t hash;
    term_t *term;
} term_slot_t;

typedef struct {
    alignas(64) pthread_mutex_t mutex;
    heap_t heap;
    term_slot_t *slots; /* guarded by mutex while the index is built, as what follows and all terms */
    size_t slot_count, term_count;
} shard_t;

/* False if there is no memory; to be dropped nevertheless. */
bool shard_create(shard_t *shard, size_t number);
void shard_drop(shard_t *shard);

/* Adds words of a document, all of this shard; false if there is no memory. */
bool shard_merge(shard_t *shard, word_t **words, size_t count, uint32_t document);

/* Sorts the postings of each term by document and cuts its lists to size. */
void shard_sort(shard_t *shard);

/* The slot of a term, or the empty one where it would go. */
term_slot_t *shard_find(const shard_t *shard, uint64_t hash, const char *text, size_t length);

#endif
