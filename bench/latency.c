/*
 * latency.c: see latency.h. Times are kept in histograms whose buckets are a thirty-second of their value wide, so
 * that nothing is stored but counters (Tene's HdrHistogram does the same). The clock is the processor's counter
 * where there is one, and is part of each figure: an empty interval is reported as clock.
 */
#include "latency.h"

#include "heap.h"

#include <stdio.h>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>

/* Fenced: no call that is timed begins before the first or ends behind the last. */
static inline uint64_t ticks_now(void)
{
    _mm_lfence();
    uint64_t ticks = __rdtsc();
    _mm_lfence();
    return ticks;
}
#else
static inline uint64_t ticks_now(void)
{
    return bench_now_ns();
}
#endif

enum { STEPS_LOG2 = 5, STEPS = 1 << STEPS_LOG2, BUCKETS = 64 * STEPS, CLOCK_TRIALS = 1000, RARE = 64 };
enum { RARE_SMALLEST = 1024, RARE_LARGEST = 65536 };

typedef struct {
    uint64_t counts[BUCKETS]; /* by ticks; below 2 * STEPS exact */
    uint64_t total, most;
} histogram_t;

/* Of one thread, or of all. */
typedef struct {
    _Alignas(64) histogram_t alloc;
    histogram_t free;
} calls_t;

typedef struct {
    heap_t heap;
    calls_t *calls; /* of each thread */
} shared_t;

static unsigned log2_of(uint64_t value)
{
    return 63 - (unsigned)__builtin_clzll(value);
}

static size_t bucket_of(uint64_t ticks)
{
    unsigned shift = ticks < 2 * STEPS ? 0 : log2_of(ticks) - STEPS_LOG2;
    return ((size_t)shift << STEPS_LOG2) + (size_t)(ticks >> shift);
}

/* The largest value in it. */
static uint64_t bucket_end(size_t bucket)
{
    unsigned shift = bucket < 2 * STEPS ? 0 : (unsigned)(bucket >> STEPS_LOG2) - 1;
    return ((bucket - ((size_t)shift << STEPS_LOG2) + 1) << shift) - 1;
}

static void histogram_add(histogram_t *histogram, uint64_t ticks)
{
    histogram->counts[bucket_of(ticks)]++;
    histogram->total++;
    histogram->most = ticks > histogram->most ? ticks : histogram->most;
}

static void histogram_merge(histogram_t *into, const histogram_t *from)
{
    for (size_t i = 0; i < BUCKETS; i++)
        into->counts[i] += from->counts[i];
    into->total += from->total;
    into->most = from->most > into->most ? from->most : into->most;
}

/* The ticks that a share of all calls do not exceed. */
static uint64_t histogram_at(const histogram_t *histogram, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)histogram->total), seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen > wanted)
            return bucket_end(i) < histogram->most ? bucket_end(i) : histogram->most;
    }
    return histogram->most;
}

static void report_histogram(const run_t *run, const char *kind, const histogram_t *histogram, double tick_ns)
{
    static const struct {
        const char *name;
        double share;
    } points[] = {{"p50", 0.5},       {"p90", 0.9},         {"p99", 0.99}, {"p99.9", 0.999},
                  {"p99.99", 0.9999}, {"p99.999", 0.99999}, {"max", 1}};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        char figure[32];
        snprintf(figure, sizeof figure, "%s_%s", kind, points[i].name);
        bench_report(run, figure, (double)histogram_at(histogram, points[i].share) * tick_ns);
    }
}

static size_t latency_request(uint64_t draw)
{
    if (draw % RARE == 0)
        return random_size(draw >> 6, RARE_SMALLEST, RARE_LARGEST);
    return random_mixed(draw >> 6);
}

static void latency_loop(lane_t lane, void **blocks, size_t live, uint64_t *state, size_t times,
                         calls_t *calls)
{
    for (size_t i = 0; i < times; i++) {
        uint64_t draw = random_next(state);
        void **slot = &blocks[random_below(draw, live)];
        size_t request = latency_request(draw);
        uint64_t start = ticks_now();
        lane_free(lane, *slot);
        uint64_t middle = ticks_now();
        *slot = block_touch(lane_alloc(lane, request));
        uint64_t end = ticks_now();
        histogram_add(&calls->free, middle - start);
        histogram_add(&calls->alloc, end - middle);
    }
}

static void latency_job(job_t *job)
{
    shared_t *shared = job->shared;
    size_t live = job->run->live;
    lane_t lane = lane_open(shared->heap);
    uint64_t state = random_seed(job->index);
    void **blocks = bench_table(live * sizeof *blocks);
    calls_t *calls = &shared->calls[job->index], *warm = bench_table(sizeof *warm);
    for (size_t i = 0; i < live; i++)
        blocks[i] = block_touch(lane_alloc(lane, latency_request(random_next(&state))));
    latency_loop(lane, blocks, live, &state, job->run->iterations / 10 + live, warm);
    job_start(job);
    latency_loop(lane, blocks, live, &state, job->run->iterations, calls);
    job_stop(job);
    lane_close(lane);
}

static uint64_t clock_ticks(void)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < CLOCK_TRIALS; i++) {
        uint64_t start = ticks_now(), taken = ticks_now() - start;
        least = taken < least ? taken : least;
    }
    return least;
}

void row_latency(const run_t *run)
{
    if (run->threads > 1 && !HEAP_SHARED)
        bench_unsupported(run, "its heaps belong to one thread each");
    shared_t shared = {heap_new(), bench_table(run->threads * sizeof(calls_t))};
    calls_t *all = bench_table(sizeof *all);
    uint64_t ticks = ticks_now(), start_ns = bench_now_ns();
    bench_jobs(run, latency_job, &shared);
    double tick_ns = (double)(bench_now_ns() - start_ns) / (double)(ticks_now() - ticks);
    for (unsigned i = 0; i < run->threads; i++) {
        histogram_merge(&all->alloc, &shared.calls[i].alloc);
        histogram_merge(&all->free, &shared.calls[i].free);
    }
    report_histogram(run, "alloc", &all->alloc, tick_ns);
    report_histogram(run, "free", &all->free, tick_ns);
    bench_report(run, "clock", (double)clock_ticks() * tick_ns);
}
