/*
 * bench.c: the command line of every row program, and what bench.h declares beside process.c. Usage:
 *
 *     PROGRAM --list                                       the rows: name, unit, description
 *     PROGRAM --whose                                      the file that malloc comes from
 *     PROGRAM ROW [--iterations N] [--scale N] [--threads N] [--live N]
 *
 * A row prints lines of "ROW FIGURE VALUE", the figure in the row's unit first. Status: 0 measured,
 * 77 this allocator cannot do the row, else broken. No allocation of its own while a row runs.
 */
#include "bench.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { THREADS_MAX = 256, PAGE = 4096, PAGE_SLOTS = 1 << 17 };

uint16_t bench_mixed[MIXED_SIZES];

void bench_unsupported(const run_t *run, const char *why)
{
    fprintf(stderr, "bench: %s: %s\n", run->row->name, why);
    exit(77);
}

void bench_report(const run_t *run, const char *figure, double value)
{
    printf("%s %s %.6g\n", run->row->name, figure, value);
    fflush(stdout);
}

static void report_peak(const run_t *run)
{
    bench_report(run, "peak_mb", (double)bench_peak_bytes() / 1e6);
}

/* A hash set of page numbers, since the library's own sort may allocate. */
static size_t pages_add(uintptr_t *slots, uintptr_t page)
{
    size_t at = (page * UINT64_C(0x9e3779b97f4a7c15)) >> 47;
    while (slots[at] != 0 && slots[at] != page)
        at = (at + 1) % PAGE_SLOTS;
    if (slots[at] == page)
        return 0;
    slots[at] = page;
    return 1;
}

size_t bench_page_bytes(void *const *blocks, const uint16_t *sizes, size_t count)
{
    size_t table_bytes = PAGE_SLOTS * sizeof(uintptr_t), pages = 0;
    bench_require(count <= PAGE_SLOTS / 4, "too many blocks to count their pages");
    uintptr_t *slots = bench_table(table_bytes);
    for (size_t i = 0; i < count; i++) {
        uintptr_t first = (uintptr_t)blocks[i];
        uintptr_t last = first + sizes[i] - 1;
        for (uintptr_t page = first / PAGE; page <= last / PAGE; page++)
            pages += pages_add(slots, page);
    }
    munmap(slots, table_bytes);
    return pages * PAGE;
}

void bench_shuffle(void **table, uint16_t *sizes, size_t count, uint64_t *state)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = random_below(random_next(state), i);
        void *block = table[i - 1];
        table[i - 1] = table[j];
        table[j] = block;
        if (sizes != NULL) {
            uint16_t size = sizes[i - 1];
            sizes[i - 1] = sizes[j];
            sizes[j] = size;
        }
    }
}

static void mixed_fill(void)
{
    for (size_t i = 0; i < MIXED_SIZES; i++) {
        double u = (double)i / MIXED_SIZES;
        bench_mixed[i] = (uint16_t)(8 + 500.5 * u * u * u);
    }
}

void job_start(job_t *job)
{
    if (job->gate != NULL)
        pthread_barrier_wait(job->gate);
    job->start_ns = bench_now_ns();
}

void job_stop(job_t *job)
{
    job->end_ns = bench_now_ns();
}

typedef struct {
    job_t job;
    job_fn body;
} job_thread_t;

static void *job_main(void *argument)
{
    job_thread_t *thread = argument;
    thread->body(&thread->job);
    return NULL;
}

/* One thread stays the process's only one: allocators that know they are alone may use that. */
double bench_jobs(const run_t *run, job_fn body, void *shared)
{
    static job_thread_t threads[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    pthread_barrier_t gate;
    uint64_t start = UINT64_MAX, end = 0;
    bench_require(run->threads >= 1 && run->threads <= THREADS_MAX, "number of threads");
    pthread_barrier_init(&gate, NULL, run->threads);
    for (unsigned i = 0; i < run->threads; i++) {
        job_t job = {run, shared, run->threads > 1 ? &gate : NULL, i, 0, 0};
        threads[i] = (job_thread_t){job, body};
        if (run->threads == 1)
            job_main(&threads[i]);
        else
            bench_require(pthread_create(&ids[i], NULL, job_main, &threads[i]) == 0, "pthread_create");
    }
    for (unsigned i = 0; i < run->threads; i++) {
        if (run->threads > 1)
            pthread_join(ids[i], NULL);
        start = threads[i].job.start_ns < start ? threads[i].job.start_ns : start;
        end = threads[i].job.end_ns > end ? threads[i].job.end_ns : end;
    }
    pthread_barrier_destroy(&gate);
    return (double)(end - start);
}

static const row_t *row_find(const char *name)
{
    for (const row_t *row = bench_rows; row->name != NULL; row++)
        if (strcmp(row->name, name) == 0)
            return row;
    fprintf(stderr, "bench: no row %s; --list shows them\n", name);
    exit(2);
}

static size_t option_number(int argc, char **argv, const char *option, size_t otherwise)
{
    for (int i = 2; i + 1 < argc; i += 2)
        if (strcmp(argv[i], option) == 0)
            return strtoul(argv[i + 1], NULL, 10);
    return otherwise;
}

static int list_rows(void)
{
    for (const row_t *row = bench_rows; row->name != NULL; row++)
        printf("%s\t%s\t%s\n", row->name, row->unit != NULL ? row->unit : "ns", row->about);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0)
        return list_rows();
    if (argc == 2 && strcmp(argv[1], "--whose") == 0)
        return bench_print_whose();
    if (argc < 2) {
        fputs("usage: --list | --whose | ROW [--iterations N] [--scale N] [--threads N] [--live N]\n",
              stderr);
        return 2;
    }
    const row_t *row = row_find(argv[1]);
    run_t run = {.row = row, .scale = option_number(argc, argv, "--scale", 1)};
    bench_require(run.scale > 0, "a scale of at least 1");
    run.iterations = option_number(argc, argv, "--iterations", row->iterations / run.scale + 1);
    run.live = option_number(argc, argv, "--live", row->live);
    run.threads = (unsigned)option_number(argc, argv, "--threads", row->threads > 0 ? row->threads : 1);
    mixed_fill();
    row->body(&run);
    report_peak(&run);
    return 0;
}
