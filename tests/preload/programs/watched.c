/*
 * watched.c: what watched.py looks at through ARENA_LOG, ARENA_SCRIBBLE, ARENA_LEAKS and ARENA_FIT. Each mode tells on stdout
 * what it did, a line each, from a buffer of its own: stdio would allocate in between.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FRESH = 0xAA, RELEASED = 0x55, THREADS = 8, BLOCKS = 500, OWN = 300 };

static char told[1 << 16];
static size_t told_bytes;

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    va_list rest;

    va_start(rest, format);
    told_bytes += (size_t)vsnprintf(told + told_bytes, sizeof told - told_bytes, format, rest);
    va_end(rest);
}

static void say(void)
{
    if (write(STDOUT_FILENO, told, told_bytes) != (ssize_t)told_bytes)
        abort();
    told_bytes = 0;
}

#define must(condition) ((condition) ? (void)0 : die(__LINE__, #condition))

static void die(int line, const char *condition)
{
    tell("line %d: broken: %s\n", line, condition);
    say();
    _exit(1);
}

/* --- operations: operation, size, address, where it was --- */

static void *told_block(const char *operation, size_t size, void *block, uintptr_t from)
{
    must(block != NULL);
    tell("%s %zu %#zx %#zx\n", operation, size, (uintptr_t)block, from);
    return block;
}

static void told_free(void *block)
{
    tell("free - %#zx 0x0\n", (uintptr_t)block);
    free(block);
}

static void use_each_function(size_t scale)
{
    void *aligned = NULL;

    void *plain = told_block("alloc", 100 * scale, malloc(100 * scale), 0);
    void *clear = told_block("calloc", 77 * scale, calloc(7, 11 * scale), 0);
    uintptr_t from = (uintptr_t)plain;
    plain = told_block("realloc", 1000 * scale, realloc(plain, 1000 * scale), from);
    from = (uintptr_t)plain;
    plain = told_block("realloc", 40 * scale, realloc(plain, 40 * scale), from);
    void *other = told_block("aligned", 50 * scale, aligned_alloc(256, 50 * scale), 0);
    must(posix_memalign(&aligned, 4096, 60 * scale) == 0);
    told_block("aligned", 60 * scale, aligned, 0);
    void *fresh = told_block("alloc", 20 * scale, realloc(NULL, 20 * scale), 0);
    told_free(plain);
    told_free(clear);
    told_free(other);
    told_free(aligned);
    from = (uintptr_t)fresh;
    tell("free - %#zx 0x0\n", from);
    must(realloc(fresh, 0) == NULL);
}

/* What is asked for is what the log says, whatever it is rounded up to, and so is the function. */
static void use_small_sizes(void)
{
    void *block = NULL;

    for (size_t size = 0; size <= 20; size++) {
        told_free(told_block("alloc", size, malloc(size), 0));
        told_free(told_block("calloc", size, calloc(1, size), 0));
        for (size_t alignment = 1; alignment <= 32; alignment *= 2) {
            block = told_block("aligned", size, memalign(alignment, size), 0);
            must((uintptr_t)block % 16 == 0 && malloc_usable_size(block) >= 16);
            told_free(block);
        }
        must(posix_memalign(&block, 8, size) == 0);
        told_free(told_block("aligned", size, block, 0));
    }
}

static void operations(void)
{
    use_small_sizes();
    use_each_function(1);
    use_each_function(100);
    use_each_function(100000); /* large blocks */
}

/* --- counts: allocations and frees of sizes that nobody else asks for --- */

static void churn(size_t size, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *block = malloc(size);
        must(block != NULL);
        *(volatile char *)block = 1;
        if (i % 2 == 0)
            free(block);
    }
}

static void *churn_of_thread(void *number)
{
    churn(10007 + (uintptr_t)number, BLOCKS);
    return NULL;
}

static void threads(void)
{
    pthread_t running[THREADS];

    for (size_t i = 0; i < THREADS; i++)
        must(pthread_create(&running[i], NULL, churn_of_thread, (void *)i) == 0);
    for (size_t i = 0; i < THREADS; i++)
        must(pthread_join(running[i], NULL) == 0);
}

/* The parent's line is in its buffer when it forks. */
static void forks(void)
{
    int status;

    churn(20011, OWN);
    for (size_t i = 0; i < 3; i++) {
        void *inherited = malloc(30011 + i);
        must(inherited != NULL);
        pid_t child = fork();
        must(child >= 0);
        if (child == 0) {
            free(inherited);
            churn(20021 + i, OWN);
            exit(0);
        }
        must(waitpid(child, &status, 0) == child && status == 0);
        tell("child %d\n", (int)child);
        free(inherited);
    }
    say();
}

static bool late;

__attribute__((destructor)) static void at_the_very_end(void)
{
    if (late)
        churn(40009, OWN);
}

static void at_exit(void)
{
    churn(40013, OWN);
}

static void exits(void)
{
    late = true;
    must(atexit(at_exit) == 0);
    churn(40031, OWN);
    exit(0);
}

static void misuse(void)
{
    static int outside[4];

    churn(50021, OWN);
    free(&outside[2]);
}

/* --- scribbling --- */

static bool all(const void *block, size_t from, size_t to, unsigned char byte)
{
    const volatile unsigned char *at = block;

    for (size_t i = from; i < to; i++)
        if (at[i] != byte)
            return false;
    return true;
}

static void scribble_of(size_t size)
{
    unsigned char *block = malloc(size);
    must(block != NULL);
    size_t usable = malloc_usable_size(block);
    bool stays = size < 16384; /* when it is freed; larger ones may be unmapped */
    must(usable >= size && all(block, 0, usable, FRESH));
    memset(block, 1, usable);
    block = realloc(block, 2 * usable);
    must(block != NULL);
    size_t grown = malloc_usable_size(block);
    must(all(block, 0, usable, 1) && all(block, usable, grown, FRESH));
    memset(block, 2, grown);
    free(block);
    /* What is in front, and the last word, belong to lists of free chunks. */
    must(!stays || all(block, 32, usable, RELEASED));
    for (size_t i = 0; i < 20; i++) {
        unsigned char *clear = calloc(1, size), *aligned = aligned_alloc(128, size);
        must(clear != NULL && all(clear, 0, size, 0));
        must(aligned != NULL && all(aligned, 0, malloc_usable_size(aligned), FRESH));
        free(clear);
        free(aligned);
    }
}

static void scribble(void)
{
    static const size_t sizes[] = {16, 24, 100, 1000, 1024, 5000, 30000, 100000, 200000, 4 << 20};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        scribble_of(sizes[i]);
    tell("scribbled\n");
}

/* --- leaks --- */

static void leak(size_t size)
{
    void *block = malloc(size);

    must(block != NULL);
    tell("%#zx %zu\n", (uintptr_t)block, malloc_usable_size(block));
}

/* Among blocks that are freed again, here and by a thread whose cache is gone by then. */
static void leaks(void)
{
    static const size_t sizes[] = {1, 100, 3000, 70000, 5 << 20};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *freed = malloc(sizes[i]);
        leak(sizes[i]);
        free(freed);
    }
}

static void closed_stderr(void)
{
    leak(100);
    close(STDERR_FILENO);
    must(open("/dev/null", O_WRONLY) == STDERR_FILENO);
}

/* --- fits: which of four holes serves a request, six times, and once more when the first was freed --- */

static void fits(void)
{
    enum { HOLES = 4, REQUEST = 8000 };
    static const size_t sizes[HOLES] = {30000, 9000, 60000, 15000}; /* in address order */
    char *holes[HOLES], *block, *first = NULL;

    for (size_t i = 0; i < HOLES; i++) {
        must((holes[i] = malloc(sizes[i])) != NULL);
        must(malloc(16) != NULL); /* a wall */
        must(i == 0 || holes[i] > holes[i - 1]);
    }
    while (malloc(REQUEST) != NULL) { /* up to ARENA_LIMIT: no other free chunk holds one */
    }
    for (size_t i = 0; i < HOLES; i++)
        free(holes[i]);
    for (size_t n = 0; n < 7; n++) {
        size_t i = 0;
        if (n == 6)
            free(first);
        must((block = malloc(REQUEST)) != NULL);
        while (i < HOLES && (block < holes[i] || block >= holes[i] + sizes[i]))
            i++;
        must(i < HOLES);
        first = n == 0 ? block : first;
        tell("%zu ", sizes[i]);
    }
}

int main(int count, char **words)
{
    static const struct {
        const char *name;
        void (*body)(void);
    } modes[] = {{"operations", operations},
                 {"threads", threads},
                 {"forks", forks},
                 {"exits", exits},
                 {"misuse", misuse},
                 {"scribble", scribble},
                 {"leaks", leaks},
                 {"closed_stderr", closed_stderr},
                 {"fits", fits}};

    for (size_t i = 0; count == 2 && i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(words[1], modes[i].name) == 0) {
            modes[i].body();
            say();
            return 0;
        }
    }
    return 2;
}
