/*
 * arenas.c: the rows on explicit arenas (heaps, in mimalloc's word), and the work that only they have.
 * Compiled once for each allocator that has such a thing, and once for plain malloc beside them.
 */
#include "bench.h"
#include "collatz.h"
#include "heap.h"
#include "memory.h"
#include "speed.h"

enum { IDLE_HEAPS = 1000 };

/* Creates a heap, allocates `live` mixed blocks, drops it; malloc has no heap and frees them instead. */
static void cycle_once(void **blocks, size_t count, uint64_t *state)
{
    heap_t heap = heap_new();
    lane_t lane = lane_open(heap);
    for (size_t i = 0; i < count; i++)
        blocks[i] = block_touch(lane_alloc(lane, random_mixed(random_next(state))));
    for (size_t i = 0; i < count && !HEAP_EXPLICIT; i++)
        lane_free(lane, blocks[i]);
    lane_close(lane);
    heap_drop(heap);
}

static double cycle_blocks(const run_t *run)
{
    size_t count = run->live, cycles = run->iterations / count + 1;
    void **blocks = bench_table(count * sizeof *blocks);
    uint64_t state = random_seed(0);
    for (size_t i = 0; i < cycles / 10 + 1; i++)
        cycle_once(blocks, count, &state);
    uint64_t start = bench_now_ns();
    for (size_t i = 0; i < cycles; i++)
        cycle_once(blocks, count, &state);
    return (double)(bench_now_ns() - start) / (double)(cycles * count);
}

static void row_cycle(const run_t *run)
{
    bench_report(run, "ns", cycle_blocks(run));
}

/* What such cycles leave resident, a second of light activity in another heap later. */
static void row_cycle_left(const run_t *run)
{
    size_t table = run->live * sizeof(void *);
    size_t start = bench_resident_bytes();
    double ns = cycle_blocks(run);
    light_second(lane_open(heap_new()));
    bench_report(run, "left_mib", ((double)bench_resident_bytes() - (double)(start + table)) / MIB);
    bench_report(run, "block_ns", ns);
}

static void row_idle_heaps(const run_t *run)
{
    if (!HEAP_EXPLICIT)
        bench_unsupported(run, "it has no heaps");
    heap_drop(heap_new());
    size_t start = bench_resident_bytes();
    for (size_t i = 0; i < IDLE_HEAPS; i++) {
        heap_t heap = heap_new();
        (void)heap;
    }
    bench_report(run, "bytes", (double)(bench_resident_bytes() - start) / IDLE_HEAPS);
}

const row_t bench_rows[] = {
    {"arena-pair-16", "alloc + free of 16 B in one arena", row_pair, 6000000, .smallest = 16},
    {"arena-pair-64", "alloc + free of 64 B in one arena", row_pair, 6000000, .smallest = 64},
    {"arena-shared-64-2t", "alloc + free of 64 B, one arena, 2 threads", row_pair, 4000000, .smallest = 64,
     .threads = 2},
    {"arena-batch-64-fifo", "1,000 x 64 B, FIFO", row_batch, 4000000, .smallest = 64},
    {"arena-batch-64-lifo", "1,000 x 64 B, LIFO", row_batch, 4000000, .smallest = 64, .order = ORDER_LIFO},
    {"arena-batch-64-random", "1,000 x 64 B, random", row_batch, 4000000, .smallest = 64,
     .order = ORDER_RANDOM},
    {"arena-batch-mixed-fifo", "1,000 mixed, FIFO", row_batch, 2000000, .threads = 1},
    {"arena-batch-mixed-lifo", "1,000 mixed, LIFO", row_batch, 2000000, .order = ORDER_LIFO},
    {"arena-batch-mixed-random", "1,000 mixed, random", row_batch, 2000000, .order = ORDER_RANDOM},
    {"arena-replace-5k", "a random one of 5,000 of 8 to 508 B replaced", row_replace, 3000000, .smallest = 8,
     .largest = 508, .live = 5000},
    {"arena-replace-50k", "a random one of 50,000 replaced", row_replace, 2000000, .smallest = 8,
     .largest = 508, .live = 50000},
    {"arena-cycle-1", "create + 1 mixed + destroy", row_cycle, 100000, .live = 1},
    {"arena-cycle-100", "create + 100 mixed + destroy, a block", row_cycle, 1000000, .live = 100},
    {"arena-cycle-1k", "create + 1,000 mixed + destroy, a block", row_cycle, 1000000, .live = 1000},
    {"arena-cycle-100k", "create + 100,000 mixed + destroy, a block", row_cycle, 1000000, .live = 100000},
    {"arena-collatz-list-1t", "Collatz sequences in a linked list; a number", row_collatz_list, 60000,
     .threads = 1},
    {"arena-collatz-list-2t", "the same, 2 threads", row_collatz_list, 30000, .threads = 2},
    {"arena-collatz-list-3t", "the same, 3 threads", row_collatz_list, 20000, .threads = 3},
    {"arena-collatz-list-4t", "the same, 4 threads", row_collatz_list, 15000, .threads = 4},
    {"arena-collatz-vector-1t", "Collatz sequences in a doubling vector; a number", row_collatz_vector,
     120000, .threads = 1},
    {"arena-collatz-vector-2t", "the same, 2 threads", row_collatz_vector, 60000, .threads = 2},
    {"arena-collatz-vector-3t", "the same, 3 threads", row_collatz_vector, 40000, .threads = 3},
    {"arena-collatz-vector-4t", "the same, 4 threads", row_collatz_vector, 30000, .threads = 4},
    {"arena-mixed-2t", "1,000 mixed, random, 2 threads on one arena", row_batch, 1000000, .threads = 2,
     .order = ORDER_RANDOM},
    {"arena-mixed-3t", "1,000 mixed, random, 3 threads on one arena", row_batch, 700000, .threads = 3,
     .order = ORDER_RANDOM},
    {"arena-mixed-4t", "1,000 mixed, random, 4 threads on one arena", row_batch, 500000, .threads = 4,
     .order = ORDER_RANDOM},
    {"arena-mixed-8t", "1,000 mixed, random, 8 threads on one arena", row_batch, 300000, .threads = 8,
     .order = ORDER_RANDOM},
    {"arena-idle", "resident an arena: 1,000 created and not used", row_idle_heaps, 1, .unit = "bytes"},
    {"arena-mem-16", "resident a block: 10 million of 16 B", row_density, 10000000, .unit = "bytes",
     .smallest = 16},
    {"arena-cycle-100k-left", "left 1 s after such cycles", row_cycle_left, 1000000, .unit = "MiB",
     .live = 100000},
    {"arena-left", "left 1 s after 1 GiB freed at random, light activity", row_giveback, 1, .unit = "MiB"},
    {"arena-trim", "left after 1 GiB freed at random and a trim, thread asleep", row_trim, 1, .unit = "MiB"},
    {"arena-trim-kept", "the same, 1 in 1,000 kept: left / pages that hold one", row_trim, 1,
     .unit = "x held", .live = 1000},
    {0},
};
