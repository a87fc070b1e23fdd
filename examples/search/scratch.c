/*
 * scratch.c: a file goes through a window of fixed size, letter by letter; its words go into a hash table.
 */
#include "scratch.h"

#include "hash.h"
#include "settings.h"
#include "varint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WINDOW_BYTES = 1 << 20, /* of a file that are in memory at a time */
    BINARY_BYTES = 1024,    /* a NUL among the first so many makes a file binary */
};

bool scratch_create(scratch_t *scratch, size_t file_bytes)
{
    *scratch = (scratch_t){.slot_count = 256};
    scratch->window_bytes = file_bytes < WINDOW_BYTES ? file_bytes + BINARY_BYTES : WINDOW_BYTES;
    if (!heap_create(&scratch->heap, "file"))
        return false;
    scratch->window = heap_alloc(scratch->heap, scratch->window_bytes);
    scratch->slots = heap_calloc(scratch->heap, scratch->slot_count, sizeof(word_t *));
    return scratch->window != NULL && scratch->slots != NULL;
}

static void scratch_free_blocks(scratch_t *scratch)
{
    for (size_t i = 0; scratch->slots != NULL && i < scratch->slot_count; i++) {
        if (scratch->slots[i] == NULL)
            continue;
        free(scratch->slots[i]->positions);
        free(scratch->slots[i]);
    }
    free(scratch->slots);
    free(scratch->sorted);
    free(scratch->window);
}

void scratch_drop(scratch_t *scratch)
{
    if (settings.use_malloc)
        scratch_free_blocks(scratch);
    heap_drop(&scratch->heap);
}

static bool scratch_grow_table(scratch_t *scratch)
{
    size_t mask = scratch->slot_count * 2 - 1;
    word_t **slots = heap_calloc(scratch->heap, mask + 1, sizeof(word_t *));
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < scratch->slot_count; i++) {
        if (scratch->slots[i] == NULL)
            continue;
        size_t at = scratch->slots[i]->hash & mask;
        while (slots[at] != NULL)
            at = (at + 1) & mask;
        slots[at] = scratch->slots[i];
    }
    heap_free(scratch->heap, scratch->slots);
    scratch->slots = slots;
    scratch->slot_count = mask + 1;
    return true;
}

/* The entry of a word, made if it is new; NULL if there is no memory. */
static word_t *scratch_find(scratch_t *scratch, const char *text, size_t length)
{
    if (scratch->word_count >= scratch->slot_count / 4 * 3 && !scratch_grow_table(scratch))
        return NULL;
    uint64_t hash = hash_bytes(text, length);
    size_t at = hash & (scratch->slot_count - 1);
    for (word_t *word; (word = scratch->slots[at]) != NULL; at = (at + 1) & (scratch->slot_count - 1)) {
        if (word->hash == hash && word->length == length && memcmp(word->text, text, length) == 0)
            return word;
    }
    word_t *word = heap_alloc(scratch->heap, sizeof *word + length);
    if (word == NULL)
        return NULL;
    *word = (word_t){.hash = hash, .length = (uint32_t)length};
    memcpy(word->text, text, length);
    scratch->slots[at] = word;
    scratch->word_count++;
    return word;
}

static bool word_add_position(heap_t heap, word_t *word, uint64_t position)
{
    uint8_t varint[VARINT_MAX_BYTES];
    size_t length = varint_put(varint, position - word->last);
    if (word->capacity - word->used < length) {
        uint8_t *grown = heap_grow(heap, word->positions, &word->capacity, word->used + length, 1);
        if (grown == NULL)
            return false;
        word->positions = grown;
    }
    memcpy(word->positions + word->used, varint, length);
    word->used += length;
    word->last = position;
    word->count++;
    return true;
}

static bool scratch_end_word(scratch_t *scratch)
{
    size_t length = scratch->length;
    scratch->length = 0;
    scratch->position++;
    if (length < MIN_WORD || length > MAX_WORD)
        return true;
    word_t *word = scratch_find(scratch, scratch->word, length);
    return word != NULL && word_add_position(scratch->heap, word, scratch->position);
}

/* Takes the words out of the next part of a file; one may begin in one part and end in the next. */
static bool scratch_scan(scratch_t *scratch, const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char letter = (char)text_letters[bytes[i]];
        if (letter != 0) {
            if (scratch->length < MAX_WORD)
                scratch->word[scratch->length] = letter;
            scratch->length++;
        } else if (scratch->length > 0 && !scratch_end_word(scratch)) {
            return false;
        }
    }
    return true;
}

bool scratch_read(scratch_t *scratch, int descriptor, document_t *document)
{
    for (;;) {
        ssize_t got = read(descriptor, scratch->window, scratch->window_bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            document->outcome = FILE_UNREADABLE;
            return true;
        }
        size_t count = (size_t)got;
        if (document->bytes == 0 && memchr(scratch->window, 0, count < BINARY_BYTES ? count : BINARY_BYTES)) {
            document->outcome = FILE_BINARY;
            return true;
        }
        document->bytes += count;
        if (!scratch_scan(scratch, scratch->window, count))
            return false;
        if (count == 0)
            break;
    }
    document->outcome = FILE_INDEXED;
    document->words = scratch->position + (scratch->length > 0);
    return scratch->length == 0 || scratch_end_word(scratch);
}
