/*
 * support.h: what several test programs share: a seeded generator, content patterns, time scaling, and a
 * source of memory by hooks that keeps its own books. Public API only.
 *
 * cmocka's assertions leave by longjmp and so may only be used on the main thread; must() aborts and may
 * be used anywhere.
 */
#ifndef ARENA_TESTS_SUPPORT_H
#define ARENA_TESTS_SUPPORT_H

#include "arena.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SUPPORT_UNUSED __attribute__((unused))

#ifndef KIB
#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#endif
#define GIB (1024 * MIB)

/* How much slower this build is than a release; loops with no other measure divide their rounds by it. */
#if defined(CHECK_LEVEL) && CHECK_LEVEL >= 2
#define SLOWNESS 30
#elif defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLOWNESS 5
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SLOWNESS 5
#endif
#endif
#ifndef SLOWNESS
#define SLOWNESS 1
#endif

#define must(condition) ((condition) ? (void)0 : support_die(__FILE__, __LINE__, #condition))

SUPPORT_UNUSED _Noreturn static void support_die(const char *file, int line, const char *condition)
{
    int saved = errno;

    fprintf(stderr, "%s:%d: broken: %s (errno %d)\n", file, line, condition, saved);
    abort();
}

/* --- numbers --- */

typedef struct {
    uint64_t state;
} rng_t;

/* Steele, Lea and Flood's splitmix64 (2014). */
SUPPORT_UNUSED static uint64_t rng_next(rng_t *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

SUPPORT_UNUSED static size_t rng_below(rng_t *rng, size_t bound)
{
    return (size_t)(rng_next(rng) % bound);
}

/* A size below 2^max_log2 + 1, each power of two as likely as the next. */
SUPPORT_UNUSED static size_t rng_size(rng_t *rng, unsigned max_log2)
{
    size_t top = (size_t)1 << rng_below(rng, max_log2 + 1u);

    return rng_below(rng, top + 1u);
}

/* The seed of this run, printed so that a failure can be repeated with ARENA_TEST_SEED. */
SUPPORT_UNUSED static uint64_t test_seed(uint64_t otherwise)
{
    const char *text = getenv("ARENA_TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : otherwise;

    printf("ARENA_TEST_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

/* How long a stress test goes on: ARENA_STRESS_SECONDS, or `otherwise`. */
SUPPORT_UNUSED static double test_seconds(double otherwise)
{
    const char *text = getenv("ARENA_STRESS_SECONDS");
    double seconds = text != NULL ? strtod(text, NULL) : 0.0;

    return seconds > 0.0 ? seconds : otherwise;
}

SUPPORT_UNUSED static double now_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- threads --- */

/*
 * Creates a thread with a small stack. The stacks of threads that a fork leaves behind then never add up to
 * what makes the C library unmap some of them, whose addresses AddressSanitizer would go on calling poisoned.
 */
SUPPORT_UNUSED static void start_thread(pthread_t *thread, void *(*body)(void *), void *argument)
{
    pthread_attr_t small;

    must(pthread_attr_init(&small) == 0);
    must(pthread_attr_setstacksize(&small, MIB) == 0);
    must(pthread_create(thread, &small, body, argument) == 0);
    pthread_attr_destroy(&small);
}

/* Runs `count` threads of `body`, each with its number as argument, and waits for all. */
SUPPORT_UNUSED static void run_threads(size_t count, void *(*body)(void *))
{
    pthread_t threads[64];

    must(count <= 64);
    for (size_t i = 0; i < count; i++)
        start_thread(&threads[i], body, (void *)(uintptr_t)i);
    for (size_t i = 0; i < count; i++)
        must(pthread_join(threads[i], NULL) == 0);
}

/* Runs one thread of `body` and waits for its answer. */
SUPPORT_UNUSED static void *run_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    void *answer;

    start_thread(&thread, body, argument);
    must(pthread_join(thread, &answer) == 0);
    return answer;
}

/* --- processes --- */

/* In a child: its own signals again, not cmocka's, and an end to every deadlock. */
SUPPORT_UNUSED static void child_begins(unsigned seconds)
{
    static const int caught[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
        signal(caught[i], SIG_DFL);
    signal(SIGALRM, SIG_DFL);
    alarm(seconds);
}

/* Forks, runs `body` in the child and answers its wait status: its answer << 8, if it ended by itself. */
SUPPORT_UNUSED static int status_of_child(int (*body)(void *), void *context, unsigned seconds)
{
    int status;

    fflush(NULL);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        child_begins(seconds);
        _exit(body(context));
    }
    must(waitpid(child, &status, 0) == child);
    return status;
}

/* A child's status that says anything but success is told, then ends the test. */
SUPPORT_UNUSED static void must_end_well(int status)
{
    if (status != 0)
        fprintf(stderr, "a child ended with wait status %#x\n", (unsigned)status);
    must(status == 0);
}

/* --- contents --- */

SUPPORT_UNUSED static size_t count_in(const char *text, const char *part)
{
    size_t count = 0;

    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

/* Hides from the compiler how large the object behind `block` is, so that all usable bytes can be used. */
SUPPORT_UNUSED static void *any_size(void *block)
{
    __asm__("" : "+r"(block));
    return block;
}

SUPPORT_UNUSED static uint64_t pattern_word(uint64_t tag, size_t index)
{
    return (tag + index) * 0x9e3779b97f4a7c15u;
}

SUPPORT_UNUSED static void fill(void *block, size_t bytes, uint64_t tag)
{
    unsigned char *at = any_size(block);
    size_t words = bytes / 8;

    for (size_t i = 0; i < words; i++) {
        uint64_t word = pattern_word(tag, i);
        memcpy(at + 8 * i, &word, 8);
    }
    uint64_t last = pattern_word(tag, words);
    if (bytes % 8 != 0)
        memcpy(at + 8 * words, &last, bytes % 8);
}

SUPPORT_UNUSED static bool holds(const void *block, size_t bytes, uint64_t tag)
{
    const unsigned char *at = block;
    size_t words = bytes / 8;

    for (size_t i = 0; i < words; i++) {
        uint64_t word = pattern_word(tag, i);
        if (memcmp(at + 8 * i, &word, 8) != 0)
            return false;
    }
    uint64_t last = pattern_word(tag, words);
    return bytes % 8 == 0 || memcmp(at + 8 * words, &last, bytes % 8) == 0;
}

SUPPORT_UNUSED static bool all_zero(const void *block, size_t bytes)
{
    const unsigned char *at = block;

    return bytes == 0 || (at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0);
}

SUPPORT_UNUSED static arena_stats_t stats_of(arena_t *arena)
{
    arena_stats_t stats;

    arena_stats(arena, &stats, sizeof stats);
    return stats;
}

/* "mapped == live + cached + free + metadata". */
SUPPORT_UNUSED static bool stats_add_up(const arena_stats_t *stats)
{
    return stats->mapped_bytes ==
           stats->live_bytes + stats->cached_bytes + stats->free_bytes + stats->metadata_bytes;
}

/* --- a source by hooks --- */

enum { BOOK_ENTRIES = 4096 };

/* One mapping that the hooks gave out: [start, start + bytes) inside [base, base + base_bytes). */
typedef struct {
    char *start;
    size_t bytes;
    char *base;
    size_t base_bytes;
} book_entry_t;

typedef struct {
    size_t skew;      /* how far results lie beyond an aligned address; 0: aligned */
    bool dirty;       /* hand out garbage and say so */
    bool keep;        /* refuse every unmap */
    size_t map_limit; /* fail maps beyond this many bytes held; 0: none */
    size_t held, maps, unmaps, purges, used;
    book_entry_t entries[BOOK_ENTRIES];
} book_t;

SUPPORT_UNUSED static void *book_map(void *context, size_t bytes, size_t alignment, bool *zeroed)
{
    book_t *book = context;

    must(alignment != 0 && (alignment & (alignment - 1)) == 0 && bytes != 0);
    if (book->map_limit != 0 && book->held + bytes > book->map_limit)
        return NULL;
    must(book->used < BOOK_ENTRIES);
    size_t base_bytes = bytes + alignment + book->skew + 4096;
    char *base = mmap(NULL, base_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    size_t over = (size_t)((uintptr_t)base & (alignment - 1));
    char *start = base + (over != 0 ? alignment - over : 0) + book->skew;
    if (book->dirty)
        memset(start, 0xa5, bytes);
    book->entries[book->used++] = (book_entry_t){start, bytes, base, base_bytes};
    book->held += bytes;
    book->maps++;
    *zeroed = !book->dirty;
    errno = EBADMSG; /* a hook may */
    return start;
}

SUPPORT_UNUSED static book_entry_t *book_find(book_t *book, const char *start, size_t bytes)
{
    for (size_t i = 0; i < book->used; i++) {
        book_entry_t *entry = &book->entries[i];
        if (start >= entry->start && start + bytes <= entry->start + entry->bytes)
            return entry;
    }
    return NULL;
}

SUPPORT_UNUSED static bool book_unmap(void *context, void *start, size_t bytes)
{
    book_t *book = context;
    book_entry_t *entry = book_find(book, start, bytes);

    must(entry != NULL);
    must((char *)start + bytes == entry->start + entry->bytes);
    errno = EBADMSG;
    if (book->keep)
        return false;
    entry->bytes -= bytes;
    book->held -= bytes;
    book->unmaps++;
    if (entry->bytes == 0) {
        munmap(entry->base, entry->base_bytes);
        *entry = book->entries[--book->used];
    }
    return true;
}

SUPPORT_UNUSED static void book_purge(void *context, void *start, size_t bytes)
{
    book_t *book = context;

    must(book_find(book, start, bytes) != NULL);
    memset(start, 0x5a, bytes);
    book->purges++;
    errno = EBADMSG;
}

SUPPORT_UNUSED static arena_hooks_t book_hooks(book_t *book)
{
    return (arena_hooks_t){.map = book_map, .unmap = book_unmap, .purge = book_purge, .context = book};
}

/* Gives back what unmap refused to take. */
SUPPORT_UNUSED static void book_close(book_t *book)
{
    for (size_t i = 0; i < book->used; i++)
        munmap(book->entries[i].base, book->entries[i].base_bytes);
    book->used = 0;
    book->held = 0;
}

/* What arenas of earlier tests left warm for others to come is gone. */
SUPPORT_UNUSED static int drop_what_is_warm(void **state)
{
    (void)state;
    arena_trim(NULL, 0);
    return stats_of(NULL).stock_bytes != 0;
}

#define from_cold(test) cmocka_unit_test_setup_teardown(test, drop_what_is_warm, NULL)

#endif
