/*
 * memory.c: resident memory, see memory.h. Every block's first word is written. The tables of blocks come
 * from the kernel and are resident before the first measurement, so that they cancel out.
 */
#include "memory.h"

#include <pthread.h>
#include <semaphore.h>

enum { SLEEPER_BLOCKS = 1000, SLEEPER_SHARE = 20000 };

void light_second(lane_t lane)
{
    for (unsigned tick = 0; tick < 100; tick++) {
        for (unsigned i = 0; i < 1000; i++)
            lane_free(lane, block_touch(lane_alloc(lane, 64)));
        bench_sleep_ms(10);
    }
}

static double mib_above(size_t start)
{
    return ((double)bench_resident_bytes() - (double)start) / MIB;
}

void row_density(const run_t *run)
{
    size_t request = run->row->smallest;
    size_t start = bench_resident_bytes();
    lane_t lane = lane_open(heap_new());
    void *previous = NULL;
    for (size_t i = 0; i < run->iterations; i++) {
        void **block = block_touch(lane_alloc(lane, request));
        *block = previous;
        previous = block;
    }
    size_t grown = bench_resident_bytes() - start;
    bench_require(previous != NULL, "no blocks");
    bench_report(run, "bytes", (double)grown / (double)run->iterations);
}

/* A herd is a gibibyte of small blocks, with the bytes that each was asked for. */
typedef struct {
    void **blocks;
    uint16_t *sizes;
    size_t room, count;
} herd_t;

static size_t herd_request(uint64_t *state)
{
    return random_size(random_next(state), HERD_SMALLEST, HERD_LARGEST);
}

static herd_t herd_new(size_t bytes)
{
    herd_t herd = {.room = bytes / ((HERD_SMALLEST + HERD_LARGEST) / 2) * 21 / 20 + 1000};
    herd.blocks = bench_table(herd.room * sizeof *herd.blocks);
    herd.sizes = bench_table(herd.room * sizeof *herd.sizes);
    return herd;
}

/* Allocates the herd and shuffles it: its order is from here on the order of its frees. */
static void herd_fill(herd_t *herd, lane_t lane, size_t bytes)
{
    uint64_t state = random_seed(0);
    size_t sum = 0;
    while (sum < bytes && herd->count < herd->room) {
        size_t request = herd_request(&state);
        herd->blocks[herd->count] = block_touch(lane_alloc(lane, request));
        herd->sizes[herd->count++] = (uint16_t)request;
        sum += request;
    }
    bench_shuffle(herd->blocks, herd->sizes, herd->count, &state);
}

static void herd_free(const herd_t *herd, lane_t lane, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        lane_free(lane, herd->blocks[i]);
}

/* The first blocks of the shuffled herd stay alive: one in `live`. */
static size_t herd_kept(const run_t *run, const herd_t *herd)
{
    return run->live > 0 ? herd->count / run->live : 0;
}

static double herd_held_mib(const herd_t *herd, size_t kept)
{
    return (double)bench_page_bytes(herd->blocks, herd->sizes, kept) / MIB;
}

void row_giveback(const run_t *run)
{
    size_t bytes = ((size_t)1 << HERD_BYTES_LOG2) / run->scale;
    herd_t herd = herd_new(bytes);
    size_t start = bench_resident_bytes();
    lane_t lane = lane_open(heap_new());
    herd_fill(&herd, lane, bytes);
    double full = mib_above(start);
    size_t kept = herd_kept(run, &herd);
    herd_free(&herd, lane, kept, herd.count);
    double at_once = mib_above(start);
    light_second(lane);
    bench_report(run, "left_mib", mib_above(start));
    bench_report(run, "at_once_mib", at_once);
    bench_report(run, "full_mib", full);
    if (kept > 0)
        bench_report(run, "held_mib", herd_held_mib(&herd, kept));
}

typedef struct {
    heap_t heap;
    const herd_t *herd;
    size_t from;
    sem_t wake, asleep;
} sleeper_t;

/* Fills its caches with blocks of its own and with the end of the herd, and sleeps for good. */
static void *sleeper_main(void *argument)
{
    sleeper_t *sleeper = argument;
    static void *blocks[SLEEPER_BLOCKS];
    uint64_t state = random_seed(1);
    sem_wait(&sleeper->wake);
    lane_t lane = lane_open(HEAP_SHARED ? sleeper->heap : heap_new());
    for (size_t i = 0; i < SLEEPER_BLOCKS; i++)
        blocks[i] = block_touch(lane_alloc(lane, herd_request(&state)));
    for (size_t i = 0; i < SLEEPER_BLOCKS; i++)
        lane_free(lane, blocks[i]);
    herd_free(sleeper->herd, lane, sleeper->from, sleeper->herd->count);
    sem_post(&sleeper->asleep);
    while (sleeper->from > 0)
        sem_wait(&sleeper->wake);
    return NULL;
}

static void sleeper_start(sleeper_t *sleeper)
{
    pthread_t id;
    sem_init(&sleeper->wake, 0, 0);
    sem_init(&sleeper->asleep, 0, 0);
    bench_require(pthread_create(&id, NULL, sleeper_main, sleeper) == 0, "pthread_create");
    pthread_detach(id);
}

static void sleeper_run(sleeper_t *sleeper, size_t from)
{
    sleeper->from = from;
    sem_post(&sleeper->wake);
    sem_wait(&sleeper->asleep);
}

void row_trim(const run_t *run)
{
    static sleeper_t sleeper;
    size_t bytes = ((size_t)1 << HERD_BYTES_LOG2) / run->scale;
    herd_t herd = herd_new(bytes);
    sleeper.herd = &herd;
    sleeper_start(&sleeper);
    size_t start = bench_resident_bytes();
    sleeper.heap = heap_new();
    lane_t lane = lane_open(sleeper.heap);
    herd_fill(&herd, lane, bytes);
    double full = mib_above(start);
    size_t kept = herd_kept(run, &herd), share = herd.count - SLEEPER_SHARE / run->scale;
    sleeper_run(&sleeper, share);
    herd_free(&herd, lane, kept, share);
    heap_trim(sleeper.heap, lane);
    double left = mib_above(start), held = kept > 0 ? herd_held_mib(&herd, kept) : 0;
    if (kept > 0)
        bench_report(run, "ratio", left / held);
    bench_report(run, "left_mib", left);
    bench_report(run, "full_mib", full);
    if (kept > 0)
        bench_report(run, "held_mib", held);
}
