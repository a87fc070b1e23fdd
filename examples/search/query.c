/*
 * query.c: goes through the postings of the rarest word and searches those of the others; a phrase is then
 * looked for by the positions.
 */
#include "query.h"

#include "hash.h"
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool query_add_word(query_t *query, index_t *index, const char *word, size_t length, uint64_t offset)
{
    uint64_t hash = hash_bytes(word, length);
    const term_t *term = shard_find(index_shard(index, hash), hash, word, length)->term;
    if (term == NULL) {
        query->unknown_word = true;
        return true;
    }
    if (query->count == query->capacity) {
        cursor_t *grown =
            heap_grow(query->heap, query->cursors, &query->capacity, query->count + 1, sizeof *grown);
        if (grown == NULL)
            return false;
        query->cursors = grown;
    }
    query->cursors[query->count++] = (cursor_t){.term = term, .offset = offset};
    return true;
}

/* Splits as files are split, so that the words of a phrase have the distances they have there. */
static bool query_parse(query_t *query, index_t *index, const char *text)
{
    char word[MAX_WORD];
    size_t length = 0;
    uint64_t offset = 0;
    query->phrase = text[0] == '"';
    for (const char *at = text;; at++) {
        unsigned char letter = text_letters[(unsigned char)*at];
        if (letter != 0) {
            if (length < MAX_WORD)
                word[length] = (char)letter;
            length++;
        } else if (length > 0) {
            if (length >= MIN_WORD && length <= MAX_WORD &&
                !query_add_word(query, index, word, length, offset))
                return false;
            length = 0;
            offset++;
        }
        if (*at == '\0')
            return true;
    }
}

/* The word with the fewest documents comes first: its postings are gone through, the others searched. */
static void query_order(query_t *query)
{
    for (size_t i = 1; i < query->count; i++) {
        if (query->cursors[i].term->count >= query->cursors[0].term->count)
            continue;
        cursor_t rarer = query->cursors[i];
        query->cursors[i] = query->cursors[0];
        query->cursors[0] = rarer;
    }
}

/* Whether every other word stands where it should if the first one stands where it does. */
static bool phrase_stands_here(query_t *query)
{
    const cursor_t *first = &query->cursors[0];
    for (size_t i = 1; i < query->count; i++) {
        cursor_t *cursor = &query->cursors[i];
        if (first->position + cursor->offset < first->offset)
            return false;
        uint64_t wanted = first->position + cursor->offset - first->offset;
        while (cursor->position < wanted && cursor_next_position(cursor)) {
        }
        if (cursor->position != wanted)
            return false;
    }
    return true;
}

/* How often the phrase occurs, or the words together, in the document that all cursors are at. */
static uint64_t query_score(query_t *query)
{
    uint64_t score = 0;
    for (size_t i = 0; i < query->count; i++) {
        score += query->cursors[i].term->postings[query->cursors[i].at].count;
        cursor_open_positions(&query->cursors[i]);
    }
    if (!query->phrase)
        return score;
    for (score = 0; cursor_next_position(&query->cursors[0]);) {
        score += phrase_stands_here(query);
    }
    return score;
}

/* Keeps the best; documents come in order, so that the earlier one wins a tie. */
static void query_add_hit(query_t *query, uint32_t document, uint64_t score)
{
    query->matches++;
    size_t at = query->top_count;
    while (at > 0 && query->top[at - 1].score < score) {
        at--;
    }
    if (at == QUERY_TOP)
        return;
    if (query->top_count < QUERY_TOP)
        query->top_count++;
    memmove(&query->top[at + 1], &query->top[at], (query->top_count - 1 - at) * sizeof(hit_t));
    query->top[at] = (hit_t){score, document};
}

static void query_run(query_t *query)
{
    if (query->count == 0 || query->unknown_word)
        return;
    query_order(query);
    cursor_t *first = &query->cursors[0];
    for (; first->at < first->term->count; first->at++) {
        uint32_t document = first->term->postings[first->at].document;
        bool all = true;
        for (size_t i = 1; all && i < query->count; i++) {
            all = cursor_seek(&query->cursors[i], document);
        }
        uint64_t score = all ? query_score(query) : 0;
        if (score > 0)
            query_add_hit(query, document, score);
    }
}

bool query_answer(index_t *index, const char *text, query_t *query)
{
    *query = (query_t){.count = 0};
    if (!heap_create(&query->heap, "query"))
        return false;
    bool good = query_parse(query, index, text);
    if (good)
        query_run(query);
    if (settings.use_malloc)
        free(query->cursors);
    heap_drop(&query->heap);
    return good;
}

uint64_t query_sum(uint64_t sum, const query_t *query)
{
    sum = hash_mix(sum ^ query->matches);
    for (size_t i = 0; i < query->top_count; i++) {
        sum = hash_mix(sum ^ query->top[i].score);
        sum = hash_mix(sum ^ query->top[i].document);
    }
    return sum;
}

void query_print(const index_t *index, const char *text, const query_t *query, double seconds)
{
    if (settings.quiet)
        return;
    printf("\n%s: %llu documents, %.0f us\n", text, (unsigned long long)query->matches, 1e6 * seconds);
    for (size_t i = 0; i < query->top_count; i++) {
        printf("%8llu  %s\n", (unsigned long long)query->top[i].score,
               index->corpus.documents[query->top[i].document].path);
    }
}
