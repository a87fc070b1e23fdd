/*
 * shard.c: a table of terms, and for each two lists that grow by realloc, whichever thread adds to them.
 * Every change is made under the shard's mutex.
 */
#include "shard.h"

#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool shard_create(shard_t *shard, size_t number)
{
    char name[32];
    snprintf(name, sizeof name, "shard %zu", number);
    shard->slot_count = 1024;
    pthread_mutex_init(&shard->mutex, NULL);
    if (!heap_create(&shard->heap, name))
        return false;
    shard->slots = heap_calloc(shard->heap, shard->slot_count, sizeof *shard->slots);
    return shard->slots != NULL;
}

static void shard_free_blocks(shard_t *shard)
{
    for (size_t i = 0; shard->slots != NULL && i < shard->slot_count; i++) {
        term_t *term = shard->slots[i].term;
        if (term == NULL)
            continue;
        free(term->postings);
        free(term->positions);
        free(term);
    }
    free(shard->slots);
}

void shard_drop(shard_t *shard)
{
    if (settings.use_malloc)
        shard_free_blocks(shard);
    heap_drop(&shard->heap);
    pthread_mutex_destroy(&shard->mutex);
}

term_slot_t *shard_find(const shard_t *shard, uint64_t hash, const char *text, size_t length)
{
    for (size_t at = hash & (shard->slot_count - 1);; at = (at + 1) & (shard->slot_count - 1)) {
        term_slot_t *slot = &shard->slots[at];
        if (slot->term == NULL)
            return slot;
        if (slot->hash == hash && slot->term->length == length && memcmp(slot->term->text, text, length) == 0)
            return slot;
    }
}

static bool shard_grow_table_locked(shard_t *shard)
{
    size_t mask = shard->slot_count * 2 - 1;
    term_slot_t *slots = heap_calloc(shard->heap, mask + 1, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < shard->slot_count; i++) {
        if (shard->slots[i].term == NULL)
            continue;
        size_t at = shard->slots[i].hash & mask;
        while (slots[at].term != NULL)
            at = (at + 1) & mask;
        slots[at] = shard->slots[i];
    }
    heap_free(shard->heap, shard->slots);
    shard->slots = slots;
    shard->slot_count = mask + 1;
    return true;
}

static term_t *shard_term_locked(shard_t *shard, const word_t *word)
{
    if (shard->term_count >= shard->slot_count / 4 * 3 && !shard_grow_table_locked(shard))
        return NULL;
    term_slot_t *slot = shard_find(shard, word->hash, word->text, word->length);
    if (slot->term != NULL)
        return slot->term;
    term_t *term = heap_alloc(shard->heap, sizeof *term + word->length);
    if (term == NULL)
        return NULL;
    *term = (term_t){.length = word->length};
    memcpy(term->text, word->text, word->length);
    *slot = (term_slot_t){.hash = word->hash, .term = term};
    shard->term_count++;
    return term;
}

static bool term_append_locked(heap_t heap, term_t *term, const word_t *word, uint32_t document)
{
    if (term->count == term->capacity) {
        posting_t *grown = heap_grow(heap, term->postings, &term->capacity, term->count + 1, sizeof *grown);
        if (grown == NULL)
            return false;
        term->postings = grown;
    }
    if (term->capacity_bytes - term->used_bytes < word->used) {
        uint8_t *grown =
            heap_grow(heap, term->positions, &term->capacity_bytes, term->used_bytes + word->used, 1);
        if (grown == NULL)
            return false;
        term->positions = grown;
    }
    memcpy(term->positions + term->used_bytes, word->positions, word->used);
    term->postings[term->count++] = (posting_t){document, word->count, term->used_bytes};
    term->used_bytes += word->used;
    return true;
}

bool shard_merge(shard_t *shard, word_t **words, size_t count, uint32_t document)
{
    bool good = true;
    pthread_mutex_lock(&shard->mutex);
    for (size_t i = 0; good && i < count; i++) {
        term_t *term = shard_term_locked(shard, words[i]);
        good = term != NULL && term_append_locked(shard->heap, term, words[i], document);
    }
    pthread_mutex_unlock(&shard->mutex);
    return good;
}

/*
 * Insertion sort: threads take files in order, so that a posting can only stand behind those of the
 * files that other threads had at hand meanwhile, and each is passed by fewer than settings.threads.
 */
static void term_sort(term_t *term)
{
    for (size_t i = 1; i < term->count; i++) {
        posting_t posting = term->postings[i];
        size_t at = i;
        for (; at > 0 && term->postings[at - 1].document > posting.document; at--) {
            term->postings[at] = term->postings[at - 1];
        }
        term->postings[at] = posting;
    }
}

/* Cuts both lists to size. If that fails they stay as they are, which does no harm. */
static void term_shrink(heap_t heap, term_t *term)
{
    posting_t *postings = heap_realloc(heap, term->postings, term->count * sizeof *postings);
    if (postings != NULL)
        term->postings = postings;
    uint8_t *positions = heap_realloc(heap, term->positions, term->used_bytes);
    if (positions != NULL)
        term->positions = positions;
}

void shard_sort(shard_t *shard)
{
    pthread_mutex_lock(&shard->mutex);
    for (size_t i = 0; i < shard->slot_count; i++) {
        if (shard->slots[i].term == NULL)
            continue;
        term_sort(shard->slots[i].term);
        term_shrink(shard->heap, shard->slots[i].term);
    }
    pthread_mutex_unlock(&shard->mutex);
}
