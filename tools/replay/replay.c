/*
 * replay.c: goes through a trace once and measures what the allocator makes of it. Usage:
 *
 *     PROGRAM memory [OPTION...] < TRACE      peak resident growth, every payload verified
 *     PROGRAM time [OPTION...] < TRACE        operations a second, nothing verified
 *     PROGRAM --whose                         the file that malloc comes from
 *
 *     --arena TEXT       the arena's options, see options.h
 *     --warm BYTES       before anything is counted, a block of that size is allocated, not touched, and freed
 *     --stop N           memory: after N operations, says where the arena's memory is, and ends
 *     --seconds S        time: at least so long (0.1)
 *
 * Prints lines of "FIGURE VALUE". Status 1: what the allocator returned is wrong, with a line that says what, or
 * the trace is; 2: usage.
 *
 * Memory. A block is written in full when it is allocated, so that it is resident. Resident memory grows by page
 * faults alone: it is read from smaps_rollup, which is exact, after each operation that faulted, and no peak is
 * missed but one inside of an operation. `peak_bound` is what that could be at most: resident memory before an
 * operation and all pages that it faulted in. What the replay itself needs is resident before the first reading.
 *
 * Payloads. A block holds words of its own, made of the operation's number. They are looked at when it is
 * reallocated, freed, and at the end: a block that overlaps another, is not zero after a calloc, or lost something
 * in a realloc, shows.
 */
#include "heap.h"
#include "trace.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { ROUNDS_MIN = 3, ROUNDS_MAX = 1000 };

/* A block as the replay remembers it. */
typedef struct {
    unsigned char *block;
    size_t bytes;
    uint64_t tag;
} held_t;

static struct {
    trace_t trace;
    held_t *held;
    size_t now; /* the operation's index, for messages */
} replay;

typedef struct {
    const char *arena;
    size_t warm, stop;
    double seconds;
} settings_t;

/* --- payloads --- */

static _Noreturn void wrong(const op_t *op, const char *what, const void *block)
{
    static const char letters[] = "acrlff";
    fprintf(stderr, "replay: operation %zu (%c, slot %u, %zu bytes): %s (%p)\n", replay.now + 1,
            letters[op->kind], op->slot, op->bytes, what, block);
    exit(1);
}

static uint64_t word_of(uint64_t tag, size_t index)
{
    return (tag + index) * UINT64_C(0x9e3779b97f4a7c15);
}

static void fill(held_t *held)
{
    size_t words = held->bytes / 8;
    for (size_t i = 0; i < words; i++) {
        uint64_t word = word_of(held->tag, i);
        memcpy(held->block + 8 * i, &word, 8);
    }
    uint64_t last = word_of(held->tag, words);
    memcpy(held->block + 8 * words, &last, held->bytes % 8);
}

static bool holds(const held_t *held, size_t bytes)
{
    size_t words = bytes / 8;
    for (size_t i = 0; i < words; i++) {
        uint64_t word = word_of(held->tag, i);
        if (memcmp(held->block + 8 * i, &word, 8) != 0)
            return false;
    }
    uint64_t last = word_of(held->tag, words);
    return memcmp(held->block + 8 * words, &last, bytes % 8) == 0;
}

static bool all_zero(const unsigned char *block, size_t bytes)
{
    return bytes == 0 || (block[0] == 0 && memcmp(block, block + 1, bytes - 1) == 0);
}

static size_t alignment_due(const op_t *op)
{
    size_t due = op->bytes >= 16 ? heap_alignment : op->bytes >= 8 ? 8 : 1;
    return op->kind == OP_ALIGNED && op->extra > due ? op->extra : due;
}

static void check_new(const op_t *op, const void *block)
{
    if (block == NULL && op->bytes > 0)
        wrong(op, "no memory", block);
    if ((uintptr_t)block % alignment_due(op) != 0)
        wrong(op, "not aligned", block);
}

static void check_held(const op_t *op, const held_t *held, size_t bytes)
{
    if (held->block != NULL && !holds(held, bytes))
        wrong(op, "the payload is not what was written", held->block);
}

/* --- one operation --- */

static void *allocate(const op_t *op)
{
    switch (op->kind) {
    case OP_ALLOC:
        return heap_alloc(op->bytes);
    case OP_CALLOC:
        return heap_calloc(op->extra, op->extra > 0 ? op->bytes / op->extra : 0);
    case OP_ALIGNED:
        return heap_aligned(op->extra, op->bytes);
    default:
        return heap_realloc(replay.held[op->slot].block, op->bytes);
    }
}

static void do_verified(const op_t *op)
{
    held_t *held = &replay.held[op->slot];
    if (op->kind == OP_FREE_NULL) {
        heap_free(NULL);
        return;
    }
    if (op->kind == OP_FREE) {
        check_held(op, held, held->bytes);
        heap_free(held->block);
        *held = (held_t){0};
        return;
    }
    size_t kept = 0;
    if (op->kind == OP_REALLOC && held->block != NULL) {
        check_held(op, held, held->bytes);
        kept = held->bytes < op->bytes ? held->bytes : op->bytes;
    }
    held->block = allocate(op);
    check_new(op, held->block);
    check_held(op, held, kept);
    if (op->kind == OP_CALLOC && held->block != NULL && !all_zero(held->block, op->bytes))
        wrong(op, "not zero", held->block);
    *held = (held_t){held->block, op->bytes, replay.now + 1};
    if (held->block != NULL)
        fill(held);
}

static size_t live_payload(void)
{
    size_t sum = 0;
    for (size_t slot = 0; slot < replay.trace.slots; slot++)
        sum += replay.held[slot].bytes;
    return sum;
}

/* All that is still live at the end. */
static void free_rest(bool verified)
{
    op_t op = {.kind = OP_FREE};
    for (size_t slot = 0; slot < replay.trace.slots; slot++) {
        held_t *held = &replay.held[slot];
        op.slot = (uint32_t)slot;
        op.bytes = held->bytes;
        if (verified)
            check_held(&op, held, held->bytes);
        heap_free(held->block);
        *held = (held_t){0};
    }
}

/* What a program that once freed a large block starts with: glibc and ours map less by themselves afterwards. */
static void heap_ready(const settings_t *settings)
{
    heap_open();
    if (settings->warm > 0)
        heap_free(heap_alloc(settings->warm));
}

/* --- memory --- */

typedef struct {
    size_t faults;
    residence_t start, now;
    size_t peak, peak_anonymous; /* bytes, each its own */
    size_t peak_at;              /* operations done then */
    size_t bound;
} gauge_t;

static size_t faults_now(void)
{
    struct rusage usage;
    bench_require(getrusage(RUSAGE_SELF, &usage) == 0, "getrusage");
    return (size_t)usage.ru_minflt + (size_t)usage.ru_majflt;
}

static size_t larger(size_t left, size_t right)
{
    return left > right ? left : right;
}

static void gauge_read(gauge_t *gauge, size_t done)
{
    size_t faults = faults_now();
    if (faults == gauge->faults)
        return;
    size_t most = gauge->now.all + (faults - gauge->faults) * (size_t)sysconf(_SC_PAGESIZE);
    gauge->now = bench_residence();
    gauge->faults = faults;
    if (gauge->now.all > gauge->peak) {
        gauge->peak = gauge->now.all;
        gauge->peak_at = done;
    }
    gauge->peak_anonymous = larger(gauge->peak_anonymous, gauge->now.anonymous);
    gauge->bound = larger(gauge->bound, larger(most, gauge->now.all));
}

/* Read until the readings stand still: the first ones touch pages of their own. */
static gauge_t gauge_start(void)
{
    gauge_t gauge = {0};
    static unsigned char scratch[64];
    held_t held = {scratch, sizeof scratch, 1};
    fill(&held);
    bench_require(holds(&held, sizeof scratch) && !all_zero(scratch, sizeof scratch), "the pattern");
    for (unsigned i = 0; i < 8; i++)
        gauge_read(&gauge, 0);
    gauge.start = gauge.now = bench_residence();
    gauge.peak = gauge.bound = gauge.start.all;
    gauge.peak_anonymous = gauge.start.anonymous;
    gauge.faults = faults_now();
    return gauge;
}

static void replay_memory(const settings_t *settings)
{
    if (settings->warm > 0)
        heap_ready(settings);
    gauge_t gauge = gauge_start();
    if (settings->warm == 0)
        heap_ready(settings);
    size_t stop = settings->stop;
    for (replay.now = 0; replay.now < replay.trace.count && replay.now < stop; replay.now++) {
        do_verified(&replay.trace.ops[replay.now]);
        gauge_read(&gauge, replay.now + 1);
    }
    if (stop != SIZE_MAX) {
        printf("stop_payload %zu\n", live_payload());
        heap_report();
    }
    free_rest(true);
    printf("operations %zu\npeak_payload %zu\n", replay.trace.count, replay.trace.peak_payload_bytes);
    printf("end_payload %zu\nleaked %zu\n", replay.trace.end_payload_bytes, replay.trace.leaked);
    printf("peak_resident %zu\npeak_bound %zu\n", gauge.peak - gauge.start.all,
           gauge.bound - gauge.start.all);
    printf("peak_anonymous %zu\npeak_at %zu\n", gauge.peak_anonymous - gauge.start.anonymous, gauge.peak_at);
}

/* --- time --- */

/* The first byte of each new block is written, so that no allocation is free of its first cache miss. */
static void replay_once(void)
{
    held_t *all = replay.held;
    const op_t *end = replay.trace.ops + replay.trace.count;
    for (const op_t *op = replay.trace.ops; op < end; op++) {
        held_t *held = &all[op->slot];
        if (op->kind == OP_FREE) {
            heap_free(held->block);
            held->block = NULL;
        } else if (op->kind == OP_FREE_NULL) {
            heap_free(NULL);
        } else {
            held->block = allocate(op);
            if (op->bytes > 0)
                *(volatile unsigned char *)held->block = 1;
        }
    }
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Rounds for at least `seconds`; what is live at the end of one is freed with the clock stopped. */
static void replay_time(const settings_t *settings)
{
    static double rounds[ROUNDS_MAX];
    double sum = 0, first;
    size_t count = 0;
    heap_ready(settings);
    for (; count < ROUNDS_MIN || (sum < settings->seconds && count < ROUNDS_MAX); count++) {
        uint64_t start = bench_now_ns();
        replay_once();
        rounds[count] = (double)(bench_now_ns() - start) / 1e9;
        sum += rounds[count];
        free_rest(false);
    }
    first = rounds[0];
    qsort(rounds, count, sizeof rounds[0], compare);
    printf("rounds %zu\nfirst_seconds %.9f\n", count, first);
    printf("median_seconds %.9f\nbest_seconds %.9f\n", rounds[count / 2], rounds[0]);
}

/* --- */

static int usage(void)
{
    fputs("usage: memory|time [--arena TEXT] [--warm BYTES] [--stop N] [--seconds S] < TRACE | --whose\n",
          stderr);
    return 2;
}

static bool settings_parse(int argc, char **argv, settings_t *settings)
{
    for (int i = 2; i < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (value == NULL)
            return false;
        if (strcmp(name, "--arena") == 0)
            settings->arena = value;
        else if (strcmp(name, "--warm") == 0)
            settings->warm = strtoull(value, NULL, 10);
        else if (strcmp(name, "--stop") == 0)
            settings->stop = strtoull(value, NULL, 10);
        else if (strcmp(name, "--seconds") == 0)
            settings->seconds = strtod(value, NULL);
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    settings_t settings = {.arena = "", .stop = SIZE_MAX, .seconds = 0.1};
    bool memory = argc > 1 && strcmp(argv[1], "memory") == 0;
    bool timed = argc > 1 && strcmp(argv[1], "time") == 0;
    if (argc == 2 && strcmp(argv[1], "--whose") == 0)
        return bench_print_whose();
    if ((!memory && !timed) || !settings_parse(argc, argv, &settings))
        return usage();
    replay.trace = trace_read(STDIN_FILENO);
    replay.held = bench_table((replay.trace.slots + 1) * sizeof *replay.held);
    heap_set(settings.arena);
    if (memory)
        replay_memory(&settings);
    else
        replay_time(&settings);
    return 0;
}
