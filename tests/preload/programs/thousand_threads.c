/*
 * thousand_threads.c: a thousand threads, alive at once, allocate, free and end. Prints how many KiB are
 * resident afterwards. Their stacks are this program's own, so that only the allocator's part differs.
 *
 * usage: thousand_threads [THREADS]
 */
#define _GNU_SOURCE
#include "preload_support.h"

#include <fcntl.h>

enum { STACK_BYTES = 128 * 1024, BLOCKS = 100 };

static pthread_barrier_t all_allocated, all_freed;

static void *allocate_and_free(void *number)
{
    rng_t rng = {(uintptr_t)number};
    char *blocks[BLOCKS];

    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = rng_size(&rng, 13) + 1;
        must((blocks[i] = malloc(size)) != NULL);
        memset(blocks[i], 1, size);
    }
    pthread_barrier_wait(&all_allocated);
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    pthread_barrier_wait(&all_freed);
    return NULL;
}

/* Rss of /proc/self/smaps_rollup, exact where statm is an estimate. */
static size_t resident_kib(void)
{
    static char text[4096];
    int file = open("/proc/self/smaps_rollup", O_RDONLY);

    must(file >= 0 && read(file, text, sizeof text - 1) > 0);
    close(file);
    const char *line = strstr(text, "\nRss:");
    must(line != NULL);
    return strtoull(line + 5, NULL, 10);
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
    size_t bytes = count * STACK_BYTES + count * sizeof(pthread_t);
    char *stacks =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    pthread_attr_t own;

    must(stacks != MAP_FAILED);
    pthread_t *threads = (pthread_t *)(void *)(stacks + count * STACK_BYTES);
    must(pthread_barrier_init(&all_allocated, NULL, (unsigned)count) == 0);
    must(pthread_barrier_init(&all_freed, NULL, (unsigned)count) == 0);
    must(pthread_attr_init(&own) == 0);
    for (size_t i = 0; i < count; i++) {
        must(pthread_attr_setstack(&own, stacks + i * STACK_BYTES, STACK_BYTES) == 0);
        must(pthread_create(&threads[i], &own, allocate_and_free, (void *)(uintptr_t)(i + 1)) == 0);
    }
    for (size_t i = 0; i < count; i++)
        must(pthread_join(threads[i], NULL) == 0);
    must(munmap(stacks, bytes) == 0);
    printf("%zu\n", resident_kib());
    return 0;
}
