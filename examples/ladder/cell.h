/* cell.h: one workload on one allocator, each time in a process of its own. */
#ifndef CELL_H
#define CELL_H

#include "rungs.h"
#include "workload.h"

typedef enum {
    CELL_OK,
    CELL_TIME,   /* the limit ended it */
    CELL_MEMORY, /* the allocator answered NULL */
    CELL_WRONG,  /* a block did not hold what was put there, or the checker found damage */
    CELL_CRASH
} cell_state_t;

enum { CELL_SAMPLES = 240 };

typedef struct {
    size_t op;            /* operations done */
    size_t payload, heap; /* bytes asked for; bytes of memory that came into use since the start */
} sample_t;

typedef struct {
    cell_state_t time_state, heap_state;
    int signal;                       /* of a CELL_CRASH */
    double malloc_ns, free_ns, op_ns; /* for each call; malloc_ns and free_ns only of batched workloads */
    size_t peak_heap;                 /* of the samples */
    size_t samples_used;
    sample_t samples[CELL_SAMPLES + 1];
} cell_t;

typedef struct {
    double seconds; /* of processor time, for each run */
    size_t bytes;   /* of memory */
    int repeats;    /* of the run that is timed; the fastest counts */
    size_t samples; /* of the memory, evenly over the operations; at most CELL_SAMPLES */
    bool time_only; /* no run for the memory: heap_state is CELL_OK, and no samples */
} cell_limits_t;

/* Runs the workload for its time, writing one byte of each block; then for its memory, writing and verifying all. */
void cell_measure(cell_t *cell, const rung_t *rung, const workload_t *workload, const cell_limits_t *limits);

#endif
