/*
 * workload.h: what is asked of every allocator alike: a list of allocations and frees, made once.
 *
 * A slot is the name of one block; no slot is used twice.
 */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    size_t bytes; /* of an allocation; 0: free the slot */
    size_t slot;
} op_t;

typedef struct {
    char name[40];
    op_t *ops;
    size_t count, room; /* operations, and how many there is room for */
    size_t slots;       /* slots used */
    size_t live, peak;  /* bytes now asked for, and the most ever */
    size_t peak_op;     /* after which operation that was */
    size_t timed_from;  /* the first operation that is timed */
    size_t timed_to;    /* and the first behind it that is not; 0: to the end */
    bool batched;       /* allocations and frees come in rows long enough to be timed apart */
} workload_t;

typedef enum { ORDER_LIFO, ORDER_FIFO, ORDER_RANDOM } order_t;

/* Three times: n blocks allocated, then freed in an order. Sizes are 64, or 8 to 512 at random. */
workload_t workload_order(size_t n, order_t order, bool random_sizes);

/* n live blocks of random sizes; in each round an eighth is freed at random and allocated anew: timed. */
workload_t workload_churn(const char *name, size_t n, size_t rounds, size_t least, size_t most);

/* n small blocks, of which most go; larger ones; then these go and small ones come back; then all go. */
workload_t workload_phases(size_t n);

/* Holes of `small` bytes, n of them, in front of n / 10 of `big` in any list; then the big ones are asked for: timed. */
workload_t workload_worst(const char *name, size_t n, size_t small, size_t big);

/* A recorded trace, which may be packed (.gz). False if it cannot be read. */
bool workload_trace(workload_t *workload, const char *path);

void workload_free(workload_t *workload);

#endif
