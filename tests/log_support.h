/*
 * log_support.h: reads a log of arena_log_open back, insisting that every line is whole, and replays it: what was
 * given out and not taken back must be what the arena says.
 */
#ifndef ARENA_TESTS_LOG_SUPPORT_H
#define ARENA_TESTS_LOG_SUPPORT_H

#include "../arena/map.h"
#include "support.h"

#include <fcntl.h>
#include <sys/resource.h>

typedef struct {
    uint64_t time;
    unsigned long process, thread;
    char operation[12], name[80];
    uintptr_t address, from;
    size_t size, usable; /* SIZE_MAX: "-" */
} entry_t;

typedef struct {
    entry_t *entries; /* by time */
    size_t count, heads, lost;
} entries_t;

typedef struct {
    size_t allocations, frees, moves, live_blocks, live_bytes;
} replayed_t;

static char log_path[64];

/* A file of its own for each test, empty. */
SUPPORT_UNUSED static const char *fresh_log(void)
{
    snprintf(log_path, sizeof log_path, "/tmp/libarena-log-XXXXXX");
    int fd = mkstemp(log_path);
    must(fd >= 0);
    close(fd);
    return log_path;
}

static size_t number_or_none(const char *text)
{
    return strcmp(text, "-") == 0 ? SIZE_MAX : (size_t)strtoull(text, NULL, 0);
}

static bool parse_entry(const char *line, entry_t *entry)
{
    unsigned long long seconds, nanoseconds;
    char address[24], size[24], usable[24], from[24];
    int fields =
        sscanf(line, "%llu.%9llu %lu %lu %11s %23s %23s %23s %23s %79[^\n]", &seconds, &nanoseconds,
               &entry->process, &entry->thread, entry->operation, address, size, usable, from, entry->name);

    entry->time = seconds * 1000000000u + nanoseconds;
    entry->address = number_or_none(address);
    entry->from = number_or_none(from);
    entry->size = number_or_none(size);
    entry->usable = number_or_none(usable);
    return fields == 10;
}

static int by_time(const void *a, const void *b)
{
    const entry_t *left = a, *right = b;

    if (left->time != right->time)
        return left->time < right->time ? -1 : 1;
    return left->process < right->process ? -1 : left->process > right->process;
}

SUPPORT_UNUSED static entries_t read_log(const char *path)
{
    entries_t log = {0};
    size_t room = 0, bytes = 0, lost;
    char *line = NULL;
    FILE *file = fopen(path, "r");

    must(file != NULL);
    while (getline(&line, &bytes, file) >= 0) {
        must(line[strlen(line) - 1] == '\n');
        if (line[0] == '#') {
            log.heads += strncmp(line, "# libarena", 10) == 0;
            log.lost += sscanf(line, "# %zu lines lost", &lost) == 1 ? lost : 0;
            continue;
        }
        if (log.count == room) {
            room = 2 * room + 100;
            must((log.entries = realloc(log.entries, room * sizeof(entry_t))) != NULL);
        }
        bool whole = parse_entry(line, &log.entries[log.count]);
        if (!whole)
            fprintf(stderr, "not whole: %s", line);
        must(whole || log.lost != 0); /* where a disk was full one line may be cut */
        log.count += whole;
    }
    free(line);
    fclose(file);
    if (log.count != 0)
        qsort(log.entries, log.count, sizeof(entry_t), by_time);
    for (size_t i = 1; i < log.count; i++)
        must(by_time(&log.entries[i - 1], &log.entries[i]) < 0); /* a time is there once in a process */
    return log;
}

SUPPORT_UNUSED static size_t count_of(const entries_t *log, const char *operation)
{
    size_t count = 0;

    for (size_t i = 0; i < log->count; i++)
        count += strcmp(log->entries[i].operation, operation) == 0;
    return count;
}

static void replay_free(map_t *live, replayed_t *done, uintptr_t address)
{
    uintptr_t *usable = map_find(live, address);

    must(usable != NULL);
    done->live_bytes -= *usable;
    done->live_blocks--;
    map_remove(live, address);
}

static void replay_alloc(map_t *live, replayed_t *done, const entry_t *entry)
{
    must(map_find(live, entry->address) == NULL);
    must(entry->usable >= entry->size && entry->usable != SIZE_MAX);
    map_add(live, entry->address, entry->usable);
    done->live_bytes += entry->usable;
    done->live_blocks++;
}

/* Of one process; 0: of all. Each free must be of what is live, with its size; no block is given out twice. */
SUPPORT_UNUSED static replayed_t replay(const entries_t *log, unsigned long process)
{
    size_t capacity = 64;
    while (capacity < 2 * log->count)
        capacity *= 2;
    map_slot_t *slots = calloc(capacity, sizeof *slots);
    must(slots != NULL);
    map_t live = map_in(slots, capacity);
    replayed_t done = {0};

    for (size_t i = 0; i < log->count; i++) {
        const entry_t *entry = &log->entries[i];
        const char *operation = entry->operation;
        if (process != 0 && entry->process != process)
            continue;
        if (strcmp(operation, "free") == 0) {
            must(map_find(&live, entry->address) != NULL &&
                 *map_find(&live, entry->address) == entry->usable);
            replay_free(&live, &done, entry->address);
            done.frees++;
        } else if (strcmp(operation, "realloc") == 0) {
            replay_free(&live, &done, entry->from);
            replay_alloc(&live, &done, entry);
            done.moves += entry->from != entry->address;
        } else if (strcmp(operation, "alloc") == 0 || strcmp(operation, "calloc") == 0 ||
                   strcmp(operation, "aligned") == 0) {
            replay_alloc(&live, &done, entry);
            done.allocations++;
        }
    }
    free(slots);
    return done;
}

SUPPORT_UNUSED static void end_log(entries_t *log)
{
    free(log->entries);
    unlink(log_path);
}

#endif
