/*
 * workloads.c: the rows on malloc's own names, and the work that only they have. bench/micro runs this
 * program with each allocator preloaded.
 */
#include "bench.h"
#include "collatz.h"
#include "heap.h"
#include "memory.h"
#include "speed.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum {
    CRATE = 64,
    CRATES = 64,
    SPINS = 1000,
    SCRATCH = 8,
    SCRATCH_WRITES = 1000,
    TREE_DEPTH = 13,
    TREE_NODES = (1 << TREE_DEPTH) - 1
};

static void report_time(const run_t *run, double elapsed_ns)
{
    bench_report(run, "ns", elapsed_ns / (double)run->iterations);
}

/* A process that has done no work but to start. */
static void row_idle(const run_t *run)
{
    residence_t now = bench_residence();
    bench_report(run, "mib", (double)now.all / MIB);
    bench_report(run, "private_mib", (double)now.private / MIB);
}

static void calloc_loop(size_t request, size_t times)
{
    for (size_t i = 0; i < times; i++)
        free(block_touch(calloc(1, request)));
}

static void calloc_job(job_t *job)
{
    calloc_loop(job->run->row->smallest, job->run->iterations / 10 + 1);
    job_start(job);
    calloc_loop(job->run->row->smallest, job->run->iterations);
    job_stop(job);
}

static void row_calloc(const run_t *run)
{
    report_time(run, bench_jobs(run, calloc_job, NULL));
}

/* Alignment and size are the same. */
static void aligned_loop(size_t bytes, size_t times)
{
    for (size_t i = 0; i < times; i++)
        free(block_touch(aligned_alloc(bytes, bytes)));
}

static void aligned_job(job_t *job)
{
    aligned_loop(job->run->row->smallest, job->run->iterations / 10 + 1);
    job_start(job);
    aligned_loop(job->run->row->smallest, job->run->iterations);
    job_stop(job);
}

static void row_aligned(const run_t *run)
{
    report_time(run, bench_jobs(run, aligned_job, NULL));
}

/* A vector grows by half, between two neighbours that stay; returns the steps it took. */
static size_t grow_once(size_t smallest, size_t largest)
{
    size_t steps = 0;
    void *before = block_touch(malloc(48));
    char *vector = block_touch(malloc(smallest));
    void *behind = block_touch(malloc(48));
    for (size_t bytes = smallest; bytes < largest; steps++) {
        bytes = bytes + bytes / 2 < largest ? bytes + bytes / 2 : largest;
        vector = realloc(vector, bytes);
        bench_require(vector != NULL, "realloc");
        vector[bytes - 1] = 1;
    }
    free(before);
    free(vector);
    free(behind);
    return steps;
}

/* A buffer has 32 bytes appended at a time; returns the steps it took. */
static size_t append_once(size_t smallest, size_t largest)
{
    size_t steps = 0;
    char *buffer = block_touch(malloc(smallest));
    for (size_t bytes = smallest + 32; bytes <= largest; bytes += 32, steps++) {
        buffer = realloc(buffer, bytes);
        bench_require(buffer != NULL, "realloc");
        memset(buffer + bytes - 32, 1, 32);
    }
    free(buffer);
    return steps;
}

/* A large buffer doubles, a byte of every new page written; returns the steps it took. */
static size_t double_once(size_t smallest, size_t largest)
{
    size_t steps = 0, written = 0;
    char *buffer = NULL;
    for (size_t bytes = smallest; bytes <= largest; bytes *= 2, steps++) {
        buffer = realloc(buffer, bytes);
        bench_require(buffer != NULL, "realloc");
        for (; written < bytes; written += 4096)
            buffer[written] = 1;
    }
    free(buffer);
    return steps;
}

typedef size_t (*steps_fn)(size_t smallest, size_t largest);

static void report_steps(const run_t *run, steps_fn once)
{
    size_t smallest = run->row->smallest, largest = run->row->largest, steps = 0;
    for (size_t warm = 0; warm < run->iterations / 10 + 1;)
        warm += once(smallest, largest);
    uint64_t start = bench_now_ns();
    while (steps < run->iterations)
        steps += once(smallest, largest);
    bench_report(run, "ns", (double)(bench_now_ns() - start) / (double)steps);
}

static void row_grow(const run_t *run)
{
    report_steps(run, grow_once);
}

static void row_append(const run_t *run)
{
    report_steps(run, append_once);
}

static void row_double(const run_t *run)
{
    report_steps(run, double_once);
}

typedef struct node {
    struct node *left, *right;
    uint64_t value;
} node_t;

static node_t *tree_build(unsigned depth)
{
    node_t *node = block_touch(malloc(sizeof *node));
    node->value = depth;
    node->left = depth > 1 ? tree_build(depth - 1) : NULL;
    node->right = depth > 1 ? tree_build(depth - 1) : NULL;
    return node;
}

static void tree_free(node_t *node)
{
    if (node->left != NULL)
        tree_free(node->left);
    if (node->right != NULL)
        tree_free(node->right);
    free(node);
}

static void tree_job(job_t *job)
{
    size_t trees = job->run->iterations / TREE_NODES + 1;
    for (size_t i = 0; i < trees / 10 + 1; i++)
        tree_free(tree_build(TREE_DEPTH));
    job_start(job);
    for (size_t i = 0; i < trees; i++)
        tree_free(tree_build(TREE_DEPTH));
    job_stop(job);
}

static void row_tree(const run_t *run)
{
    run_t whole = *run;
    whole.iterations = (run->iterations / TREE_NODES + 1) * TREE_NODES;
    report_time(&whole, bench_jobs(&whole, tree_job, NULL));
}

/* Blocks travel from producer to consumer in crates of 64, through a ring; each crate has its own line. */
typedef struct {
    _Alignas(64) atomic_bool full;
    void *blocks[CRATE];
} crate_t;

static crate_t *crate_wait(crate_t *ring, size_t turn, bool full)
{
    crate_t *crate = &ring[turn % CRATES];
    for (unsigned spins = 0; atomic_load_explicit(&crate->full, memory_order_acquire) != full; spins++)
        if (spins >= SPINS)
            sched_yield();
    return crate;
}

static void produce(crate_t *ring, size_t from, size_t to)
{
    uint64_t state = random_seed(0);
    for (size_t turn = from; turn < to; turn++) {
        crate_t *crate = crate_wait(ring, turn, false);
        for (unsigned i = 0; i < CRATE; i++)
            crate->blocks[i] = block_touch(malloc(random_mixed(random_next(&state))));
        atomic_store_explicit(&crate->full, true, memory_order_release);
    }
}

static void consume(crate_t *ring, size_t from, size_t to)
{
    for (size_t turn = from; turn < to; turn++) {
        crate_t *crate = crate_wait(ring, turn, true);
        for (unsigned i = 0; i < CRATE; i++)
            free(crate->blocks[i]);
        atomic_store_explicit(&crate->full, false, memory_order_release);
    }
}

/* Threads 0 and 1 are a pair with a ring of their own, 2 and 3 another. */
static void produce_job(job_t *job)
{
    crate_t *ring = (crate_t *)job->shared + (size_t)(job->index / 2) * CRATES;
    size_t turns = job->run->iterations / CRATE, warm = turns / 10 + 1;
    void (*work)(crate_t *, size_t, size_t) = job->index % 2 == 0 ? produce : consume;
    work(ring, 0, warm);
    job_start(job);
    work(ring, warm, warm + turns);
    job_stop(job);
}

static void row_produce(const run_t *run)
{
    bench_require(run->threads % 2 == 0, "an even number of threads");
    run_t whole = *run;
    whole.iterations = (run->iterations / CRATE + 1) * CRATE;
    crate_t *rings = bench_table(run->threads / 2 * CRATES * sizeof *rings);
    report_time(&whole, bench_jobs(&whole, produce_job, rings));
}

static void swap_loop(void *_Atomic *slots, size_t count, uint64_t *state, size_t times)
{
    for (size_t i = 0; i < times; i++) {
        uint64_t draw = random_next(state);
        void *block = block_touch(malloc(random_mixed(draw)));
        free(atomic_exchange_explicit(&slots[random_below(draw, count)], block, memory_order_acq_rel));
    }
}

static void swap_job(job_t *job)
{
    uint64_t state = random_seed(job->index);
    void *_Atomic *slots = job->shared;
    swap_loop(slots, job->run->live, &state, job->run->iterations / 10 + 1);
    job_start(job);
    swap_loop(slots, job->run->live, &state, job->run->iterations);
    job_stop(job);
}

static void row_swap(const run_t *run)
{
    report_time(run, bench_jobs(run, swap_job, bench_table(run->live * sizeof(void *))));
}

/* Each thread frees what it was handed, then writes to blocks of its own; a write. Two of them on one cache line wait. */
static void scratch_loop(size_t bytes, size_t times)
{
    volatile char *blocks[SCRATCH];
    for (size_t done = 0; done < times; done += SCRATCH * SCRATCH_WRITES) {
        for (unsigned i = 0; i < SCRATCH; i++)
            blocks[i] = block_touch(malloc(bytes));
        for (unsigned write = 0; write < SCRATCH_WRITES; write++)
            for (unsigned i = 0; i < SCRATCH; i++)
                blocks[i][0] = (char)(blocks[i][0] + 1);
        for (unsigned i = 0; i < SCRATCH; i++)
            free((void *)blocks[i]);
    }
}

static void scratch_job(job_t *job)
{
    void **handed = (void **)job->shared + (size_t)job->index * SCRATCH;
    for (unsigned i = 0; i < SCRATCH; i++)
        free(handed[i]);
    scratch_loop(job->run->row->smallest, job->run->iterations / 10 + 1);
    job_start(job);
    scratch_loop(job->run->row->smallest, job->run->iterations);
    job_stop(job);
}

/* What is handed to different threads lies side by side. */
static void row_scratch(const run_t *run)
{
    void **handed = bench_table(run->threads * SCRATCH * sizeof *handed);
    for (unsigned i = 0; i < SCRATCH; i++)
        for (unsigned thread = 0; thread < run->threads; thread++)
            handed[thread * SCRATCH + i] = block_touch(malloc(run->row->smallest));
    report_time(run, bench_jobs(run, scratch_job, handed));
}

const row_t bench_rows[] = {
    {"pair-16", "malloc + free of 16 B", row_pair, 6000000, .smallest = 16},
    {"pair-64", "malloc + free of 64 B", row_pair, 6000000, .smallest = 64},
    {"pair-256", "malloc + free of 256 B", row_pair, 6000000, .smallest = 256},
    {"pair-1k", "malloc + free of 1 KiB", row_pair, 6000000, .smallest = 1024},
    {"pair-4k", "malloc + free of 4 KiB", row_pair, 4000000, .smallest = 4096},
    {"pair-32k", "malloc + free of 32 KiB", row_pair, 4000000, .smallest = 32768},
    {"pair-200k", "malloc + free of 200,000 B", row_pair, 1000000, .smallest = 200000},
    {"pair-1m", "malloc + free of 1,000,000 B", row_pair, 200000, .smallest = 1000000},
    {"batch-64-fifo", "1,000 x 64 B, then freed, first in first out", row_batch, 4000000, .smallest = 64},
    {"batch-64-lifo", "1,000 x 64 B, last in first out", row_batch, 4000000, .smallest = 64,
     .order = ORDER_LIFO},
    {"batch-64-random", "1,000 x 64 B, freed in random order", row_batch, 4000000, .smallest = 64,
     .order = ORDER_RANDOM},
    {"batch-mixed-fifo", "1,000 of 8 to 508 B, mostly small, FIFO", row_batch, 2000000, .threads = 1},
    {"batch-mixed-lifo", "1,000 of 8 to 508 B, mostly small, LIFO", row_batch, 2000000, .order = ORDER_LIFO},
    {"batch-mixed-random", "1,000 of 8 to 508 B, mostly small, random", row_batch, 2000000,
     .order = ORDER_RANDOM},
    {"batch-2k-16k-random", "1,000 of 2 to 16 KiB, random", row_batch, 100000, .smallest = 2048,
     .largest = 16384, .order = ORDER_RANDOM},
    {"replace-5k", "a random one of 5,000 of 8 to 508 B replaced", row_replace, 3000000, .smallest = 8,
     .largest = 508, .live = 5000},
    {"replace-50k", "a random one of 50,000 replaced", row_replace, 2000000, .smallest = 8, .largest = 508,
     .live = 50000},
    {"replace-1m", "a random one of 1 million replaced", row_replace, 1000000, .smallest = 8, .largest = 508,
     .live = 1000000},
    {"replace-64k-2t", "one of 2,000 of 1 to 64 KiB, 2 threads", row_replace, 200000, .smallest = 1024,
     .largest = 65536, .live = 1000, .threads = 2},
    {"tree-1t", "trees of 8,191 nodes of 24 B built and freed", row_tree, 1500000, .threads = 1},
    {"tree-2t", "the same, 2 threads", row_tree, 1500000, .threads = 2},
    {"produce-2t", "one thread allocates mixed sizes, another frees", row_produce, 3000000, .threads = 2},
    {"swap-2t", "mixed sizes swapped through 1,000 shared slots", row_swap, 800000, .live = 1000,
     .threads = 2},
    {"swap-4t", "the same, 4 threads", row_swap, 400000, .live = 1000, .threads = 4},
    {"scratch-2t", "8 of 16 B handed over, freed; then its own written to", row_scratch, 8000000,
     .smallest = 16, .threads = 2},
    {"mixed-2t", "batch-mixed-random in 2 threads", row_batch, 1000000, .threads = 2, .order = ORDER_RANDOM},
    {"mixed-3t", "batch-mixed-random in 3 threads", row_batch, 700000, .threads = 3, .order = ORDER_RANDOM},
    {"mixed-4t", "batch-mixed-random in 4 threads", row_batch, 500000, .threads = 4, .order = ORDER_RANDOM},
    {"mixed-8t", "batch-mixed-random in 8 threads", row_batch, 300000, .threads = 8, .order = ORDER_RANDOM},
    {"collatz-list-1t", "Collatz sequences in a linked list; a number", row_collatz_list, 60000,
     .threads = 1},
    {"collatz-list-2t", "the same, 2 threads", row_collatz_list, 30000, .threads = 2},
    {"collatz-list-3t", "the same, 3 threads", row_collatz_list, 20000, .threads = 3},
    {"collatz-list-4t", "the same, 4 threads", row_collatz_list, 15000, .threads = 4},
    {"collatz-vector-1t", "Collatz sequences in a doubling vector; a number", row_collatz_vector, 120000,
     .threads = 1},
    {"collatz-vector-2t", "the same, 2 threads", row_collatz_vector, 60000, .threads = 2},
    {"collatz-vector-3t", "the same, 3 threads", row_collatz_vector, 40000, .threads = 3},
    {"collatz-vector-4t", "the same, 4 threads", row_collatz_vector, 30000, .threads = 4},
    {"realloc-grow", "x1.5 from 16 B to 64 KiB, live neighbours; a step", row_grow, 1500000, .smallest = 16,
     .largest = 65536},
    {"realloc-append", "32 B appended up to 32 KiB; a step", row_append, 1500000, .smallest = 32,
     .largest = 32768},
    {"realloc-double", "1 MiB doubled to 64 MiB, written; a step", row_double, 20, .smallest = MIB,
     .largest = 64 * MIB},
    {"aligned-64", "aligned_alloc(64, 64) + free", row_aligned, 2000000, .smallest = 64},
    {"aligned-128", "aligned_alloc(128, 128) + free", row_aligned, 2000000, .smallest = 128},
    {"calloc-64", "calloc + free of 64 B", row_calloc, 4000000, .smallest = 64},
    {"calloc-4k", "calloc + free of 4 KiB", row_calloc, 1000000, .smallest = 4096},
    {"mem-idle", "resident: a process of no work", row_idle, 1, .unit = "MiB"},
    {"mem-16", "resident a block: 10 million of 16 B", row_density, 10000000, .unit = "bytes",
     .smallest = 16},
    {"mem-24", "resident a block: 10 million of 24 B", row_density, 10000000, .unit = "bytes",
     .smallest = 24},
    {"mem-32", "resident a block: 10 million of 32 B", row_density, 10000000, .unit = "bytes",
     .smallest = 32},
    {"mem-48", "resident a block: 10 million of 48 B", row_density, 10000000, .unit = "bytes",
     .smallest = 48},
    {"mem-64", "resident a block: 10 million of 64 B", row_density, 10000000, .unit = "bytes",
     .smallest = 64},
    {"mem-100", "resident a block: 10 million of 100 B", row_density, 10000000, .unit = "bytes",
     .smallest = 100},
    {"mem-128", "resident a block: 10 million of 128 B", row_density, 10000000, .unit = "bytes",
     .smallest = 128},
    {"mem-left", "left 1 s after 1 GiB freed at random, light activity", row_giveback, 1, .unit = "MiB"},
    {"mem-left-kept", "the same, 1 in 1,000 kept", row_giveback, 1, .unit = "MiB", .live = 1000},
    {"mem-trim", "left after 1 GiB freed at random and its own trim call", row_trim, 1, .unit = "MiB"},
    {"mem-trim-kept", "the same, 1 in 1,000 kept: left / pages that hold one", row_trim, 1, .unit = "x held",
     .live = 1000},
    {0},
};
