/*
 * index.c: which shard has a term, and how the words of a file get to their shards.
 * The shards have their locks themselves.
 */
#include "index.h"

#include "settings.h"

bool index_create(index_t *index)
{
    pthread_mutex_init(&index->mutex, NULL);
    pthread_cond_init(&index->ended, NULL);
    size_t wanted = 8;
    while (wanted < (size_t)settings.threads * 4) {
        wanted *= 2;
    }
    bool good = true;
    for (; good && index->shard_count < wanted;
         index->shard_count++) { /* a broken one counts, to be dropped */
        good = shard_create(&index->shards[index->shard_count], index->shard_count);
    }
    return good;
}

shard_t *index_shard(index_t *index, uint64_t hash)
{
    return &index->shards[(hash >> 48) & (index->shard_count - 1)]; /* low bits select the slot */
}

/* Sorts a file's words by shard (a counting sort), so that each shard is locked once. */
bool index_merge(index_t *index, scratch_t *scratch, uint32_t document)
{
    size_t starts[MAX_SHARDS + 2] = {0};
    scratch->sorted = heap_alloc(scratch->heap, (scratch->word_count + 1) * sizeof(word_t *));
    if (scratch->sorted == NULL)
        return false;
    for (size_t i = 0; i < scratch->slot_count; i++) {
        if (scratch->slots[i] != NULL)
            starts[index_shard(index, scratch->slots[i]->hash) - index->shards + 2]++;
    }
    for (size_t i = 2; i <= index->shard_count; i++) {
        starts[i] += starts[i - 1];
    }
    for (size_t i = 0; i < scratch->slot_count; i++) { /* starts[s + 1] moves on to the end of shard s */
        if (scratch->slots[i] != NULL)
            scratch->sorted[starts[index_shard(index, scratch->slots[i]->hash) - index->shards + 1]++] =
                scratch->slots[i];
    }
    for (size_t i = 0; i < index->shard_count; i++) {
        size_t s = (document + i) & (index->shard_count - 1); /* threads begin at different shards */
        size_t count = starts[s + 1] - starts[s];
        if (count > 0 && !shard_merge(&index->shards[s], scratch->sorted + starts[s], count, document))
            return false;
    }
    return true;
}
