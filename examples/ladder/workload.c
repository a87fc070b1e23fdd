/*
 * workload.c: workloads made by a generator with a fixed seed, and traces read from files. Their memory is
 * mapped, not allocated: the C library's malloc is one of those that are measured.
 */
#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define NO_SLOT SIZE_MAX

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        perror("compare: mmap");
        exit(EXIT_FAILURE);
    }
    return memory;
}

static workload_t workload_begin(const char *name)
{
    workload_t w = {.room = 4096};

    snprintf(w.name, sizeof w.name, "%s", name);
    w.ops = map(w.room * sizeof *w.ops);
    return w;
}

static void push(workload_t *w, size_t bytes, size_t slot)
{
    if (w->count == w->room) {
        op_t *larger = map(2 * w->room * sizeof *larger);
        memcpy(larger, w->ops, w->room * sizeof *larger);
        munmap(w->ops, w->room * sizeof *w->ops);
        w->ops = larger;
        w->room *= 2;
    }
    w->ops[w->count++] = (op_t){bytes, slot};
}

/* Answers the slot of the new block. */
static size_t push_malloc(workload_t *w, size_t bytes)
{
    push(w, bytes, w->slots);
    w->live += bytes;
    if (w->live > w->peak) {
        w->peak = w->live;
        w->peak_op = w->count;
    }
    return w->slots++;
}

static void push_free(workload_t *w, size_t slot, size_t bytes)
{
    push(w, 0, slot);
    w->live -= bytes;
}

void workload_free(workload_t *w)
{
    munmap(w->ops, w->room * sizeof *w->ops);
}

/* --- numbers: Steele, Lea and Flood's splitmix64 (2014) --- */

static uint64_t seed;

static size_t below(size_t bound)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (size_t)((z ^ (z >> 31)) % bound);
}

static size_t between(size_t low, size_t high)
{
    return low + below(high - low + 1);
}

/* --- sets of live blocks --- */

typedef struct {
    size_t slot, bytes;
} live_t;

static live_t live_new(workload_t *w, size_t bytes)
{
    return (live_t){push_malloc(w, bytes), bytes};
}

static void shuffle(live_t *live, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t other = below(i);
        live_t keep = live[i - 1];
        live[i - 1] = live[other];
        live[other] = keep;
    }
}

static void free_all(workload_t *w, const live_t *live, size_t n)
{
    for (size_t i = 0; i < n; i++)
        push_free(w, live[i].slot, live[i].bytes);
}

workload_t workload_order(size_t n, order_t order, bool random_sizes)
{
    static const char *const names[] = {"LIFO", "FIFO", "random order"};
    char name[40];
    snprintf(name, sizeof name, "%s, %s", names[order], random_sizes ? "8 to 512 B" : "64 B");
    workload_t w = workload_begin(name);
    live_t *live = map(n * sizeof *live);

    seed = 1;
    w.batched = true;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < n; i++)
            live[order == ORDER_LIFO ? n - 1 - i : i] = live_new(&w, random_sizes ? between(8, 512) : 64);
        if (order == ORDER_RANDOM)
            shuffle(live, n);
        free_all(&w, live, n);
    }
    munmap(live, n * sizeof *live);
    return w;
}

workload_t workload_churn(const char *name, size_t n, size_t rounds, size_t least, size_t most)
{
    workload_t w = workload_begin(name);
    live_t *live = map(n * sizeof *live);

    seed = 2;
    w.batched = true;
    for (size_t i = 0; i < n; i++)
        live[i] = live_new(&w, between(least, most));
    w.timed_from = w.count;
    for (size_t round = 0; round < rounds; round++) {
        shuffle(live, n);
        free_all(&w, live, n / 8);
        for (size_t i = 0; i < n / 8; i++)
            live[i] = live_new(&w, between(least, most));
    }
    w.timed_to = w.count;
    free_all(&w, live, n);
    munmap(live, n * sizeof *live);
    return w;
}

workload_t workload_phases(size_t n)
{
    workload_t w = workload_begin("phases");
    size_t kept = n / 10, large = n / 4;
    live_t *live = map((n + large) * sizeof *live), *more = live + n;

    seed = 3;
    for (size_t i = 0; i < n; i++)
        live[i] = live_new(&w, between(16, 256));
    shuffle(live, n);
    free_all(&w, live + kept, n - kept);
    for (size_t i = 0; i < large; i++)
        more[i] = live_new(&w, between(512, 2048));
    shuffle(more, large);
    free_all(&w, more, large);
    for (size_t i = kept; i < n; i++)
        live[i] = live_new(&w, between(16, 256));
    shuffle(live, n);
    free_all(&w, live, n);
    munmap(live, (n + large) * sizeof *live);
    return w;
}

workload_t workload_worst(const char *name, size_t n, size_t small, size_t big)
{
    workload_t w = workload_begin(name);
    size_t bigs = n / 10;
    live_t *live = map((n + bigs) * sizeof *live);

    w.batched = true;
    for (size_t i = 0; i < n + bigs; i++) {
        live[i] = live_new(&w, i < n ? small : big);
        push_malloc(&w, 16); /* a wall, so that nothing merges */
    }
    free_all(&w, live + n, bigs); /* first: a list in LIFO order has them at its end, as one by address has */
    free_all(&w, live, n);
    w.timed_from = w.count;
    for (size_t i = 0; i < bigs; i++)
        live[i] = live_new(&w, big);
    w.timed_to = w.count;
    free_all(&w, live, bigs);
    munmap(live, (n + bigs) * sizeof *live);
    return w;
}

/* --- traces --- */

static FILE *trace_open(const char *path, bool *packed)
{
    char command[4096];
    size_t length = strlen(path);

    *packed = length > 3 && strcmp(path + length - 3, ".gz") == 0;
    if (!*packed)
        return fopen(path, "r");
    if (strchr(path, '\'') != NULL || length > sizeof command - 20)
        return NULL;
    snprintf(command, sizeof command, "gzip -dc '%s'", path);
    return popen(command, "r");
}

/* One line: a reallocation becomes an allocation and a free. The allocators here know no alignment but 16. */
static bool trace_line(workload_t *w, const char *line, live_t *live, size_t ids)
{
    long long id;
    size_t first = 0, second = 0;
    int fields = sscanf(line + 1, "%lld %zu %zu", &id, &first, &second);

    if (line[0] == 'f' && fields == 1 && id == -1)
        return true;
    if (fields < (line[0] == 'f'                     ? 1
                  : line[0] == 'c' || line[0] == 'l' ? 3
                                                     : 2) ||
        id < 0 || (size_t)id >= ids)
        return false;
    size_t bytes = line[0] == 'f' ? 0 : line[0] == 'c' ? first * second : line[0] == 'l' ? second : first;
    live_t old = live[id];
    live[id].slot = NO_SLOT;
    if (bytes != 0)
        live[id] = live_new(w, bytes);
    if (old.slot != NO_SLOT && (line[0] == 'f' || line[0] == 'r'))
        push_free(w, old.slot, old.bytes);
    return strchr("acfrl", line[0]) != NULL;
}

bool workload_trace(workload_t *w, const char *path)
{
    const char *slash = strrchr(path, '/');
    char name[40], line[200];
    bool packed, good;
    size_t ids = 0;
    FILE *file = trace_open(path, &packed);

    if (file == NULL)
        return false;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(slash != NULL ? slash + 1 : path, "."),
             slash != NULL ? slash + 1 : path);
    *w = workload_begin(name);
    good = fgets(line, sizeof line, file) != NULL && fscanf(file, "%zu %*u %*u ", &ids) == 1;
    live_t *live = map((ids + 1) * sizeof *live);
    for (size_t i = 0; i < ids; i++)
        live[i].slot = NO_SLOT;
    while (good && fgets(line, sizeof line, file) != NULL)
        good = line[0] == '\n' || trace_line(w, line, live, ids);
    good = !ferror(file) && good;
    munmap(live, (ids + 1) * sizeof *live);
    if ((packed ? pclose(file) : fclose(file)) != 0 || !good) {
        workload_free(w);
        return false;
    }
    return true;
}
