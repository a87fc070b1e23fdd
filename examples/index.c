/*
 * index.c: an inverted index over real text, built by several threads in arenas, with queries, and a
 * comparison of all this with the same program over the C library's malloc.
 *
 * introduces: an arena per file, several threads in one arena, lists that grow by arena_realloc(),
 *             dropping a data structure whole by arena_destroy(), arena_stats() beside the kernel's figures
 *
 * How it works:
 *  1. The files are listed and sorted by path; a file's place in the list is its document number, so that
 *     the index is the same whatever thread takes whatever file.
 *  2. Threads take file after file. A file has an arena of its own: a window of its contents and a table
 *     of its words, each with the places where it occurs. That arena is dropped when the file is done.
 *  3. Before that its words are merged into the shards. A shard is an arena, a mutex and a table of the
 *     terms whose hash selects it. A term has postings (document, how often, where) and one string of
 *     positions, as varints of their differences; both grow by realloc, whichever thread adds to them.
 *  4. At the end of the build postings are sorted by document and cut to size, and what is free is trimmed.
 *     Then queries are answered over all shards: documents that have all words, or the exact "phrase in
 *     quotes".
 *  5. The arenas are dropped, one after the other.
 *
 * With --malloc the same code allocates by malloc. What dropping an arena does in one call is then freeing
 * block by block. By default the program runs itself in both modes and compares time and memory; both
 * must give the same index and the same answers.
 */
#define _XOPEN_SOURCE 700

#include "arena.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

enum {
    MAX_THREADS = 256,
    MAX_SHARDS = 1024,
    MIN_WORD = 2,
    MAX_WORD = 64,          /* bytes; longer ones are base64 and the like, and left out */
    WINDOW_BYTES = 1 << 20, /* of a file that are in memory at a time */
    BINARY_BYTES = 1024,    /* a NUL among the first so many makes a file binary */
    MIN_GROWTH_BYTES = 16,  /* smallest array that grow() makes */
    MAX_QUERIES = 64,
    TOP = 5,            /* documents shown for each query */
    MAX_COMPLAINTS = 5, /* unreadable files named one by one */
    MAX_DROP_LINES = 16 /* arenas reported one by one when they are dropped */
};

/* No file can then have a word more often than a uint32_t counts. */
#define MAX_FILE_BYTES ((off_t)8 << 30)
#define MEGA 1e6

/* Set before any thread starts. */
static struct {
    int threads, rounds, report_descriptor;
    bool use_malloc, one_mode, quiet, json, check;
    size_t limit_bytes; /* of each arena; 0: none */
    const char *queries[MAX_QUERIES];
    size_t query_count;
} settings = {.rounds = 200, .report_descriptor = -1};

static const char *const default_paths[] = {"/usr/share/common-licenses", "/usr/include", "/usr/share/doc"};
static const char *const default_queries[] = {"free software", "memory allocation", "warranty",
                                              "struct pointer", "\"general public license\""};

/* ==== memory: an arena, or the C library ==== */

/* What arena a structure lives in; NULL in --malloc mode. */
typedef struct {
    arena_t *arena;
} heap_t;

static bool heap_create(heap_t *heap, const char *name)
{
    arena_options_t options = {.name = name, .limit_bytes = settings.limit_bytes};
    heap->arena = settings.use_malloc ? NULL : arena_create(&options);
    return settings.use_malloc || heap->arena != NULL;
}

static void *heap_alloc(heap_t heap, size_t bytes)
{
    return settings.use_malloc ? malloc(bytes) : arena_alloc(heap.arena, bytes);
}

static void *heap_calloc(heap_t heap, size_t count, size_t bytes)
{
    return settings.use_malloc ? calloc(count, bytes) : arena_calloc(heap.arena, count, bytes);
}

static void *heap_realloc(heap_t heap, void *block, size_t bytes)
{
    return settings.use_malloc ? realloc(block, bytes) : arena_realloc(heap.arena, block, bytes);
}

static void heap_free(heap_t heap, void *block)
{
    if (settings.use_malloc)
        free(block);
    else
        arena_free(heap.arena, block);
}

/* Takes back all there is in an arena. Under malloc the owner has freed every block before. */
static void heap_drop(heap_t *heap)
{
    arena_destroy(heap->arena);
    heap->arena = NULL;
}

/* Makes room for `needed` elements in an array, by half as many again; NULL if there is no memory. */
static void *grow(heap_t heap, void *array, size_t *capacity, size_t needed, size_t element_bytes)
{
    size_t wanted = *capacity + *capacity / 2;
    if (wanted < MIN_GROWTH_BYTES / element_bytes)
        wanted = MIN_GROWTH_BYTES / element_bytes;
    if (wanted < needed)
        wanted = needed;
    if (wanted > SIZE_MAX / element_bytes) {
        errno = ENOMEM;
        return NULL;
    }
    void *grown = heap_realloc(heap, array, wanted * element_bytes);
    if (grown != NULL)
        *capacity = wanted;
    return grown;
}

/* ==== small tools ==== */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The finaliser of MurmurHash3 (Appleby, 2011). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 33) * 0xff51afd7ed558ccdu;
    z = (z ^ z >> 33) * 0xc4ceb9fe1a85ec53u;
    return z ^ z >> 33;
}

static uint64_t hash_bytes(const void *bytes, size_t length)
{
    const unsigned char *from = bytes;
    uint64_t hash = length * 0x9e3779b97f4a7c15u, word;
    for (; length >= sizeof word; from += sizeof word, length -= sizeof word) {
        memcpy(&word, from, sizeof word);
        hash = mix(hash ^ word);
    }
    for (word = 0; length > 0; length--) {
        word = word << 8 | from[length - 1];
    }
    return mix(hash ^ word);
}

static size_t put_varint(uint8_t *to, uint64_t value)
{
    size_t length = 0;
    for (; value >= 0x80; value >>= 7) {
        to[length++] = (uint8_t)(value | 0x80);
    }
    to[length++] = (uint8_t)value;
    return length;
}

static uint64_t get_varint(const uint8_t **from)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t byte = *(*from)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return value;
    }
}

/* A line of /proc/self/status in bytes; 0 where there is none. */
static double status_bytes(const char *name)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL)
        return 0;
    while (fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            kib = strtoull(line + strlen(name) + 1, NULL, 10);
    }
    fclose(status);
    return 1024.0 * (double)kib;
}

/* What letters count as when words are compared; 0: they end a word. Bytes of UTF-8 stay as they are. */
static unsigned char fold[256];

static void make_fold(void)
{
    for (int byte = 0; byte < 256; byte++) {
        bool letter =
            (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '_' || byte >= 0x80;
        fold[byte] = (unsigned char)(letter ? byte : 0);
    }
    for (int byte = 'A'; byte <= 'Z'; byte++) {
        fold[byte] = (unsigned char)(byte - 'A' + 'a');
    }
}

/* ==== the list of files ==== */

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

static bool corpus_add(corpus_t *corpus, const char *path)
{
    if (corpus->count == UINT32_MAX) { /* document numbers are 32 bits */
        errno = EOVERFLOW;
        return false;
    }
    if (corpus->count == corpus->capacity) {
        document_t *grown =
            grow(corpus->heap, corpus->documents, &corpus->capacity, corpus->count + 1, sizeof *grown);
        if (grown == NULL)
            return false;
        corpus->documents = grown;
    }
    size_t bytes = strlen(path) + 1;
    char *copy = heap_alloc(corpus->heap, bytes);
    if (copy == NULL)
        return false;
    memcpy(copy, path, bytes);
    corpus->documents[corpus->count++] = (document_t){.path = copy};
    return true;
}

/* nftw() has no argument for its visitor. */
static corpus_t *walked_corpus;

static int visit_file(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)where;
    if (type == FTW_DNR || type == FTW_NS) {
        if (settings.report_descriptor < 0) /* else the process that compares has said so */
            fprintf(stderr, "index: cannot look into %s\n", path);
        walked_corpus->unreadable++;
    }
    if (type != FTW_F || !S_ISREG(status->st_mode)) /* links are not followed: nothing is met twice */
        return 0;
    return corpus_add(walked_corpus, path) ? 0 : 1;
}

/* Adds a file, or all files below a directory. False if memory has run out, or descriptors. */
static bool corpus_walk(corpus_t *corpus, const char *path, bool must_exist)
{
    char *real = realpath(path, NULL); /* a link on the command line is followed */
    if (real == NULL) {
        if (must_exist && settings.report_descriptor < 0)
            fprintf(stderr, "index: %s: %s\n", path, strerror(errno));
        corpus->unreadable += must_exist;
        return true;
    }
    walked_corpus = corpus;
    int result = nftw(real, visit_file, 32, FTW_PHYS);
    int kept = errno;
    free(real);
    errno = kept;
    return result == 0;
}

static int compare_paths(const void *left, const void *right)
{
    const document_t *a = left, *b = right;
    return strcmp(a->path, b->path);
}

/* Sorted, and without what two of the given paths both hold. */
static void corpus_sort(corpus_t *corpus)
{
    size_t kept = 0;
    if (corpus->count > 0)
        qsort(corpus->documents, corpus->count, sizeof *corpus->documents, compare_paths);
    for (size_t i = 0; i < corpus->count; i++) {
        if (kept > 0 && strcmp(corpus->documents[kept - 1].path, corpus->documents[i].path) == 0)
            heap_free(corpus->heap, corpus->documents[i].path);
        else
            corpus->documents[kept++] = corpus->documents[i];
    }
    corpus->count = kept;
}

/* All files below the given paths, or the default ones. False after a message. */
static bool corpus_list(corpus_t *corpus, char **paths, int count)
{
    *corpus = (corpus_t){.count = 0};
    bool good = heap_create(&corpus->heap, "paths");
    for (int i = 0; good && i < count; i++) {
        good = corpus_walk(corpus, paths[i], true);
    }
    for (size_t i = 0; good && count == 0 && i < sizeof default_paths / sizeof default_paths[0]; i++) {
        good = corpus_walk(corpus, default_paths[i], false);
    }
    if (!good)
        fprintf(stderr, "index: cannot list the files: %s\n", strerror(errno));
    else if (corpus->count == 0)
        fprintf(stderr, "index: no files\n");
    corpus_sort(corpus);
    return good && corpus->count > 0;
}

static void corpus_drop(corpus_t *corpus)
{
    for (size_t i = 0; settings.use_malloc && i < corpus->count; i++) {
        free(corpus->documents[i].path);
    }
    if (settings.use_malloc)
        free(corpus->documents);
    heap_drop(&corpus->heap);
}

/* ==== the words of one file ==== */

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

static bool scratch_create(scratch_t *scratch, size_t file_bytes)
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

static void scratch_drop(scratch_t *scratch)
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
    uint8_t varint[10];
    size_t length = put_varint(varint, position - word->last);
    if (word->capacity - word->used < length) {
        uint8_t *grown = grow(heap, word->positions, &word->capacity, word->used + length, 1);
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
        char letter = (char)fold[bytes[i]];
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

/* Sets the document's outcome; false if there is no memory. */
static bool scratch_read(scratch_t *scratch, int descriptor, document_t *document)
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

/* ==== the index ==== */

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

static shard_t *shard_of(index_t *index, uint64_t hash)
{
    return &index->shards[(hash >> 48) & (index->shard_count - 1)]; /* low bits select the slot */
}

static bool shard_create(shard_t *shard, size_t number)
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

static void shard_drop(shard_t *shard)
{
    if (settings.use_malloc)
        shard_free_blocks(shard);
    heap_drop(&shard->heap);
    pthread_mutex_destroy(&shard->mutex);
}

/* The slot of a term, or the empty one where it would go. */
static term_slot_t *shard_find(const shard_t *shard, uint64_t hash, const char *text, size_t length)
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
        posting_t *grown = grow(heap, term->postings, &term->capacity, term->count + 1, sizeof *grown);
        if (grown == NULL)
            return false;
        term->postings = grown;
    }
    if (term->capacity_bytes - term->used_bytes < word->used) {
        uint8_t *grown = grow(heap, term->positions, &term->capacity_bytes, term->used_bytes + word->used, 1);
        if (grown == NULL)
            return false;
        term->positions = grown;
    }
    memcpy(term->positions + term->used_bytes, word->positions, word->used);
    term->postings[term->count++] = (posting_t){document, word->count, term->used_bytes};
    term->used_bytes += word->used;
    return true;
}

static bool shard_merge(shard_t *shard, word_t **words, size_t count, uint32_t document)
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

/* Sorts a file's words by shard (a counting sort), so that each shard is locked once. */
static bool index_merge(index_t *index, scratch_t *scratch, uint32_t document)
{
    size_t starts[MAX_SHARDS + 2] = {0};
    scratch->sorted = heap_alloc(scratch->heap, (scratch->word_count + 1) * sizeof(word_t *));
    if (scratch->sorted == NULL)
        return false;
    for (size_t i = 0; i < scratch->slot_count; i++) {
        if (scratch->slots[i] != NULL)
            starts[shard_of(index, scratch->slots[i]->hash) - index->shards + 2]++;
    }
    for (size_t i = 2; i <= index->shard_count; i++) {
        starts[i] += starts[i - 1];
    }
    for (size_t i = 0; i < scratch->slot_count; i++) { /* starts[s + 1] moves on to the end of shard s */
        if (scratch->slots[i] != NULL)
            scratch->sorted[starts[shard_of(index, scratch->slots[i]->hash) - index->shards + 1]++] =
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

/* ==== building it ==== */

static void complain(index_t *index, const document_t *document)
{
    size_t before = atomic_fetch_add(&index->complaints, 1);
    if (before < MAX_COMPLAINTS && !settings.quiet)
        fprintf(stderr, "index: cannot read %s: %s\n", document->path, strerror(errno));
    if (before == MAX_COMPLAINTS && !settings.quiet)
        fprintf(stderr, "index: and so on; they are counted\n");
}

/* False if there is no memory; everything else is an outcome of the one document. */
static bool index_open_file(index_t *index, document_t *document, int descriptor)
{
    struct stat status = {.st_size = 0};
    if (fstat(descriptor, &status) != 0 || status.st_size > MAX_FILE_BYTES) {
        document->outcome = status.st_size > MAX_FILE_BYTES ? FILE_TOO_LARGE : FILE_UNREADABLE;
        return true;
    }
    scratch_t scratch;
    bool good =
        scratch_create(&scratch, (size_t)status.st_size) && scratch_read(&scratch, descriptor, document);
    if (good && document->outcome == FILE_INDEXED)
        good = index_merge(index, &scratch, (uint32_t)(document - index->corpus.documents));
    int kept = errno;
    scratch_drop(&scratch);
    errno = kept;
    return good;
}

static bool index_file(index_t *index, document_t *document)
{
    int descriptor = open(document->path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) {
        document->outcome = FILE_UNREADABLE;
        complain(index, document);
        return true;
    }
    bool good = index_open_file(index, document, descriptor);
    if (good && document->outcome == FILE_UNREADABLE)
        complain(index, document);
    close(descriptor);
    return good;
}

static void thread_ends(index_t *index)
{
    pthread_mutex_lock(&index->mutex);
    index->running--;
    pthread_cond_signal(&index->ended);
    pthread_mutex_unlock(&index->mutex);
}

static void *build_thread(void *argument)
{
    index_t *index = argument;
    while (!atomic_load(&index->no_memory)) {
        size_t number = atomic_fetch_add(&index->next, 1);
        if (number >= index->corpus.count)
            break;
        document_t *document = &index->corpus.documents[number];
        if (!index_file(index, document))
            atomic_store(&index->no_memory, true);
        atomic_fetch_add(&index->bytes_done, document->bytes);
        atomic_fetch_add(&index->files_done, 1);
    }
    thread_ends(index);
    return NULL;
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

static void *sort_thread(void *argument)
{
    index_t *index = argument;
    for (size_t number; (number = atomic_fetch_add(&index->next, 1)) < index->shard_count;) {
        shard_t *shard = &index->shards[number];
        pthread_mutex_lock(&shard->mutex);
        for (size_t i = 0; i < shard->slot_count; i++) {
            if (shard->slots[i].term == NULL)
                continue;
            term_sort(shard->slots[i].term);
            term_shrink(shard->heap, shard->slots[i].term);
        }
        pthread_mutex_unlock(&shard->mutex);
    }
    thread_ends(index);
    return NULL;
}

static void show_progress(index_t *index, double begin, const char *end_of_line)
{
    double megabytes = (double)atomic_load(&index->bytes_done) / MEGA, seconds = now() - begin;
    fprintf(stderr, "[%s] %zu of %zu files, %.0f MB, %.0f MB/s, %.1f s%s",
            settings.use_malloc ? "malloc" : "arena", atomic_load(&index->files_done), index->corpus.count,
            megabytes, megabytes / seconds, seconds, end_of_line);
    fflush(stderr);
}

/* One line that changes on a terminal; else a line every few seconds. */
static void wait_for_threads(index_t *index, double begin)
{
    bool terminal = isatty(STDERR_FILENO) == 1,
         building = atomic_load(&index->files_done) < index->corpus.count;
    double last = begin;
    pthread_mutex_lock(&index->mutex);
    while (index->running > 0) {
        struct timespec wake;
        clock_gettime(CLOCK_REALTIME, &wake);
        wake.tv_nsec += 100000000;
        wake.tv_sec += wake.tv_nsec / 1000000000;
        wake.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&index->ended, &index->mutex, &wake);
        if (!building || now() - last < (terminal ? 0.1 : 5.0))
            continue;
        last = now();
        show_progress(index, begin, terminal ? "   \r" : "\n");
    }
    pthread_mutex_unlock(&index->mutex);
    if (building && terminal)
        show_progress(index, begin, "   \n");
}

/* Runs `routine` in settings.threads threads, or as many as there can be; false if there can be none. */
static bool run_threads(index_t *index, void *(*routine)(void *))
{
    pthread_t threads[MAX_THREADS];
    int started = 0, error = 0;
    double begin = now();
    atomic_store(&index->next, 0);
    while (started < settings.threads && error == 0) {
        pthread_mutex_lock(&index->mutex);
        index->running++;
        pthread_mutex_unlock(&index->mutex);
        error = pthread_create(&threads[started], NULL, routine, index);
        if (error == 0)
            started++;
        else
            thread_ends(index);
    }
    if (error != 0)
        fprintf(stderr, "index: %d threads, no more: %s\n", started, strerror(error));
    wait_for_threads(index, begin);
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    return started > 0;
}

/* As many shards as make it unlikely that two threads want the same one. */
static bool index_create(index_t *index)
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

/* ==== queries ==== */

/* A place in one term's postings, and in the positions of the posting there. */
typedef struct {
    const term_t *term;
    size_t at;
    uint64_t offset; /* of the word within the query */
    const uint8_t *next;
    uint32_t left; /* positions to be decoded */
    uint64_t position;
} cursor_t;

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
    hit_t top[TOP];
    size_t top_count;
} query_t;

static bool query_add_word(query_t *query, index_t *index, const char *word, size_t length, uint64_t offset)
{
    uint64_t hash = hash_bytes(word, length);
    const term_t *term = shard_find(shard_of(index, hash), hash, word, length)->term;
    if (term == NULL) {
        query->unknown_word = true;
        return true;
    }
    if (query->count == query->capacity) {
        cursor_t *grown =
            grow(query->heap, query->cursors, &query->capacity, query->count + 1, sizeof *grown);
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
        unsigned char letter = fold[(unsigned char)*at];
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

/* Moves on to a document by bisection; whether the term is in it. */
static bool cursor_seek(cursor_t *cursor, uint32_t document)
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

static void cursor_open_positions(cursor_t *cursor)
{
    const posting_t *posting = &cursor->term->postings[cursor->at];
    cursor->next = cursor->term->positions + posting->positions;
    cursor->left = posting->count;
    cursor->position = 0;
}

static bool cursor_next_position(cursor_t *cursor)
{
    if (cursor->left == 0)
        return false;
    cursor->left--;
    cursor->position += get_varint(&cursor->next);
    return true;
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
    if (at == TOP)
        return;
    if (query->top_count < TOP)
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

/* The whole life of a query; false if there is no memory. What is in query->top outlives its arena. */
static bool index_query(index_t *index, const char *text, query_t *query)
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

static uint64_t sum_answer(uint64_t sum, const query_t *query)
{
    sum = mix(sum ^ query->matches);
    for (size_t i = 0; i < query->top_count; i++) {
        sum = mix(sum ^ query->top[i].score);
        sum = mix(sum ^ query->top[i].document);
    }
    return sum;
}

static void print_answer(const index_t *index, const char *text, const query_t *query, double seconds)
{
    if (settings.quiet)
        return;
    printf("\n%s: %llu documents, %.0f us\n", text, (unsigned long long)query->matches, 1e6 * seconds);
    for (size_t i = 0; i < query->top_count; i++) {
        printf("%8llu  %s\n", (unsigned long long)query->top[i].score,
               index->corpus.documents[query->top[i].document].path);
    }
}

/* ==== figures ==== */

typedef enum {
    FILES,
    INDEXED,
    BINARY,
    TOO_LARGE,
    UNREADABLE,
    TEXT_BYTES,
    WORDS,
    TERMS,
    POSTINGS,
    LIST_SECONDS,
    BUILD_SECONDS,
    SORT_SECONDS,
    TRIM_SECONDS,
    BUILD_RATE,
    QUERY_SECONDS,
    DROP_SECONDS,
    USER_SECONDS,
    SYSTEM_SECONDS,
    FAULTS,
    RSS_START,
    RSS_BUILT,
    RSS_SETTLED,
    RSS_PEAK,
    RSS_DROPPED,
    RSS_TRIMMED,
    MAPPED_BUILT,
    RESIDENT_BUILT,
    LIVE_BUILT,
    MAPPED_PEAK,
    MAPPED_DROPPED,
    FIGURES
} figure_t;

static const struct {
    const char *label, *key;
    double unit;
    int decimals;
} figure_table[FIGURES] = {
    [FILES] = {"files found", "files", 1, 0},
    [INDEXED] = {"  indexed", "indexed", 1, 0},
    [BINARY] = {"  binary, skipped", "binary", 1, 0},
    [TOO_LARGE] = {"  too large, skipped", "too_large", 1, 0},
    [UNREADABLE] = {"  unreadable", "unreadable", 1, 0},
    [TEXT_BYTES] = {"text, MB", "text_bytes", MEGA, 1},
    [WORDS] = {"words, million", "words", MEGA, 2},
    [TERMS] = {"distinct terms", "terms", 1, 0},
    [POSTINGS] = {"postings, million", "postings", MEGA, 2},
    [LIST_SECONDS] = {"list files, s", "list_seconds", 1, 3},
    [BUILD_SECONDS] = {"build, s", "build_seconds", 1, 3},
    [SORT_SECONDS] = {"sort and shrink, s", "sort_seconds", 1, 3},
    [TRIM_SECONDS] = {"trim the index, s", "trim_seconds", 1, 3},
    [BUILD_RATE] = {"build, MB/s", "build_bytes_per_second", MEGA, 1},
    [QUERY_SECONDS] = {"a query, us", "query_seconds", 1e-6, 1},
    [DROP_SECONDS] = {"drop everything, s", "drop_seconds", 1, 4},
    [USER_SECONDS] = {"user CPU, s", "user_seconds", 1, 2},
    [SYSTEM_SECONDS] = {"system CPU, s", "system_seconds", 1, 2},
    [FAULTS] = {"page faults", "faults", 1, 0},
    [RSS_START] = {"RSS at start, MB", "rss_start_bytes", MEGA, 1},
    [RSS_BUILT] = {"RSS of the index, MB", "rss_built_bytes", MEGA, 1},
    [RSS_SETTLED] = {"  when trimmed, MB", "rss_settled_bytes", MEGA, 1},
    [RSS_PEAK] = {"RSS at peak, MB", "rss_peak_bytes", MEGA, 1},
    [RSS_DROPPED] = {"RSS after the drop, MB", "rss_dropped_bytes", MEGA, 1},
    [RSS_TRIMMED] = {"  when trimmed, MB", "rss_trimmed_bytes", MEGA, 1},
    [MAPPED_BUILT] = {"arenas of the index, MB", "mapped_built_bytes", MEGA, 1},
    [RESIDENT_BUILT] = {"  resident, MB", "resident_built_bytes", MEGA, 1},
    [LIVE_BUILT] = {"  live, MB", "live_built_bytes", MEGA, 1},
    [MAPPED_PEAK] = {"arenas at peak, MB", "mapped_peak_bytes", MEGA, 1},
    [MAPPED_DROPPED] = {"arenas after the drop, MB", "mapped_dropped_bytes", MEGA, 1},
};

/* What a run hands to the run that compares. A figure below 0 does not exist in its mode. */
typedef struct {
    double figures[FIGURES];
    uint64_t index_sum, answer_sum;
} report_t;

static uint64_t sum_term(const term_t *term, uint64_t hash)
{
    uint64_t sum = hash;
    for (size_t i = 0; i < term->count; i++) {
        cursor_t cursor = {.term = term, .at = i};
        cursor_open_positions(&cursor);
        sum = mix(sum ^ term->postings[i].document);
        while (cursor_next_position(&cursor)) {
            sum = (sum ^ cursor.position) * 0x9e3779b97f4a7c15u;
        }
    }
    return mix(sum);
}

/* The same whatever the order of shards, terms and threads; postings of a term are in order by now. */
static void sum_index(const index_t *index, report_t *report)
{
    for (size_t s = 0; s < index->shard_count; s++) {
        const shard_t *shard = &index->shards[s];
        for (size_t i = 0; i < shard->slot_count; i++) {
            if (shard->slots[i].term == NULL)
                continue;
            report->index_sum += sum_term(shard->slots[i].term, shard->slots[i].hash);
            report->figures[POSTINGS] += (double)shard->slots[i].term->count;
        }
        report->figures[TERMS] += (double)shard->term_count;
    }
}

static void sum_documents(const index_t *index, double *figures)
{
    static const figure_t figure_of[FILE_OUTCOMES] = {[FILE_WAITS] = UNREADABLE,
                                                      [FILE_INDEXED] = INDEXED,
                                                      [FILE_BINARY] = BINARY,
                                                      [FILE_TOO_LARGE] = TOO_LARGE,
                                                      [FILE_UNREADABLE] = UNREADABLE};
    figures[FILES] = (double)index->corpus.count;
    figures[UNREADABLE] = (double)index->corpus.unreadable;
    for (size_t i = 0; i < index->corpus.count; i++) {
        const document_t *document = &index->corpus.documents[i];
        figures[figure_of[document->outcome]]++;
        if (document->outcome != FILE_INDEXED)
            continue;
        figures[TEXT_BYTES] += (double)document->bytes;
        figures[WORDS] += (double)document->words;
    }
    figures[BUILD_RATE] = figures[TEXT_BYTES] / figures[BUILD_SECONDS];
}

static void sum_usage(double *figures)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    figures[USER_SECONDS] = (double)usage.ru_utime.tv_sec + 1e-6 * (double)usage.ru_utime.tv_usec;
    figures[SYSTEM_SECONDS] = (double)usage.ru_stime.tv_sec + 1e-6 * (double)usage.ru_stime.tv_usec;
    figures[FAULTS] = (double)usage.ru_minflt;
    figures[RSS_PEAK] = status_bytes("VmHWM");
}

static void print_value(double value, int figure, int width)
{
    if (value < 0)
        printf("%*s", width, "-");
    else
        printf("%*.*f", width, figure_table[figure].decimals, value / figure_table[figure].unit);
}

static void print_report(const report_t *report)
{
    printf("\n");
    for (int i = 0; i < FIGURES; i++) {
        printf("%-28s", figure_table[i].label);
        print_value(report->figures[i], i, 14);
        printf("\n");
    }
    printf("checksums: index %016llx, answers %016llx\n", (unsigned long long)report->index_sum,
           (unsigned long long)report->answer_sum);
}

static void print_json(const char *mode, const report_t *report)
{
    printf("{\"mode\": \"%s\"", mode);
    for (int i = 0; i < FIGURES; i++) {
        if (report->figures[i] >= 0)
            printf(", \"%s\": %.9g", figure_table[i].key, report->figures[i]);
    }
    printf(", \"index_sum\": \"%016llx\", \"answer_sum\": \"%016llx\"}",
           (unsigned long long)report->index_sum, (unsigned long long)report->answer_sum);
}

/* ==== one run ==== */

/* Whatever is free goes back to the kernel, in either mode. */
static void trim(void)
{
    arena_trim(NULL, 0);
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static bool run_build(index_t *index, char **paths, int count, double *figures)
{
    double begin = now();
    if (!corpus_list(&index->corpus, paths, count))
        return false;
    figures[LIST_SECONDS] = now() - begin;

    begin = now();
    bool good = index_create(index) && run_threads(index, build_thread) && !atomic_load(&index->no_memory);
    figures[BUILD_SECONDS] = now() - begin;

    begin = now();
    good = good && run_threads(index, sort_thread);
    figures[SORT_SECONDS] = now() - begin;
    figures[RSS_BUILT] = status_bytes("VmRSS");

    begin = now(); /* from here on the index does not change */
    trim();
    figures[TRIM_SECONDS] = now() - begin;
    figures[RSS_SETTLED] = status_bytes("VmRSS");
    if (!good)
        fprintf(stderr, "index: out of memory after %zu of %zu files\n", atomic_load(&index->files_done),
                index->corpus.count);
    return good;
}

/* The sum over the arenas of the index, which are all there are between files and queries. */
static void look_at_arenas(double *figures)
{
    arena_stats_t stats;
    arena_stats(NULL, &stats, sizeof stats);
    figures[MAPPED_BUILT] = settings.use_malloc ? -1 : (double)stats.mapped_bytes;
    figures[RESIDENT_BUILT] = settings.use_malloc ? -1 : (double)stats.resident_bytes;
    figures[LIVE_BUILT] = settings.use_malloc ? -1 : (double)stats.live_bytes;
    figures[MAPPED_PEAK] = settings.use_malloc ? -1 : (double)stats.peak_mapped_bytes;
}

/* Figures of the index as it stands, and arena_check() of each arena if wanted. */
static bool run_look(index_t *index, report_t *report)
{
    sum_documents(index, report->figures);
    sum_index(index, report);
    look_at_arenas(report->figures);
    for (size_t i = 0; settings.check && !settings.use_malloc && i < index->shard_count; i++) {
        if (arena_check(index->shards[i].heap.arena) == 0)
            continue;
        fprintf(stderr, "index: the arena of shard %zu is broken\n", i);
        return false;
    }
    return true;
}

static bool run_queries(index_t *index, report_t *report)
{
    query_t query;
    for (size_t i = 0; i < settings.query_count; i++) {
        double begin = now();
        if (!index_query(index, settings.queries[i], &query))
            return false;
        print_answer(index, settings.queries[i], &query, now() - begin);
        report->answer_sum = sum_answer(report->answer_sum, &query);
    }
    double begin = now();
    for (int round = 0; round < settings.rounds; round++) {
        for (size_t i = 0; i < settings.query_count; i++) {
            if (!index_query(index, settings.queries[i], &query))
                return false;
        }
    }
    report->figures[QUERY_SECONDS] = (now() - begin) / settings.rounds / (double)settings.query_count;
    return true;
}

static void drop_shard(index_t *index, size_t number, double *figures)
{
    arena_stats_t stats = {.mapped_bytes = 0};
    if (!settings.use_malloc)
        arena_stats(index->shards[number].heap.arena, &stats, sizeof stats);
    double begin = now();
    shard_drop(&index->shards[number]);
    double seconds = now() - begin;
    figures[DROP_SECONDS] += seconds;
    if (settings.quiet || index->shard_count > MAX_DROP_LINES)
        return;
    printf("shard %2zu", number);
    if (!settings.use_malloc)
        printf(": %8zu blocks, %6.1f of %6.1f MB live", stats.live_blocks, (double)stats.live_bytes / MEGA,
               (double)stats.mapped_bytes / MEGA);
    printf("; dropped in %6.0f us, RSS now %6.1f MB\n", 1e6 * seconds, status_bytes("VmRSS") / MEGA);
}

static void run_drop(index_t *index, double *figures)
{
    if (!settings.quiet)
        printf("\n");
    for (size_t i = 0; i < index->shard_count; i++) {
        drop_shard(index, i, figures);
    }
    double begin = now();
    corpus_drop(&index->corpus);
    figures[DROP_SECONDS] += now() - begin;
    figures[RSS_DROPPED] = status_bytes("VmRSS");

    arena_stats_t stats;
    arena_stats(NULL, &stats, sizeof stats);
    figures[MAPPED_DROPPED] = settings.use_malloc ? -1 : (double)stats.mapped_bytes;
    trim();
    figures[RSS_TRIMMED] = status_bytes("VmRSS");
}

/* The index from its first file to its last free; false after a message. */
static bool run(char **paths, int count, report_t *report)
{
    static index_t index;
    *report = (report_t){.index_sum = 0};
    report->figures[RSS_START] = status_bytes("VmRSS");
    bool good = run_build(&index, paths, count, report->figures) && run_look(&index, report);
    if (good && !run_queries(&index, report)) {
        fprintf(stderr, "index: out of memory while answering\n");
        good = false;
    }
    run_drop(&index, report->figures);
    sum_usage(report->figures);
    return good;
}

static bool run_one_mode(char **paths, int count)
{
    report_t report;
    if (!run(paths, count, &report))
        return false;
    if (settings.report_descriptor >= 0)
        return write(settings.report_descriptor, &report, sizeof report) == (ssize_t)sizeof report;
    if (settings.json) {
        print_json(settings.use_malloc ? "malloc" : "arena", &report);
        printf("\n");
    } else {
        print_report(&report);
    }
    return true;
}

/* ==== both runs ==== */

/* Reads everything once, so that both runs find it in the page cache. */
static bool warm_page_cache(char **paths, int count)
{
    static char window[65536];
    corpus_t corpus;
    bool good = corpus_list(&corpus, paths, count);
    for (size_t i = 0; good && i < corpus.count; i++) {
        int descriptor = open(corpus.documents[i].path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (descriptor < 0)
            continue;
        while (read(descriptor, window, sizeof window) > 0) {
        }
        close(descriptor);
    }
    corpus_drop(&corpus);
    return good;
}

/* In the child: the same command line, with the options that make it one of the two runs. */
static _Noreturn void run_self(int argc, char **argv, const char *mode, bool quiet, int descriptor)
{
    char report[48];
    snprintf(report, sizeof report, "--report=%d", descriptor);
    char **arguments = calloc((size_t)argc + 4, sizeof *arguments);
    if (arguments == NULL)
        _exit(127);
    size_t used = 0;
    arguments[used++] = argv[0];
    arguments[used++] = (char *)(uintptr_t)mode; /* execv() does not write to them */
    arguments[used++] = report;
    if (quiet)
        arguments[used++] = (char *)(uintptr_t) "--quiet";
    for (int i = 1; i < argc; i++) {
        arguments[used++] = argv[i];
    }
    execv("/proc/self/exe", arguments);
    perror("index: /proc/self/exe");
    _exit(127);
}

/* Runs this program as a fresh process, so that the kernel's figures are of one mode alone. */
static bool run_mode(int argc, char **argv, const char *mode, bool quiet, report_t *report)
{
    int ends[2], status = 0;
    if (pipe(ends) != 0) {
        perror("index: pipe");
        return false;
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        run_self(argc, argv, mode, quiet, ends[1]);
    }
    close(ends[1]);
    bool good = child > 0 && read(ends[0], report, sizeof *report) == (ssize_t)sizeof *report;
    close(ends[0]);
    if (child < 0)
        perror("index: fork");
    if (child > 0 && waitpid(child, &status, 0) == child && status != 0)
        good = false;
    if (WIFSIGNALED(status))
        fprintf(stderr, "index: the run with %s was ended by signal %d\n", mode, WTERMSIG(status));
    return good;
}

static void print_comparison(const report_t *arena, const report_t *library)
{
    printf("\n%-28s%14s%14s%9s\n", "", "libarena", "malloc", "ratio");
    for (int i = 0; i < FIGURES; i++) {
        double left = arena->figures[i], right = library->figures[i];
        printf("%-28s", figure_table[i].label);
        print_value(left, i, 14);
        print_value(right, i, 14);
        if (i >= LIST_SECONDS && left >= 0 && right > 0)
            printf("%9.2f", left / right);
        printf("\n");
    }
}

static bool compare(int argc, char **argv)
{
    report_t arena, library;
    if (!warm_page_cache(argv + optind, argc - optind))
        return false;
    if (!run_mode(argc, argv, "--arena", settings.quiet || settings.json, &arena))
        return false;
    if (!run_mode(argc, argv, "--malloc", true, &library))
        return false;
    if (settings.json) {
        printf("[");
        print_json("arena", &arena);
        printf(",\n ");
        print_json("malloc", &library);
        printf("]\n");
    } else {
        print_comparison(&arena, &library);
    }
    bool equal = arena.index_sum == library.index_sum && arena.answer_sum == library.answer_sum;
    fprintf(equal && !settings.json ? stdout : stderr,
            equal ? "both runs built the same index (%016llx) and gave the same answers (%016llx)\n"
                  : "index: the runs differ, or the files did meanwhile: %016llx %016llx, %016llx %016llx\n",
            (unsigned long long)arena.index_sum, (unsigned long long)arena.answer_sum,
            (unsigned long long)library.index_sum, (unsigned long long)library.answer_sum);
    return equal;
}

/* ==== command line ==== */

static const char help[] =
    "usage: index [options] [file or directory ...]\n"
    "Indexes text by several threads in arenas, answers queries, drops the arenas; then does the same with\n"
    "malloc and compares. Without paths: /usr/share/common-licenses /usr/include /usr/share/doc.\n"
    "  -t, --threads N    threads that build; default: processors online\n"
    "  -q, --query WORDS  a query, repeatable: documents with all words; \"in quotes\": the phrase\n"
    "  -r, --rounds N     how often the queries are repeated to be timed; default 200\n"
    "  -a, --arena        only with arenas\n"
    "  -m, --malloc       only with malloc\n"
    "  -l, --limit MIB    the most that each arena may map; running into it ends the run\n"
    "  -c, --check        verify every arena of the index\n"
    "  -j, --json         figures as JSON\n"
    "      --quiet        figures only\n"
    "  -h, --help         this text\n";

static bool set_option(int option)
{
    switch (option) {
    case 't':
        settings.threads = atoi(optarg);
        return settings.threads >= 1 && settings.threads <= MAX_THREADS;
    case 'q':
        if (settings.query_count == MAX_QUERIES)
            return false;
        settings.queries[settings.query_count++] = optarg;
        return true;
    case 'r':
        settings.rounds = atoi(optarg);
        return settings.rounds >= 1;
    case 'l':
        settings.limit_bytes = (size_t)strtoull(optarg, NULL, 10) << 20;
        return settings.limit_bytes > 0;
    case 'a':
    case 'm':
        settings.one_mode = true;
        settings.use_malloc = option == 'm';
        return true;
    case 'R':
        settings.report_descriptor = atoi(optarg);
        return true;
    default:
        settings.check |= option == 'c';
        settings.json |= option == 'j';
        settings.quiet |= option == 'Q' || option == 'j';
        return option != '?';
    }
}

static bool parse_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"threads", required_argument, NULL, 't'}, {"query", required_argument, NULL, 'q'},
        {"rounds", required_argument, NULL, 'r'},  {"limit", required_argument, NULL, 'l'},
        {"arena", no_argument, NULL, 'a'},         {"malloc", no_argument, NULL, 'm'},
        {"check", no_argument, NULL, 'c'},         {"json", no_argument, NULL, 'j'},
        {"quiet", no_argument, NULL, 'Q'},         {"report", required_argument, NULL, 'R'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    settings.threads = processors < 1 ? 1 : processors > MAX_THREADS ? MAX_THREADS : (int)processors;
    for (int option; (option = getopt_long(argc, argv, "t:q:r:l:amcjh", names, NULL)) != -1;) {
        if (option == 'h') {
            fputs(help, stdout);
            exit(EXIT_SUCCESS);
        }
        if (!set_option(option))
            return false;
    }
    for (size_t i = 0; settings.query_count < sizeof default_queries / sizeof default_queries[0]; i++) {
        if (i == 0 && settings.query_count > 0)
            break;
        settings.queries[settings.query_count++] = default_queries[i];
    }
    return true;
}

int main(int argc, char **argv)
{
    if (!parse_options(argc, argv)) {
        fputs(help, stderr);
        return 2;
    }
    make_fold();
    bool good = settings.one_mode ? run_one_mode(argv + optind, argc - optind) : compare(argc, argv);
    if (fflush(stdout) != 0) {
        perror("index: standard output");
        good = false;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
