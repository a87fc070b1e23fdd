/*
 * collatz.h: two programs as courses have them: from each start the Collatz sequence (half of an even number,
 * three times an odd one and one, until 1) is built as a linked list, or as a vector that doubles, and measured.
 */
#ifndef BENCH_COLLATZ_H
#define BENCH_COLLATZ_H

#include "bench.h"

void row_collatz_list(const run_t *run);   /* `iterations` starts of each thread */
void row_collatz_vector(const run_t *run); /* ns a number of the sequences */

#endif
