/*
 * bench.h: what every row of the benchmark shares: the run it is asked for, the clock, random numbers,
 * threads that start together, tables that no allocator sees, and the kernel's figures for this process.
 *
 * Nothing here allocates through malloc between a row's first and last measurement.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { ORDER_FIFO, ORDER_LIFO, ORDER_RANDOM } order_t;

typedef struct row row_t;

/* One row's work, as the command line asks for it. */
typedef struct {
    const row_t *row;
    size_t iterations; /* the row's own number, divided by --scale, or --iterations */
    size_t scale;      /* divides what a row holds as well, where the row is about memory */
    size_t live;       /* the row's own, or --live */
    unsigned threads;
} run_t;

typedef void (*row_fn)(const run_t *run);

/* A row as its table states it; what a row does not use is 0. */
struct row {
    const char *name;
    const char *about;
    row_fn body;
    size_t iterations;
    const char *unit;         /* of the first figure that it reports; NULL: ns */
    size_t smallest, largest; /* request bytes */
    size_t live;              /* blocks held, of each thread */
    unsigned threads;         /* 0: one */
    order_t order;
};

/* The rows of this program, ended by a NULL name; each program defines its own. */
extern const row_t bench_rows[];

/* One thread of a row; start_ns and end_ns enclose what is timed. */
typedef struct {
    const run_t *run;
    void *shared;
    void *gate;
    unsigned index;
    uint64_t start_ns, end_ns;
} job_t;

typedef void (*job_fn)(job_t *job);

/*
 * Runs `body` in run->threads threads (in the calling one if that is 1) and returns the nanoseconds from
 * the first job_start to the last job_stop. Every body calls both once.
 */
double bench_jobs(const run_t *run, job_fn body, void *shared);
void job_start(job_t *job); /* warmed up; returns once all the others are */
void job_stop(job_t *job);

/* Prints one figure of the row: its name, the figure's name, its value. */
void bench_report(const run_t *run, const char *figure, double value);

/* Says that this allocator cannot do the row, and ends the program with status 77. */
_Noreturn void bench_unsupported(const run_t *run, const char *why);

_Noreturn void bench_fail(const char *what);

/* Ends the program if `truth` is false: an allocation failed, say. */
static inline void bench_require(bool truth, const char *what)
{
    if (!truth)
        bench_fail(what);
}

/* Zeroed, resident memory straight from the kernel. */
void *bench_table(size_t bytes);

/* The same, but not resident yet. */
void *bench_space(size_t bytes);

void bench_sleep_ms(unsigned ms);
uint64_t bench_now_ns(void);

/* Resident bytes of this process: exact, from smaps_rollup. */
typedef struct {
    size_t all;
    size_t private;   /* mapped by no other process */
    size_t anonymous; /* of no file: not the pages of programs and libraries */
} residence_t;

residence_t bench_residence(void);
size_t bench_resident_bytes(void); /* all */

/* The most that was ever resident, as the kernel counts it: up to some pages off. */
size_t bench_peak_bytes(void);

/* Prints the file that malloc comes from, and returns 0. */
int bench_print_whose(void);

/* Bytes of the pages that hold a part of the `count` blocks of at least 1 byte each. */
size_t bench_page_bytes(void *const *blocks, const uint16_t *sizes, size_t count);

/* A random permutation of table[0..count), and of sizes[] with it. */
void bench_shuffle(void **table, uint16_t *sizes, size_t count, uint64_t *state);

/* Request sizes of 8 to 508 bytes, mostly small: 8 + 500 u^3; half are below 71. */
enum { MIXED_SIZES = 1024 };
extern uint16_t bench_mixed[MIXED_SIZES];

/* xorshift64* (Vigna, 2016): three shifts and a multiplication; `*state` is not 0. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

static inline uint64_t random_seed(unsigned thread)
{
    return UINT64_C(0x9e3779b97f4a7c15) * (thread + 1);
}

/* Two independent numbers of one draw: below `bound` from the high half ... */
static inline size_t random_below(uint64_t draw, size_t bound)
{
    return (size_t)(((draw >> 32) * bound) >> 32);
}

/* ... and a request size of smallest to largest from the low half. */
static inline size_t random_size(uint64_t draw, size_t smallest, size_t largest)
{
    return smallest + (size_t)(((draw & UINT32_MAX) * (largest - smallest + 1)) >> 32);
}

static inline size_t random_mixed(uint64_t draw)
{
    return bench_mixed[draw % MIXED_SIZES];
}

/* The first word of a new block is written, so that no allocation is free of its first cache miss. */
static inline void *block_touch(void *block)
{
    bench_require(block != NULL, "out of memory");
    *(volatile uint64_t *)block = (uintptr_t)block;
    return block;
}

#endif
