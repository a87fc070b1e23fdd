/*
 * cell.c: forks for each run, so that each begins with an empty heap, and a crash or an endless search is
 * the child's alone. The child calls nothing that allocates but the allocator under test.
 */
#include "cell.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    const rung_t *rung;
    const workload_t *workload;
    cell_t *cell;        /* shared with the parent */
    cell_state_t *state; /* of this run, in the cell */
    unsigned char **blocks;
    size_t *bytes;
    size_t samples;
} run_t;

static void *map(size_t bytes, int flags)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

    if (memory == MAP_FAILED) {
        perror("compare: mmap");
        exit(EXIT_FAILURE);
    }
    return memory;
}

static double now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* The number behind a name in a file of /proc, which is given in KiB; 0: there is none. */
static size_t proc_bytes(const char *path, const char *name)
{
    char text[4096];
    int file = open(path, O_RDONLY);

    if (file < 0)
        return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    const char *line = strstr(text, name);
    return line != NULL ? strtoul(line + strlen(name), NULL, 10) * 1024 : 0;
}

/* Memory in use that no file backs. Exact, where the kernel has smaps_rollup; else a little behind. */
static size_t memory_in_use(void)
{
    size_t exact = proc_bytes("/proc/self/smaps_rollup", "Anonymous:");

    return exact != 0 ? exact : proc_bytes("/proc/self/status", "RssAnon:");
}

/* --- in the child --- */

_Noreturn static void finish(run_t *run, cell_state_t state)
{
    *run->state = state;
    _exit(EXIT_SUCCESS);
}

static void set_limits(const cell_limits_t *limits)
{
    struct itimerval timer = {.it_value = {.tv_sec = (time_t)limits->seconds}};
    struct rlimit data = {proc_bytes("/proc/self/status", "VmData:") + limits->bytes, RLIM_INFINITY};

    timer.it_value.tv_usec = (suseconds_t)((limits->seconds - (double)timer.it_value.tv_sec) * 1e6);
    signal(SIGPROF, SIG_DFL);
    signal(SIGALRM, SIG_DFL);
    setitimer(ITIMER_PROF, &timer, NULL);
    alarm(60 + 20 * (unsigned)limits->seconds); /* in case it sleeps */
    setrlimit(RLIMIT_DATA, &data);
}

/* The operations [from, to), which write one byte of each block. */
static void play(run_t *run, size_t from, size_t to)
{
    const op_t *ops = run->workload->ops;
    unsigned char **blocks = run->blocks;
    void *(*allocate)(size_t) = run->rung->malloc;
    void (*release)(void *) = run->rung->free;

    for (size_t i = from; i < to; i++) {
        if (ops[i].bytes == 0) {
            release(blocks[ops[i].slot]);
            continue;
        }
        unsigned char *block = allocate(ops[i].bytes);
        if (block == NULL)
            finish(run, CELL_MEMORY);
        *(volatile unsigned char *)block = 1;
        blocks[ops[i].slot] = block;
    }
}

_Noreturn static void run_for_time(run_t *run)
{
    const workload_t *w = run->workload;
    size_t to = w->timed_to != 0 ? w->timed_to : w->count, row;
    double ns[2] = {0, 0};
    size_t calls[2] = {0, 0};

    play(run, 0, w->timed_from);
    for (size_t i = w->timed_from; i < to; i = row) {
        bool is_free = w->ops[i].bytes == 0;
        row = w->batched ? i + 1 : to; /* where the kind of call changes */
        while (row < to && (w->ops[row].bytes == 0) == is_free)
            row++;
        double start = now_ns();
        play(run, i, row);
        ns[is_free] += now_ns() - start;
        calls[is_free] += row - i;
    }
    run->cell->op_ns = (ns[0] + ns[1]) / (double)(calls[0] + calls[1]);
    if (w->batched) {
        run->cell->malloc_ns = calls[0] != 0 ? ns[0] / (double)calls[0] : 0;
        run->cell->free_ns = calls[1] != 0 ? ns[1] / (double)calls[1] : 0;
    }
    finish(run, CELL_OK);
}

static unsigned char tag_of(size_t slot)
{
    return (unsigned char)(slot * 37 + 11);
}

static bool holds(const unsigned char *block, size_t bytes, unsigned char tag)
{
    return block[0] == tag && memcmp(block, block + 1, bytes - 1) == 0;
}

static void take_sample(run_t *run, size_t op, size_t payload, size_t before)
{
    cell_t *cell = run->cell;
    size_t now = memory_in_use();
    size_t heap = now > before ? now - before : 0;

    if (cell->samples_used > CELL_SAMPLES)
        return;
    cell->samples[cell->samples_used++] = (sample_t){op, payload, heap};
    if (heap > cell->peak_heap)
        cell->peak_heap = heap;
}

/* All bytes of all blocks are written, and verified when the block is freed; memory is sampled on the way. */
_Noreturn static void run_for_memory(run_t *run)
{
    const workload_t *w = run->workload;
    size_t payload = 0, step = w->count / (run->samples - 1) + 1, before = memory_in_use();

    for (size_t i = 0; i < w->count; i++) {
        size_t slot = w->ops[i].slot, bytes = w->ops[i].bytes;
        if (i % step == 0 || i == w->peak_op)
            take_sample(run, i, payload, before);
        if (bytes != 0) {
            unsigned char *block = run->rung->malloc(bytes);
            if (block == NULL)
                finish(run, CELL_MEMORY);
            memset(block, tag_of(slot), bytes);
            run->blocks[slot] = block;
            run->bytes[slot] = bytes;
            payload += bytes;
        } else {
            if (!holds(run->blocks[slot], run->bytes[slot], tag_of(slot)))
                finish(run, CELL_WRONG);
            run->rung->free(run->blocks[slot]);
            payload -= run->bytes[slot];
        }
    }
    take_sample(run, w->count, payload, before);
    finish(run, run->rung->check != NULL && run->rung->check(NULL) != NULL ? CELL_WRONG : CELL_OK);
}

/* --- in the parent --- */

static void child(run_t *run, const cell_limits_t *limits, void (*body)(run_t *))
{
    /* The child's own copies, or the first writes to them would be timed. */
    memset(run->blocks, 0, run->workload->slots * sizeof *run->blocks);
    memset(run->bytes, 0, run->workload->slots * sizeof *run->bytes);
    set_limits(limits);
    body(run);
}

static void run_in_child(run_t *run, const cell_limits_t *limits, void (*body)(run_t *))
{
    int status;

    *run->state = CELL_CRASH;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(run, limits, body);
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("compare: fork");
        exit(EXIT_FAILURE);
    }
    if (WIFSIGNALED(status)) {
        bool limit = WTERMSIG(status) == SIGPROF || WTERMSIG(status) == SIGALRM;
        *run->state = limit ? CELL_TIME : CELL_CRASH;
        run->cell->signal = WTERMSIG(status);
    }
}

/* The fastest of some runs: what else the machine does can only make one slower. */
static void measure_time(cell_t *cell, run_t *run, const cell_limits_t *limits)
{
    run->state = &run->cell->time_state;
    for (int i = 0; i < limits->repeats; i++) {
        run_in_child(run, limits, run_for_time);
        if (i == 0 || run->cell->time_state != CELL_OK || run->cell->op_ns < cell->op_ns)
            *cell = *run->cell;
        if (cell->time_state != CELL_OK)
            return;
    }
}

/* What ran out of time once is not tried again. */
static void measure_memory(cell_t *cell, run_t *run, const cell_limits_t *limits)
{
    cell_t timed = *cell;

    if (timed.time_state == CELL_TIME) {
        cell->heap_state = CELL_TIME;
        return;
    }
    run->state = &run->cell->heap_state;
    run_in_child(run, limits, run_for_memory);
    *cell = *run->cell;
    cell->time_state = timed.time_state;
    if (cell->heap_state == CELL_WRONG || cell->heap_state == CELL_CRASH)
        cell->time_state = cell->heap_state; /* fast and wrong is no result */
    cell->malloc_ns = timed.malloc_ns;
    cell->free_ns = timed.free_ns;
    cell->op_ns = timed.op_ns;
}

void cell_measure(cell_t *cell, const rung_t *rung, const workload_t *workload, const cell_limits_t *limits)
{
    size_t slots = workload->slots + 1;
    run_t run = {.rung = rung, .workload = workload, .samples = limits->samples};

    run.cell = map(sizeof *run.cell, MAP_SHARED);
    run.blocks = map(slots * sizeof *run.blocks, MAP_PRIVATE);
    run.bytes = map(slots * sizeof *run.bytes, MAP_PRIVATE);
    measure_time(cell, &run, limits);
    if (!limits->time_only)
        measure_memory(cell, &run, limits);
    munmap(run.bytes, slots * sizeof *run.bytes);
    munmap(run.blocks, slots * sizeof *run.blocks);
    munmap(run.cell, sizeof *run.cell);
}
