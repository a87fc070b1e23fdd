/*
 * curves.c: the rows of which bench/curves draws a curve: many live blocks, as many that are only touched, many
 * heaps, and the time of each single call (latency.c). Compiled once for each allocator, as the rows on arenas are.
 */
#include "bench.h"
#include "heap.h"
#include "latency.h"
#include "speed.h"

/* Blocks of the row's sizes side by side, from no allocator. */
static void **touch_fill(const run_t *run)
{
    void **blocks = bench_table(run->live * sizeof *blocks);
    char *space = bench_space(run->live * (run->row->largest + 16));
    uint64_t state = random_seed(0);
    for (size_t i = 0; i < run->live; i++) {
        blocks[i] = block_touch(space);
        space += (row_request(run->row, random_next(&state)) + 15) & ~(size_t)15;
    }
    return blocks;
}

static void touch_loop(void *const *blocks, size_t live, uint64_t *state, size_t times)
{
    for (size_t i = 0; i < times; i++)
        block_touch(blocks[random_below(random_next(state), live)]);
}

/* The memory traffic of row_replace without an allocator: a random slot is read, the block behind it written. */
static void row_touch(const run_t *run)
{
    void **blocks = touch_fill(run);
    uint64_t state = random_seed(0);
    touch_loop(blocks, run->live, &state, run->iterations / 10);
    uint64_t start = bench_now_ns();
    touch_loop(blocks, run->live, &state, run->iterations);
    bench_report(run, "ns", (double)(bench_now_ns() - start) / (double)run->iterations);
}

static void pair_in(lane_t lane, size_t request)
{
    lane_free(lane, block_touch(lane_alloc(lane, request)));
}

/* `live` heaps, each used once: what they hold. Then pairs, each in a random one of them. */
static void row_heaps(const run_t *run)
{
    if (!HEAP_EXPLICIT || run->live > HEAPS_MOST)
        bench_unsupported(run, "it has no such number of heaps");
    size_t request = run->row->smallest;
    lane_t *lanes = bench_table(run->live * sizeof *lanes);
    uint64_t state = random_seed(0);
    size_t before = bench_resident_bytes();
    for (size_t i = 0; i < run->live; i++) {
        lanes[i] = lane_open(heap_new());
        pair_in(lanes[i], request);
    }
    double bytes = (double)(bench_resident_bytes() - before) / (double)run->live;
    for (size_t i = 0; i < run->iterations / 10; i++)
        pair_in(lanes[random_below(random_next(&state), run->live)], request);
    uint64_t start = bench_now_ns();
    for (size_t i = 0; i < run->iterations; i++)
        pair_in(lanes[random_below(random_next(&state), run->live)], request);
    bench_report(run, "ns", (double)(bench_now_ns() - start) / (double)run->iterations);
    bench_report(run, "bytes", bytes);
}

const row_t bench_rows[] = {
    {"live", "a random one of --live blocks of 16 to 64 B replaced", row_replace, 1000000, .smallest = 16,
     .largest = 64, .live = 1000},
    {"touch", "a random one of as many written and nothing else", row_touch, 1000000, .smallest = 16,
     .largest = 64, .live = 1000},
    {"heaps", "a pair of 64 B in a random one of --live heaps", row_heaps, 1000000, .smallest = 64,
     .live = 1},
    {"latency", "each call under a mixed load, by its time", row_latency, 2000000, .live = 10000,
     .threads = 2},
    {0},
};
