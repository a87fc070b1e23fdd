/*
 * index.h: the index as a whole: its files, its shards, and what the threads that build it share.
 * It does not start them; see build.h.
 */
#ifndef INDEX_H
#define INDEX_H

#include "corpus.h"
#include "scratch.h"
#include "shard.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_SHARDS = 1024 };

typedef struct {
    corpus_t corpus;
    shard_t shards[MAX_SHARDS];
    size_t shard_count; /* a power of two */
    atomic_size_t next; /* file or shard to be taken by a thread */
    atomic_size_t files_done;
    atomic_size_t complaints;
    atomic_ullong bytes_done;
    atomic_bool no_memory;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    int running; /* threads; guarded by mutex */
} index_t;

/* As many shards as make it unlikely that two threads want the same one; false if there is no memory. */
bool index_create(index_t *index);

/* Where a term with that hash is, if anywhere. */
shard_t *index_shard(index_t *index, uint64_t hash);

/* Adds the words of a file to the shards; false if there is no memory. For any number of threads at once. */
bool index_merge(index_t *index, scratch_t *scratch, uint32_t document);

#endif
