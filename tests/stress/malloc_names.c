/*
 * malloc_names.c: the paths behind malloc's names, under every sanitizer: threads that come and go allocate, resize
 * and pass blocks on, while the domain adds arenas and threads move between them, and others trim and check.
 */
#include "../../preload/domain.h"
#include "../../preload/names.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 8, ROUNDS = 3, SLOTS = 512, STEPS = 6000, ARENAS = 4, SHARED = 16 * TICK_ALLOCATIONS };

typedef struct {
    size_t bytes;
    unsigned char mark;
} head_t;

static _Atomic(head_t *) slots[SLOTS];
static _Atomic unsigned long moves, arenas_seen;

static void must(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "malloc_names: %s\n", what);
        abort();
    }
}

static unsigned next_random(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static size_t random_bytes(unsigned *state)
{
    unsigned kind = next_random(state) % 100;
    size_t most = kind < 80 ? 500 : kind < 97 ? 20000 : 600000;
    return sizeof(head_t) + next_random(state) % most;
}

static head_t *filled(head_t *block, size_t bytes, unsigned mark)
{
    must(block != NULL && (uintptr_t)block % 16 == 0, "a block");
    memset(block, (int)(mark & 0xff), bytes);
    *block = (head_t){bytes, (unsigned char)mark};
    return block;
}

static void verify(const head_t *block, size_t bytes)
{
    const unsigned char *payload = (const unsigned char *)block;
    must(malloc_usable_size((void *)(uintptr_t)block) >= bytes, "usable");
    for (size_t i = sizeof *block; i < bytes; i += bytes / 8 + 1) {
        must(payload[i] == block->mark, "contents");
    }
}

static head_t *make(unsigned *state)
{
    size_t bytes = random_bytes(state);
    void *aligned = NULL;
    switch (next_random(state) % 4) {
    case 0:
        return filled(calloc(1, bytes), bytes, next_random(state));
    case 1:
        must(posix_memalign(&aligned, 64, bytes) == 0 && (uintptr_t)aligned % 64 == 0, "aligned");
        return filled(aligned, bytes, next_random(state));
    default:
        return filled(malloc(bytes), bytes, next_random(state));
    }
}

static head_t *resize(head_t *block, unsigned *state)
{
    size_t before = block->bytes, bytes = random_bytes(state);
    head_t *moved = realloc(block, bytes);
    must(moved != NULL, "realloc");
    verify(moved, before < bytes ? before : bytes);
    return filled(moved, bytes, next_random(state));
}

/* What a thread finds in a slot another one may have left there. */
static void *work(void *seed)
{
    unsigned state = (unsigned)(uintptr_t)seed;
    arena_t *home = NULL;
    for (int step = 0; step < STEPS; step++) {
        head_t *mine = make(&state);
        head_t *block = atomic_exchange(&slots[next_random(&state) % SLOTS], mine);
        if (block != NULL) {
            verify(block, block->bytes);
            block = next_random(&state) % 4 == 0 ? resize(block, &state) : block;
            free(block);
        }
        if (step % 1000 == 999) {
            domain_spread(false); /* as if the mutex had been found taken again and again */
        }
        if (home != domain_home()) {
            atomic_fetch_add(&moves, home != NULL);
            home = domain_home();
        }
    }
    return NULL;
}

static void *disturb(void *stop)
{
    must(domain_home() != NULL, "a home");
    while (!atomic_load((_Atomic int *)stop) || domain_arena(ARENAS - 1) == NULL) {
        for (unsigned i = 0; domain_arena(i) != NULL; i++) {
            arena_trim(domain_arena(i), 0);
            must(arena_check(domain_arena(i)) == 0, "an invariant");
            atomic_store(&arenas_seen, i + 1);
        }
        domain_spread(false);
    }
    return NULL;
}

/* Away from home it frees what others allocated there, and so comes back. */
static void *share(void *blocks)
{
    void **block = blocks;
    arena_t *first = domain_arena(0);
    int homecomings = 0; /* of at most 16 looks */
    for (int i = 0; i < SHARED; i++) {
        if (domain_home() == first) {
            homecomings += i != 0;
            domain_spread(false);
            must(domain_home() != first, "elsewhere");
        }
        must((domain_owner(block[i]) == first), "a block of the first arena");
        free(block[i]);
        block[i] = malloc(64);
    }
    must(homecomings >= 2 && homecomings <= 4, "it comes home, each time later"); /* after 1, 2, 4, 8 looks */
    return NULL;
}

static void check_sharing(void)
{
    static void *blocks[SHARED];
    pthread_t thread;
    while (domain_home() != domain_arena(0)) {
        domain_spread(false);
    }
    for (int i = 0; i < SHARED; i++) {
        blocks[i] = malloc(64);
    }
    must(pthread_create(&thread, NULL, share, blocks) == 0, "pthread_create");
    pthread_join(thread, NULL);
    for (int i = 0; i < SHARED; i++) {
        free(blocks[i]);
    }
}

int main(void)
{
    pthread_t threads[THREADS], other;
    _Atomic int stop = 0;
    setenv("ARENA_ARENAS", "4", 1);
    free(malloc(1));
    must(pthread_create(&other, NULL, disturb, &stop) == 0, "pthread_create");
    for (uintptr_t round = 0; round < ROUNDS; round++) {
        for (uintptr_t i = 0; i < THREADS; i++) {
            must(pthread_create(&threads[i], NULL, work, (void *)(round * THREADS + i + 1)) == 0,
                 "pthread_create");
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
        }
    }
    atomic_store(&stop, 1);
    pthread_join(other, NULL);
    check_sharing();
    for (int i = 0; i < SLOTS; i++) {
        free(atomic_load(&slots[i]));
    }
    for (unsigned i = 0; domain_arena(i) != NULL; i++) {
        arena_stats_t stats;
        arena_thread_flush();
        arena_stats(domain_arena(i), &stats, sizeof stats);
        must(stats.live_blocks == 0, "nothing is lost");
    }
    must(atomic_load(&arenas_seen) == ARENAS, "as many arenas as allowed");
    must(atomic_load(&moves) != 0, "threads moved");
    printf("malloc_names: %lu moves between arenas\n", atomic_load(&moves));
    return 0;
}
