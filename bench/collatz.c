/*
 * collatz.c: see collatz.h. Threads take turns at the starts. A finished sequence is exchanged for the one that
 * a shared slot holds, which is measured and freed: so with several threads many blocks are freed by another
 * thread than theirs. What the sequences add up to is counted a second time without memory, and must be equal.
 */
#include "collatz.h"

#include "heap.h"

#include <stdatomic.h>
#include <string.h>

enum { SLOTS = 64, VECTOR_FIRST = 4 };

typedef struct node {
    struct node *next;
    uint64_t number;
} node_t;

typedef struct {
    size_t count, room;
    uint64_t *numbers;
} vector_t;

/* How a sequence is kept. */
typedef struct {
    void *(*build)(lane_t lane, uint64_t start);
    size_t (*end)(lane_t lane, void *sequence); /* frees it; returns its length */
} kind_t;

typedef struct {
    heap_t heap;
    const kind_t *kind;
    void *_Atomic slots[SLOTS];
    atomic_size_t numbers; /* of all sequences measured */
} shared_t;

static uint64_t collatz_next(uint64_t number)
{
    return number % 2 == 0 ? number / 2 : 3 * number + 1;
}

static size_t collatz_length(uint64_t number)
{
    size_t length = 1;
    for (; number > 1; number = collatz_next(number))
        length++;
    return length;
}

/* --- the linked list: the latest number first --- */

static node_t *list_push(lane_t lane, node_t *rest, uint64_t number)
{
    node_t *node = lane_alloc(lane, sizeof *node);
    bench_require(node != NULL, "out of memory");
    *node = (node_t){rest, number};
    return node;
}

static void *list_build(lane_t lane, uint64_t number)
{
    node_t *list = list_push(lane, NULL, number);
    while (number > 1)
        list = list_push(lane, list, number = collatz_next(number));
    return list;
}

static size_t list_end(lane_t lane, void *sequence)
{
    size_t length = 0;
    for (node_t *node = sequence, *next; node != NULL; node = next, length++) {
        next = node->next;
        lane_free(lane, node);
    }
    return length;
}

/* --- the vector: twice as large whenever it is full --- */

static void vector_push(lane_t lane, vector_t *vector, uint64_t number)
{
    if (vector->count == vector->room) {
        uint64_t *twice = lane_alloc(lane, 2 * vector->room * sizeof *twice);
        bench_require(twice != NULL, "out of memory");
        memcpy(twice, vector->numbers, vector->count * sizeof *twice);
        lane_free(lane, vector->numbers);
        vector->numbers = twice;
        vector->room *= 2;
    }
    vector->numbers[vector->count++] = number;
}

static void *vector_build(lane_t lane, uint64_t number)
{
    vector_t *vector = lane_alloc(lane, sizeof *vector);
    bench_require(vector != NULL, "out of memory");
    *vector = (vector_t){0, VECTOR_FIRST, lane_alloc(lane, VECTOR_FIRST * sizeof(uint64_t))};
    bench_require(vector->numbers != NULL, "out of memory");
    vector_push(lane, vector, number);
    while (number > 1)
        vector_push(lane, vector, number = collatz_next(number));
    return vector;
}

static size_t vector_end(lane_t lane, void *sequence)
{
    vector_t *vector = sequence;
    size_t count = vector->count;
    lane_free(lane, vector->numbers);
    lane_free(lane, vector);
    return count;
}

/* --- */

static size_t starts_work(shared_t *shared, lane_t lane, size_t first, size_t end, size_t step)
{
    size_t numbers = 0;
    for (size_t start = first; start < end; start += step) {
        void *sequence = shared->kind->build(lane, start);
        sequence = atomic_exchange_explicit(&shared->slots[start % SLOTS], sequence, memory_order_acq_rel);
        numbers += sequence == NULL ? 0 : shared->kind->end(lane, sequence);
    }
    return numbers;
}

static size_t slots_end(shared_t *shared, lane_t lane)
{
    size_t numbers = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        void *sequence = atomic_exchange_explicit(&shared->slots[i], NULL, memory_order_acq_rel);
        numbers += sequence == NULL ? 0 : shared->kind->end(lane, sequence);
    }
    return numbers;
}

/* The starts 1 to iterations * threads; a tenth of them before, as a warm-up. */
static void collatz_job(job_t *job)
{
    shared_t *shared = job->shared;
    size_t threads = job->run->threads, end = job->run->iterations * threads + 1, first = job->index + 1;
    lane_t lane = lane_open(shared->heap);
    size_t numbers = starts_work(shared, lane, first, end / 10 + 1, threads);
    job_start(job);
    numbers += starts_work(shared, lane, first, end, threads);
    job_stop(job);
    atomic_fetch_add(&shared->numbers, numbers);
    lane_close(lane);
}

static size_t expected_numbers(size_t end)
{
    size_t numbers = 0;
    for (size_t start = 1; start < end; start++)
        numbers += collatz_length(start);
    return numbers;
}

static void row_collatz(const run_t *run, const kind_t *kind)
{
    static shared_t shared;
    if (run->threads > 1 && !HEAP_SHARED)
        bench_unsupported(run, "its heaps belong to one thread each");
    shared.heap = heap_new();
    shared.kind = kind;
    size_t end = run->iterations * run->threads + 1, timed = expected_numbers(end);
    double elapsed = bench_jobs(run, collatz_job, &shared);
    lane_t lane = lane_open(shared.heap);
    size_t numbers = atomic_load(&shared.numbers) + slots_end(&shared, lane);
    lane_close(lane);
    bench_require(numbers == timed + expected_numbers(end / 10 + 1), "the sum of the lengths");
    bench_report(run, "ns", elapsed / ((double)timed / run->threads));
}

void row_collatz_list(const run_t *run)
{
    static const kind_t list = {list_build, list_end};
    row_collatz(run, &list);
}

void row_collatz_vector(const run_t *run)
{
    static const kind_t vector = {vector_build, vector_end};
    row_collatz(run, &vector);
}
