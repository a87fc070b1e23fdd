/*
 * log.h: the log of an arena: a line in a file for each operation. Formats and buffers; what is worth a line is
 * the callers' affair (watch.h).
 *
 * Threads write into buffers of their own, as long as there are no more than LOG_BUFFERS of them: the lines of one
 * buffer are in order, those of different ones are not, so each has a time that no other line of the process has,
 * drawn while no other thread can have the block. Sorted by it, the log is the order of events.
 * A line is written whole. Buffers go to the file when they are full, at close, at exit, and before an abort of
 * ours; from exit on line by line. A fork takes no lock here: what is in the buffers is the parent's, who
 * will write it, so the child drops its copy, whatever state another thread left it in. Between the handlers of
 * fork the forking thread writes line by line, past the buffers.
 * The file is written under a lock, never while it is another one: a program may have closed our descriptor.
 */
#ifndef ARENA_LOG_H
#define ARENA_LOG_H

#include "heap.h"

typedef enum {
    LOG_ALLOC,
    LOG_CALLOC,
    LOG_ALIGNED,
    LOG_REALLOC,
    LOG_FREE,
    LOG_NAME,
    LOG_GROW,  /* address space for regions */
    LOG_TRIM,  /* and its way back */
    LOG_PURGE, /* contents dropped, address space kept */
    LOG_RESET,
    LOG_DESTROY
} log_operation_t;

#define LOG_NONE SIZE_MAX /* a size that an operation does not have */

typedef struct {
    log_operation_t operation;
    const void *address;
    size_t size, usable; /* asked for; usable bytes of the block, or LOG_NONE */
    const void *from;    /* LOG_REALLOC: where it was; else NULL */
    const char *name;    /* or NULL */
    uint64_t time;       /* from log_now; 0: as of the call */
} log_line_t;

/* A time of day in ns, later than any that was drawn in this process. */
HIDDEN uint64_t log_now(void);

/* A descriptor that appends to `path`, or -1 with open's errno. No lock held: it may take its time. */
HIDDEN int log_open_file(const char *path);

/* The descriptor is the log's from here on. False with errno EBUSY (one is open) or ENOMEM. Caller holds the
 * registry lock. */
HIDDEN bool log_open(arena_t *arena, int fd);

/* False: none is open (EINVAL), or lines were lost (EIO). */
HIDDEN bool log_close(arena_t *arena);

/* The arena goes: closes, and gives the memory up. No one uses the arena. Caller holds the registry lock. */
HIDDEN void log_destroy(arena_t *arena);

/* May be called under any lock of an arena. Nothing if no log is open. */
HIDDEN void log_add(arena_t *arena, const log_line_t *line);

/* Writes what all buffers hold. No lock of rank log or later is held. */
HIDDEN void log_flush_all(void);

/* The same when the process ends here and any lock may be held: passes over those, and leaves the others locked. */
HIDDEN void log_flush_at_end(void);

/* fork.c only, in the child, registry lock held. */
HIDDEN void log_fork_child(void);

#endif
