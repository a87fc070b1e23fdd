/*
 * build.c: threads take file after file, and later shard after shard, until there is none left. The one that
 * started them waits and shows how far they are.
 */
#include "build.h"

#include "process.h"
#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_COMPLAINTS = 5 }; /* unreadable files named one by one */

/* No file can then have a word more often than a uint32_t counts. */
#define MAX_FILE_BYTES ((off_t)8 << 30)

static void complain(index_t *index, const document_t *document)
{
    size_t before = atomic_fetch_add(&index->complaints, 1);
    if (before < MAX_COMPLAINTS && !settings.quiet)
        fprintf(stderr, "index: cannot read %s: %s\n", document->path, strerror(errno));
    if (before == MAX_COMPLAINTS && !settings.quiet)
        fprintf(stderr, "index: and so on; they are counted\n");
}

/* False if there is no memory; everything else is an outcome of the one document. */
static bool take_open_file(index_t *index, document_t *document, int descriptor)
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

static bool take_file(index_t *index, document_t *document)
{
    int descriptor = open(document->path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) {
        document->outcome = FILE_UNREADABLE;
        complain(index, document);
        return true;
    }
    bool good = take_open_file(index, document, descriptor);
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
        if (!take_file(index, document))
            atomic_store(&index->no_memory, true);
        atomic_fetch_add(&index->bytes_done, document->bytes);
        atomic_fetch_add(&index->files_done, 1);
    }
    thread_ends(index);
    return NULL;
}

static void *sort_thread(void *argument)
{
    index_t *index = argument;
    for (size_t number; (number = atomic_fetch_add(&index->next, 1)) < index->shard_count;) {
        shard_sort(&index->shards[number]);
    }
    thread_ends(index);
    return NULL;
}

static void show_progress(index_t *index, double begin, const char *end_of_line)
{
    double megabytes = (double)atomic_load(&index->bytes_done) / MEGA, seconds = process_now() - begin;
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
        if (!building || process_now() - last < (terminal ? 0.1 : 5.0))
            continue;
        last = process_now();
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
    double begin = process_now();
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

bool build_files(index_t *index)
{
    return run_threads(index, build_thread) && !atomic_load(&index->no_memory);
}

bool build_sort(index_t *index)
{
    return run_threads(index, sort_thread);
}
