/*
 * speed.h: the timed rows that make sense for a heap and for malloc alike; their numbers are in the rows.
 */
#ifndef BENCH_SPEED_H
#define BENCH_SPEED_H

#include "bench.h"

/* A request of the row: of smallest to largest, of smallest if that is all, else of bench_mixed. */
static inline size_t row_request(const row_t *row, uint64_t draw)
{
    if (row->largest > 0)
        return random_size(draw, row->smallest, row->largest);
    return row->smallest > 0 ? row->smallest : random_mixed(draw);
}

void row_pair(const run_t *run);    /* one block, allocated and freed */
void row_batch(const run_t *run);   /* 1,000 blocks allocated, then freed in the row's order */
void row_replace(const run_t *run); /* a random one of `live` blocks is freed and allocated anew */

#endif
