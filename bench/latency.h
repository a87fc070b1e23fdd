/*
 * latency.h: how long single calls take, by percentile.
 */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include "bench.h"

/*
 * Each thread replaces a random one of its `live` blocks of mixed sizes, one in 64 of 1 to 64 KiB, and times each
 * alloc, with the first write to the block, and each free. Reports percentiles of all threads' calls.
 */
void row_latency(const run_t *run);

#endif
