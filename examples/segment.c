/*
 * segment.c: buffers in shared memory, by offset. A parent gives out pieces of a segment that worker processes fill;
 * each process has it mapped somewhere else, so that an offset is the only name that all of them know. The range
 * arena writes nothing in the segment: a worker that goes wild breaks its own buffers, and not the allocator.
 *
 * introduces: arena_range_create(), arena_range_alloc(), arena_range_resize(), arena_range_free(), arena_range_stats(),
 *             arena_range_check(), arena_range_destroy()
 */
#define _GNU_SOURCE
#include "arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEGMENT_BYTES = 1 << 20, WORKERS = 3, TASKS = 2000, IN_FLIGHT = 24 };

/* What goes through the pipes: "fill this", and back. */
typedef struct {
    uint64_t offset, bytes;
    uint32_t seed;
} task_t;

static unsigned char *map_segment(int file)
{
    void *start = mmap(NULL, SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (start == MAP_FAILED) {
        perror("segment: mmap");
        exit(EXIT_FAILURE);
    }
    return start;
}

static unsigned char byte_of(const task_t *task, uint64_t i)
{
    return (unsigned char)(task->seed * 31 + i * 7);
}

/* A worker sees the segment at an address of its own. */
static int work(int file, int tasks, int results)
{
    unsigned char *segment = map_segment(file);
    task_t task;
    while (read(tasks, &task, sizeof task) == (ssize_t)sizeof task) {
        for (uint64_t i = 0; i < task.bytes; i++)
            segment[task.offset + i] = byte_of(&task, i);
        if (write(results, &task, sizeof task) != (ssize_t)sizeof task)
            return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static bool is_filled(const unsigned char *segment, const task_t *task)
{
    for (uint64_t i = 0; i < task->bytes; i++) {
        if (segment[task->offset + i] != byte_of(task, i))
            return false;
    }
    return true;
}

/* A buffer is asked for before its size is known: as large as may be, then cut to what it is. */
static bool send(arena_range_t *range, int tasks, uint32_t number)
{
    task_t task = {.seed = number, .bytes = 1 + number * 7919u % 30000};
    task.offset = arena_range_alloc(range, 30000);
    if (task.offset == ARENA_RANGE_NONE)
        return false; /* full for now: a result will make room */
    arena_range_resize(range, task.offset, task.bytes);
    return write(tasks, &task, sizeof task) == (ssize_t)sizeof task;
}

static bool receive(arena_range_t *range, int results, const unsigned char *segment)
{
    task_t task;
    if (read(results, &task, sizeof task) != (ssize_t)sizeof task || !is_filled(segment, &task))
        return false;
    arena_range_free(range, task.offset);
    return true;
}

static bool run(arena_range_t *range, const unsigned char *segment, int tasks, int results)
{
    uint32_t sent = 0, received = 0;
    uint64_t most = 0;
    while (received < TASKS) {
        while (sent < TASKS && sent - received < IN_FLIGHT && send(range, tasks, sent))
            sent++;
        arena_range_stats_t stats;
        arena_range_stats(range, &stats, sizeof stats);
        most = stats.live_bytes > most ? stats.live_bytes : most;
        if (!receive(range, results, segment))
            return false;
        received++;
    }
    printf("%u tasks by %d processes; at most %llu of %d bytes in use at once\n", received, WORKERS,
           (unsigned long long)most, SEGMENT_BYTES);
    return true;
}

int main(void)
{
    int file = memfd_create("segment", 0), tasks[2], results[2];
    if (file < 0 || ftruncate(file, SEGMENT_BYTES) != 0 || pipe(tasks) != 0 || pipe(results) != 0) {
        perror("segment");
        return EXIT_FAILURE;
    }
    for (int i = 0; i < WORKERS; i++) {
        pid_t child = fork();
        if (child == 0) {
            close(tasks[1]);
            close(results[0]);
            _exit(work(file, tasks[0], results[1]));
        }
    }
    close(tasks[0]);
    close(results[1]);

    /* Offsets 0 to SEGMENT_BYTES; cache lines are not shared between buffers. */
    arena_range_options_t options = {.name = "segment", .bytes = SEGMENT_BYTES, .quantum = 64};
    arena_range_t *range = arena_range_create(&options);
    bool good = range != NULL && run(range, map_segment(file), tasks[1], results[0]);
    close(tasks[1]); /* the workers end */
    for (int i = 0; i < WORKERS; i++) {
        int status = 1;
        wait(&status);
        good = good && status == 0;
    }
    arena_range_stats_t stats;
    arena_range_stats(range, &stats, sizeof stats);
    printf("%llu buffers given out; %llu bytes free in %llu piece; %llu bytes of metadata, none in the "
           "segment\n",
           (unsigned long long)stats.allocations, (unsigned long long)stats.free_bytes,
           (unsigned long long)stats.free_runs, (unsigned long long)stats.metadata_bytes);
    good = good && arena_range_check(range) == 0 && stats.free_bytes == SEGMENT_BYTES;
    arena_range_destroy(range);
    if (!good)
        fprintf(stderr, "segment: a buffer did not come back as it should\n");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
