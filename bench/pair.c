/*
 * pair.c: a loop of alloc + free and nothing else, for counting instructions; see bench/instructions, which counts
 * inside of counted_pairs alone. A loop as long warms up before. Usage: pair BYTES PAIRS
 */
#include "heap.h"

#include <stdio.h>

void bench_fail(const char *what)
{
    fprintf(stderr, "pair: failed: %s\n", what);
    exit(1);
}

static void run_pairs(lane_t lane, size_t request, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++) {
        void *block = lane_alloc(lane, request);
        __asm__ volatile("" : "+r"(block) : : "memory");
        lane_free(lane, block);
    }
}

static void counted_pairs(lane_t lane, size_t request, size_t pairs)
{
    run_pairs(lane, request, pairs);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size_t request = strtoul(argv[1], NULL, 10);
    size_t pairs = strtoul(argv[2], NULL, 10);
    lane_t lane = lane_open(heap_new());
    /* By a pointer that the compiler cannot see through: a copy of it would have another name. */
    void (*volatile counted)(lane_t, size_t, size_t) = counted_pairs;
    run_pairs(lane, request, pairs);
    counted(lane, request, pairs);
    return 0;
}
