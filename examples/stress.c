/*
 * stress.c: every operation of the interface from several threads at once, with all contents checked.
 *
 * Blocks live in slots that any thread may empty and fill, so that most blocks are freed by another
 * thread than their own. A block is filled with words that follow from its address, its size and the
 * seed, and is verified before it is freed and after it has been reallocated. Threads end and are
 * replaced all the time. Arenas are passed from thread to thread through slots as well, to be reset and
 * destroyed by another. Exit status 1 as soon as anything is wrong; --sabotage breaks one block on
 * purpose to show that this works.
 *
 * introduces: all of arena.h but arena_set_error_handler()
 */
#define _POSIX_C_SOURCE 200809L

#include "arena.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MAX_THREADS = 256,
    SHARED_ARENAS = 8,
    SLOTS = 2048,        /* of blocks */
    ARENA_SLOTS = 16,    /* of private arenas */
    PRIVATE_BLOCKS = 64, /* at most, in each of those */
    BATCH = 1000,
    BUFFER_BYTES = 1 << 20,
    SABOTAGE_AFTER = 500 /* operations of the first thread */
};

/* A block and what it is filled with. */
typedef struct {
    arena_t *arena; /* NULL: nothing here */
    unsigned char *block;
    size_t size;
    uint64_t key;
} item_t;

typedef struct {
    pthread_mutex_t mutex;
    item_t item;
} slot_t;

/* An arena that no thread uses while it lies in its slot; its blocks are a list that begins at first. */
typedef struct private_block {
    struct private_block *next;
    item_t rest; /* the bytes behind this header */
} private_block_t;

typedef struct {
    pthread_mutex_t mutex;
    arena_t *arena;
    private_block_t *first;
} arena_slot_t;

typedef enum { THREAD_NONE, THREAD_RUNS, THREAD_DONE } thread_state_t;

typedef struct {
    pthread_t id;
    thread_state_t state; /* guarded by threads_mutex */
    uint64_t random;      /* owner thread only, as what follows */
    uint64_t operations;
    bool sabotages;
} thread_t;

/* Immutable while threads run. */
static struct {
    int threads;
    double seconds;
    uint64_t seed;
    bool sabotage;
} options = {.threads = 4, .seconds = 2.0};
static arena_t *shared[SHARED_ARENAS];
static bool may_refuse[SHARED_ARENAS]; /* has a limit, so that ENOMEM is an answer */
static bool in_page_map[SHARED_ARENAS];

static slot_t slots[SLOTS];
static arena_slot_t arena_slots[ARENA_SLOTS];
static thread_t threads[MAX_THREADS];
static pthread_mutex_t threads_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t thread_ended = PTHREAD_COND_INITIALIZER;
static atomic_bool stopping;

/* ---- small tools ---- */

static _Noreturn void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    flockfile(stderr);
    fprintf(stderr, "stress: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, " (seed %llu)\n", (unsigned long long)options.seed);
    funlockfile(stderr);
    va_end(arguments);
    _Exit(EXIT_FAILURE); /* other threads still run: no exit handlers */
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* splitmix64 (Steele, Lea, Flood, 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(thread_t *self, size_t bound)
{
    return (size_t)(next_random(&self->random) % bound);
}

/* Mostly small, now and then a megabyte: each power of two half as likely as the one below. */
static size_t random_size(thread_t *self)
{
    size_t log2 = 4;
    while (log2 < 20 && below(self, 16) < 9) {
        log2++;
    }
    return below(self, (size_t)1 << log2);
}

/* ---- contents ---- */

static void fill(item_t *item)
{
    uint64_t word = item->key =
        ((uint64_t)(uintptr_t)item->block ^ options.seed) * 0x9e3779b97f4a7c15u + item->size;
    for (size_t i = 0; i < item->size; i += sizeof word, word += 0x9e3779b97f4a7c15u) {
        size_t left = item->size - i;
        memcpy(item->block + i, &word, left < sizeof word ? left : sizeof word);
    }
}

/* Verifies the first `size` bytes. */
static void verify(const item_t *item, size_t size)
{
    uint64_t word = item->key;
    for (size_t i = 0; i < size; i += sizeof word, word += 0x9e3779b97f4a7c15u) {
        size_t left = size - i;
        if (memcmp(item->block + i, &word, left < sizeof word ? left : sizeof word) == 0)
            continue;
        fail("pattern of block %p broken near byte %zu of %zu", (void *)item->block, i, item->size);
    }
}

static void verify_zero(const unsigned char *block, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (block[i] != 0)
            fail("block %p of %zu bytes is not zero at %zu", (const void *)block, size, i);
    }
}

/* Checks what is promised of a fresh block, and fills it: now and then to the last usable byte. */
static item_t adopt(thread_t *self, size_t index, void *block, size_t size, size_t alignment)
{
    item_t item = {.arena = shared[index], .block = block, .size = size};
    if ((uintptr_t)block % alignment != 0)
        fail("block %p is not aligned to %zu", block, alignment);
    size_t usable = arena_usable_size(item.arena, block);
    if (usable < size)
        fail("block %p has %zu usable bytes, not %zu", block, usable, size);
    if (in_page_map[index] && arena_of(block) != item.arena)
        fail("arena_of(%p) is wrong", block);
    if (below(self, 4) == 0)
        item.size = usable;
    fill(&item);
    return item;
}

/* ---- one block ---- */

static size_t natural_alignment(size_t index, size_t size)
{
    return size >= 16 && index != 5 ? 16 : 8; /* number 5 has quantum 8 */
}

/* An item by one of the allocating functions; its arena is NULL if a limited arena is full. */
static item_t allocate(thread_t *self)
{
    size_t index = below(self, SHARED_ARENAS), size = random_size(self);
    size_t alignment = natural_alignment(index, size);
    arena_t *arena = shared[index];
    unsigned char *block;
    size_t good, usable;
    switch (below(self, 8)) {
    case 0:
        block = arena_calloc(arena, 1 + size / 24, 24);
        if (block != NULL)
            verify_zero(block, size);
        break;
    case 1:
        alignment = (size_t)1 << below(self, 14);
        block = arena_aligned_alloc(arena, alignment, size);
        break;
    case 2:
        block = arena_realloc(arena, NULL, size);
        break;
    default:
        good = arena_good_size(arena, size);
        block = arena_alloc(arena, size);
        usable = block == NULL ? good : arena_usable_size(arena, block);
        /* Another thread's trim may come in between, before the block or after. */
        if (usable != good && usable != arena_good_size(arena, size)) {
            fail("arena_good_size(%zu) is not the %zu usable", size, usable);
        }
    }
    if (block == NULL && (errno != ENOMEM || !may_refuse[index]))
        fail("%zu bytes refused: %s", size, strerror(errno));
    return block == NULL ? (item_t){.arena = NULL} : adopt(self, index, block, size, alignment);
}

static void release(thread_t *self, item_t *item)
{
    verify(item, item->size);
    if (below(self, 2) == 0)
        arena_free(item->arena, item->block);
    else
        arena_free_sized(item->arena, item->block, item->size);
    item->arena = NULL;
}

static void resize(thread_t *self, item_t *item)
{
    size_t size = random_size(self), kept = size < item->size ? size : item->size;
    verify(item, item->size);
    unsigned char *moved = arena_realloc(item->arena, item->block, size);
    if (moved == NULL) {
        if (errno != ENOMEM)
            fail("realloc to %zu bytes: %s", size, strerror(errno));
        verify(item, item->size);
        return;
    }
    item->block = moved;
    verify(item, kept);
    item->size = size;
    fill(item);
}

/* Takes what is in a slot, does something to it or puts something new there. */
static void use_slot(thread_t *self)
{
    slot_t *slot = &slots[below(self, SLOTS)];
    pthread_mutex_lock(&slot->mutex);
    item_t item = slot->item;
    slot->item.arena = NULL;
    pthread_mutex_unlock(&slot->mutex);

    if (item.arena == NULL)
        item = allocate(self);
    else if (below(self, 4) == 0)
        resize(self, &item);
    else
        release(self, &item);
    if (item.arena == NULL)
        return;

    pthread_mutex_lock(&slot->mutex);
    item_t other = slot->item; /* another thread may have been here meanwhile */
    slot->item = item;
    pthread_mutex_unlock(&slot->mutex);
    if (other.arena != NULL)
        release(self, &other);
}

/* ---- many blocks ---- */

static void use_batch(thread_t *self)
{
    size_t index = below(self, SHARED_ARENAS), wanted = 1 + below(self, BATCH);
    size_t size = below(self, below(self, 2) == 0 ? 40 : 600);
    void *blocks[BATCH];
    item_t items[BATCH];
    size_t count = arena_alloc_batch(shared[index], size, wanted, blocks);
    if (count < wanted && (errno != ENOMEM || !may_refuse[index]))
        fail("batch refused: %s", strerror(errno));
    for (size_t i = 0; i < count; i++) {
        items[i] = adopt(self, index, blocks[i], size, natural_alignment(index, size));
    }
    for (size_t i = 0; i < count; i++) {
        size_t j = below(self, count);
        if (items[j].arena == NULL)
            continue;
        release(self, &items[j]); /* some one by one and out of order */
        blocks[j] = NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (items[i].arena != NULL)
            verify(&items[i], items[i].size);
    }
    arena_free_batch(shared[index], blocks, count);
}

/* ---- private arenas ---- */

static void add_private_blocks(thread_t *self, arena_slot_t *owned)
{
    for (size_t i = 1 + below(self, PRIVATE_BLOCKS); i > 0; i--) {
        size_t size = below(self, 4000);
        private_block_t *block = arena_alloc(owned->arena, sizeof *block + size);
        if (block == NULL)
            fail("private arena refuses %zu bytes: %s", size, strerror(errno));
        block->rest = (item_t){.arena = owned->arena, .block = (unsigned char *)(block + 1), .size = size};
        fill(&block->rest);
        block->next = owned->first;
        owned->first = block;
    }
}

static void verify_private_blocks(const arena_slot_t *owned)
{
    for (const private_block_t *block = owned->first; block != NULL; block = block->next) {
        verify(&block->rest, block->rest.size);
    }
}

static arena_t *create_private(thread_t *self)
{
    arena_options_t chosen = {.name = "private", .flags = below(self, 8) == 0 ? ARENA_NO_CACHE : 0};
    arena_t *arena = arena_create(&chosen);
    if (arena == NULL)
        fail("arena_create: %s", strerror(errno));
    return arena;
}

/* Exchanges the arena in a slot, which another thread has filled, for one that a third will find. */
static void use_private_arena(thread_t *self)
{
    arena_slot_t *slot = &arena_slots[below(self, ARENA_SLOTS)];
    pthread_mutex_lock(&slot->mutex);
    arena_slot_t owned = {.arena = slot->arena, .first = slot->first};
    slot->arena = NULL;
    slot->first = NULL;
    pthread_mutex_unlock(&slot->mutex);

    verify_private_blocks(&owned);
    if (owned.arena != NULL && below(self, 4) == 0) {
        arena_reset(owned.arena);
        owned.first = NULL;
    } else if (owned.arena != NULL && below(self, 2) == 0) {
        arena_destroy(owned.arena);
        owned.arena = NULL;
        owned.first = NULL;
    }
    if (owned.arena == NULL)
        owned.arena = create_private(self);
    add_private_blocks(self, &owned);

    pthread_mutex_lock(&slot->mutex);
    arena_slot_t other = {.arena = slot->arena, .first = slot->first};
    slot->arena = owned.arena;
    slot->first = owned.first;
    pthread_mutex_unlock(&slot->mutex);
    verify_private_blocks(&other);
    arena_destroy(other.arena);
}

/* ---- looking at whole arenas ---- */

static int count_live(void *context, const arena_block_t *block)
{
    size_t *live = context;
    if (block->start == NULL || block->usable == 0)
        fail("walk reports an impossible block");
    if (block->state == ARENA_BLOCK_LIVE)
        ++*live;
    return 0;
}

static void look(thread_t *self)
{
    arena_t *arena = shared[below(self, SHARED_ARENAS)];
    arena_stats_t stats;
    size_t live = 0;
    switch (below(self, 5)) {
    case 0:
        arena_trim(below(self, 4) == 0 ? NULL : arena, below(self, 1 << 20));
        break;
    case 1:
        arena_thread_flush();
        break;
    case 2:
        if (arena_walk(arena, count_live, &live) != 0)
            fail("arena_walk: %s", strerror(errno));
        break;
    case 3:
        if (arena_check(arena) != 0)
            fail("arena_check finds a broken heap");
        break;
    default:
        arena_stats(below(self, 4) == 0 ? NULL : arena, &stats, sizeof stats);
        if (stats.peak_mapped_bytes > 0 && stats.arenas == 0)
            fail("stats without an arena");
    }
}

/* ---- threads ---- */

/* Flips one byte of some block, which a later verify must notice. */
static void sabotage(void)
{
    for (size_t i = 0; i < SLOTS; i++) {
        pthread_mutex_lock(&slots[i].mutex);
        item_t *item = &slots[i].item;
        bool found = item->arena != NULL && item->size > 0;
        if (found)
            item->block[item->size / 2] ^= 1;
        pthread_mutex_unlock(&slots[i].mutex);
        if (found)
            return;
    }
}

static void operate(thread_t *self)
{
    size_t choice = below(self, 1000);
    if (choice < 977)
        use_slot(self);
    else if (choice < 985)
        use_batch(self);
    else if (choice < 997)
        use_private_arena(self);
    else
        look(self);
    if (++self->operations == SABOTAGE_AFTER && self->sabotages)
        sabotage();
}

static void *run_thread(void *argument)
{
    thread_t *self = argument;
    for (size_t left = 1000 + below(self, 20000); left > 0 && !atomic_load(&stopping); left--) {
        operate(self);
    }
    pthread_mutex_lock(&threads_mutex);
    self->state = THREAD_DONE;
    pthread_cond_signal(&thread_ended);
    pthread_mutex_unlock(&threads_mutex);
    return NULL;
}

static void start_thread(thread_t *thread, uint64_t number)
{
    *thread = (thread_t){.state = THREAD_RUNS, .random = options.seed + (number << 32)};
    thread->sabotages = options.sabotage && number == 0;
    int error = pthread_create(&thread->id, NULL, run_thread, thread);
    if (error != 0)
        fail("pthread_create: %s", strerror(error));
}

/* Joins those that have ended. Called with threads_mutex held. */
static uint64_t join_ended_locked(int *running)
{
    uint64_t operations = 0;
    for (int i = 0; i < options.threads; i++) {
        if (threads[i].state != THREAD_DONE)
            continue;
        pthread_join(threads[i].id, NULL); /* it holds the mutex no more, or we would not be here */
        threads[i].state = THREAD_NONE;
        operations += threads[i].operations;
        --*running;
    }
    return operations;
}

/* Keeps options.threads running until the time is up; how many operations they did in all. */
static uint64_t run_threads(uint64_t *started)
{
    uint64_t operations = 0;
    int running = 0;
    double end = now() + options.seconds;
    pthread_mutex_lock(&threads_mutex);
    do {
        for (int i = 0; i < options.threads && now() < end; i++) {
            if (threads[i].state != THREAD_NONE)
                continue;
            start_thread(&threads[i], (*started)++);
            running++;
        }
        struct timespec wake;
        clock_gettime(CLOCK_REALTIME, &wake);
        wake.tv_sec++;
        pthread_cond_timedwait(&thread_ended, &threads_mutex, &wake);
        if (now() >= end)
            atomic_store(&stopping, true);
        operations += join_ended_locked(&running);
    } while (running > 0 || now() < end);
    pthread_mutex_unlock(&threads_mutex);
    return operations;
}

/* ---- beginning and end ---- */

static void create_shared(void)
{
    static unsigned char buffer[BUFFER_BYTES];
    const arena_options_t chosen[SHARED_ARENAS] = {
        {.name = "default"},
        {.name = "no cache", .flags = ARENA_NO_CACHE, .fit = ARENA_FIT_BEST},
        {.name = "no slabs", .flags = ARENA_NO_SLABS, .fit = ARENA_FIT_FIRST},
        {.name = "zero", .flags = ARENA_ZERO, .purge_delay_ms = 1},
        {.name = "checked", .flags = ARENA_CHECKED, .fit = ARENA_FIT_NEXT},
        {.name = "quantum 8", .quantum = 8, .fit = ARENA_FIT_WORST},
        {.name = "limited", .limit_bytes = 4 << 20},
        {.name = "buffer", .source = ARENA_SOURCE_BUFFER, .buffer = buffer, .buffer_bytes = sizeof buffer},
    };
    for (size_t i = 0; i < SHARED_ARENAS; i++) {
        shared[i] = arena_create(&chosen[i]);
        if (shared[i] == NULL)
            fail("arena_create \"%s\": %s", chosen[i].name, strerror(errno));
        may_refuse[i] = chosen[i].limit_bytes != 0 || chosen[i].source == ARENA_SOURCE_BUFFER;
        in_page_map[i] = chosen[i].source == ARENA_SOURCE_MMAP;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        pthread_mutex_init(&slots[i].mutex, NULL);
    }
    for (size_t i = 0; i < ARENA_SLOTS; i++) {
        pthread_mutex_init(&arena_slots[i].mutex, NULL);
    }
}

/* With no other thread about, the figures of an arena are exact: compared with what the slots hold. */
static void audit(size_t index)
{
    arena_t *arena = shared[index];
    size_t held = 0, live = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        held += slots[i].item.arena == arena;
    }
    arena_stats_t stats;
    if (arena_check(arena) != 0)
        fail("arena %zu is broken at the end", index);
    arena_stats(arena, &stats, sizeof stats);
    if (stats.live_blocks != held || stats.allocations - stats.frees != held) {
        fail("arena %zu: %zu blocks held, %zu live, %llu allocated, %llu freed", index, held,
             stats.live_blocks, (unsigned long long)stats.allocations, (unsigned long long)stats.frees);
    }
    size_t sum = stats.live_bytes + stats.cached_bytes + stats.free_bytes + stats.metadata_bytes;
    if (stats.mapped_bytes != sum)
        fail("arena %zu: %zu bytes mapped, %zu accounted", index, stats.mapped_bytes, sum);
    if (arena_walk(arena, count_live, &live) != 0 || live != held) {
        fail("arena %zu: %zu blocks held, the walk sees %zu", index, held, live);
    }
}

static void destroy_everything(void)
{
    thread_t self = {.random = options.seed};
    for (size_t i = 0; i < SHARED_ARENAS; i++) {
        audit(i);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        if (slots[i].item.arena != NULL)
            release(&self, &slots[i].item);
    }
    for (size_t i = 0; i < SHARED_ARENAS; i++) {
        audit(i);
        arena_destroy(shared[i]);
    }
    for (size_t i = 0; i < ARENA_SLOTS; i++) {
        verify_private_blocks(&arena_slots[i]);
        arena_destroy(arena_slots[i].arena);
    }
    arena_stats_t stats;
    arena_trim(NULL, 0);
    arena_stats(NULL, &stats, sizeof stats);
    if (stats.arenas != 0 || stats.mapped_bytes != 0) {
        fail("%zu arenas and %zu mapped bytes left", stats.arenas, stats.mapped_bytes);
    }
}

static bool parse_options(int argc, char **argv)
{
    static const struct option names[] = {{"threads", required_argument, NULL, 't'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"seed", required_argument, NULL, 'x'},
                                          {"sabotage", no_argument, NULL, 'b'},
                                          {NULL, 0, NULL, 0}};
    options.seed = (uint64_t)time(NULL);
    for (int option; (option = getopt_long(argc, argv, "t:s:x:b", names, NULL)) != -1;) {
        if (option == 't')
            options.threads = atoi(optarg);
        else if (option == 's')
            options.seconds = atof(optarg);
        else if (option == 'x')
            options.seed = strtoull(optarg, NULL, 0);
        else if (option == 'b')
            options.sabotage = true;
        else
            return false;
    }
    const char *seconds = getenv("ARENA_STRESS_SECONDS");
    if (seconds != NULL && *seconds != '\0')
        options.seconds = atof(seconds);
    return optind == argc && options.threads >= 1 && options.threads <= MAX_THREADS && options.seconds > 0;
}

int main(int argc, char **argv)
{
    if (!parse_options(argc, argv)) {
        fprintf(stderr, "usage: stress [--threads 1..%d] [--seconds S] [--seed X] [--sabotage]\n",
                MAX_THREADS);
        return 2;
    }
    printf("seed %llu, %d threads at a time, %g seconds\n", (unsigned long long)options.seed, options.threads,
           options.seconds);
    fflush(stdout);
    create_shared();
    uint64_t started = 0;
    double begin = now();
    uint64_t operations = run_threads(&started);
    double seconds = now() - begin;
    destroy_everything();
    printf("%llu operations by %llu threads in %.2f s: %.0f operations/s\n", (unsigned long long)operations,
           (unsigned long long)started, seconds, (double)operations / seconds);
    if (options.sabotage)
        fail("the sabotage was not noticed");
    return EXIT_SUCCESS;
}
