/*
 * corpus.c: walks over directories, without following links, and sorts what it has met. One thread does
 * that, before the others start; from then on the list does not grow.
 */
#include "corpus.h"

#include "settings.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const default_paths[] = {"/usr/share/common-licenses", "/usr/include", "/usr/share/doc"};

static bool corpus_add(corpus_t *corpus, const char *path)
{
    if (corpus->count == UINT32_MAX) { /* document numbers are 32 bits */
        errno = EOVERFLOW;
        return false;
    }
    if (corpus->count == corpus->capacity) {
        document_t *grown =
            heap_grow(corpus->heap, corpus->documents, &corpus->capacity, corpus->count + 1, sizeof *grown);
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

bool corpus_list(corpus_t *corpus, char **paths, int count)
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

void corpus_drop(corpus_t *corpus)
{
    for (size_t i = 0; settings.use_malloc && i < corpus->count; i++) {
        free(corpus->documents[i].path);
    }
    if (settings.use_malloc)
        free(corpus->documents);
    heap_drop(&corpus->heap);
}
