/*
 * trace.h: a recorded trace of allocations, parsed into an array that a replay goes through.
 *
 * Every allocation whose id is still live leaks the block before it: that one keeps its slot, and the id gets
 * another. So a replay needs no book-keeping: each operation names the slot that it works on. All memory is
 * mapped and resident before the first operation, none of it from malloc.
 */
#ifndef REPLAY_TRACE_H
#define REPLAY_TRACE_H

#include <stddef.h>
#include <stdint.h>

typedef enum { OP_ALLOC, OP_CALLOC, OP_REALLOC, OP_ALIGNED, OP_FREE, OP_FREE_NULL } op_kind_t;

typedef struct {
    size_t bytes; /* of a calloc: the product */
    size_t extra; /* a calloc's count, an alignment */
    uint32_t slot;
    uint32_t kind; /* op_kind_t */
} op_t;

typedef struct {
    op_t *ops;
    size_t count;
    size_t slots;
    size_t leaked;             /* blocks whose id was given again */
    size_t peak_payload_bytes; /* the most that was asked for and live at once */
    size_t end_payload_bytes;
    size_t largest_bytes;
} trace_t;

/*
 * Reads a trace from `file` to its end. A line that is none, an id or a number of operations that the header
 * does not announce, and a size that overflows end the program with a message that names the line.
 */
trace_t trace_read(int file);

#endif
