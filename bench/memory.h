/*
 * memory.h: the rows about resident memory that make sense for a heap and for malloc alike.
 */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include "heap.h"

enum { MIB = 1 << 20, HERD_BYTES_LOG2 = 30, HERD_SMALLEST = 16, HERD_LARGEST = 1008 };

/* Light activity: 1,000 pairs of 64 B every 10 ms, for a second. */
void light_second(lane_t lane);

/* `iterations` blocks of one size stay: resident bytes a block. */
void row_density(const run_t *run);

/*
 * 1 GiB of small blocks is freed in random order, all but one in `live` (0: all); a second of light
 * activity follows: MiB resident above the start.
 */
void row_giveback(const run_t *run);

/*
 * The same, a part of the blocks freed by another thread that then sleeps with its cache full; a trim
 * follows instead: MiB resident above the start, or with `live` their ratio to the pages in use.
 */
void row_trim(const run_t *run);

#endif
