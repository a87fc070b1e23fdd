/*
 * speed.c: pairs, batches and random replacement, see speed.h. Each thread runs a tenth
 * of its operations as a warm-up, waits for the others and is then timed. The figure is wall time divided
 * by the operations of one thread.
 */
#include "speed.h"

#include "heap.h"

enum { BATCH = 1000, PLANS = 8 };

static void report_time(const run_t *run, double elapsed_ns)
{
    bench_report(run, "ns", elapsed_ns / (double)run->iterations);
}

static void run_jobs(const run_t *run, job_fn body)
{
    if (run->threads > 1 && !HEAP_SHARED)
        bench_unsupported(run, "its heaps belong to one thread each");
    heap_t heap = heap_new();
    report_time(run, bench_jobs(run, body, &heap));
}

static lane_t job_lane(const job_t *job)
{
    const heap_t *heap = job->shared;
    return lane_open(*heap);
}

static void pair_loop(lane_t lane, size_t request, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++)
        lane_free(lane, block_touch(lane_alloc(lane, request)));
}

static void pair_job(job_t *job)
{
    lane_t lane = job_lane(job);
    size_t request = job->run->row->smallest;
    pair_loop(lane, request, job->run->iterations / 10 + 1);
    job_start(job);
    pair_loop(lane, request, job->run->iterations);
    job_stop(job);
    lane_close(lane);
}

void row_pair(const run_t *run)
{
    run_jobs(run, pair_job);
}

/* Drawn beforehand, so that a round's time is the allocator's; several, so that none follows itself. */
typedef struct {
    uint16_t requests[BATCH];
    uint16_t order[BATCH]; /* of the frees */
} plan_t;

static void plan_draw(plan_t *plan, const row_t *row, uint64_t *state)
{
    for (unsigned i = 0; i < BATCH; i++) {
        plan->requests[i] = (uint16_t)row_request(row, random_next(state));
        plan->order[i] = (uint16_t)(row->order == ORDER_LIFO ? BATCH - 1 - i : i);
    }
    for (unsigned i = BATCH; row->order == ORDER_RANDOM && i > 1; i--) {
        size_t j = random_below(random_next(state), i);
        uint16_t kept = plan->order[i - 1];
        plan->order[i - 1] = plan->order[j];
        plan->order[j] = kept;
    }
}

static void batch_loop(lane_t lane, const plan_t *plans, size_t rounds)
{
    void *blocks[BATCH];
    for (size_t round = 0; round < rounds; round++) {
        const plan_t *plan = &plans[round % PLANS];
        for (unsigned i = 0; i < BATCH; i++)
            blocks[i] = block_touch(lane_alloc(lane, plan->requests[i]));
        for (unsigned i = 0; i < BATCH; i++)
            lane_free(lane, blocks[plan->order[i]]);
    }
}

static void batch_job(job_t *job)
{
    plan_t plans[PLANS];
    uint64_t state = random_seed(job->index);
    lane_t lane = job_lane(job);
    size_t rounds = job->run->iterations / BATCH;
    for (unsigned i = 0; i < PLANS; i++)
        plan_draw(&plans[i], job->run->row, &state);
    batch_loop(lane, plans, rounds / 10 + 1);
    job_start(job);
    batch_loop(lane, plans, rounds);
    job_stop(job);
    lane_close(lane);
}

void row_batch(const run_t *run)
{
    run_t whole = *run;
    whole.iterations = (run->iterations / BATCH + 1) * BATCH;
    run_jobs(&whole, batch_job);
}

static void replace_loop(lane_t lane, const run_t *run, void **blocks, uint64_t *state, size_t times)
{
    for (size_t i = 0; i < times; i++) {
        uint64_t draw = random_next(state);
        void **slot = &blocks[random_below(draw, run->live)];
        lane_free(lane, *slot);
        *slot = block_touch(lane_alloc(lane, row_request(run->row, draw)));
    }
}

static void replace_job(job_t *job)
{
    const run_t *run = job->run;
    uint64_t state = random_seed(job->index);
    lane_t lane = job_lane(job);
    void **blocks = bench_table(run->live * sizeof *blocks);
    for (size_t i = 0; i < run->live; i++)
        blocks[i] = block_touch(lane_alloc(lane, row_request(run->row, random_next(&state))));
    replace_loop(lane, run, blocks, &state, run->iterations / 10 + run->live);
    job_start(job);
    replace_loop(lane, run, blocks, &state, run->iterations);
    job_stop(job);
    lane_close(lane);
}

void row_replace(const run_t *run)
{
    run_jobs(run, replace_job);
}
