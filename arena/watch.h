/*
 * watch.h: what an arena can be told to show: its log, scribbling over blocks that come and go, and a report of
 * blocks that were lost. An arena that logs or scribbles has no thread caches, so that every call comes by the
 * functions here; the fast path knows nothing of it.
 *
 * The preload library calls, on an arena of its own, before or after its first allocation and beside other
 * threads: arena_log_open (of the public header), watch_switch for ARENA_SCRIBBLE and ARENA_LEAKS, and at exit
 * watch_report_leaks. A call that is under way when something is switched may not be seen any more, or not yet.
 * Logs are flushed at exit by themselves.
 */
#ifndef ARENA_WATCH_H
#define ARENA_WATCH_H

#include "log.h"

enum {
    WATCH_LOG = 1,
    WATCH_SCRIBBLE = 2,
    WATCH_LEAKS = 4,                              /* at destroy */
    WATCH_EACH_CALL = WATCH_LOG | WATCH_SCRIBBLE, /* those that every allocation and free must see */
    WATCH_UNALIGNED = 8,  /* memory came unaligned: no caches, as no slab can be there to fill them from */
    FRESH_BYTE = 0xaa,    /* new blocks */
    RELEASED_BYTE = 0x55, /* freed ones: the other bits, so that one is never taken for the other */
};

/* WATCH_* now; relaxed: see above. */
INLINE unsigned watch_of(const arena_t *arena)
{
    return atomic_load_explicit(&arena->watch, memory_order_relaxed);
}

/* Whether allocating calls go by the functions below. */
INLINE bool watch_each_call(const arena_t *arena)
{
    return (watch_of(arena) & WATCH_EACH_CALL) != 0;
}

/* Switches WATCH_SCRIBBLE, WATCH_LEAKS or WATCH_UNALIGNED, or several. Takes the arena's caches away or gives them back. */
HIDDEN void watch_switch(arena_t *arena, unsigned bits, bool on);

/* Writes a line on `fd` for each block that is live, then the totals; nothing if there is none. No lock held; other
 * threads may use the arena. */
HIDDEN void watch_report_leaks(arena_t *arena, int fd);

/* The arena goes: reports leaks, closes the log. Caller holds no lock, no one uses the arena. */
HIDDEN void watch_destroy(arena_t *arena);

/* --- from the allocating calls, only if watch_each_call() --- */

/* A block was made; one that is to be zero stays so. NULL passes. Returns the block. */
HIDDEN void *watch_new(arena_t *arena, void *block, size_t size, log_operation_t operation);

/* It is about to be freed. Misuse is reported here. */
HIDDEN void watch_free(arena_t *arena, void *block);

/* A reallocation: before the tail is given up, when the new block has the contents and the old one is about to go,
 * and when it is done. `when`: drawn at the moment that counts, or 0: now. */
HIDDEN void watch_shrink(arena_t *arena, void *block, size_t size, size_t usable);
HIDDEN void watch_leave(arena_t *arena, void *block, size_t usable);
HIDDEN void watch_resized(arena_t *arena, const void *block, size_t usable, void *resized, size_t size,
                          uint64_t when);

/* --- from regions --- */

/* Something happened to [address, address + bytes). */
INLINE void watch_span(arena_t *arena, log_operation_t operation, const void *address, size_t bytes)
{
    if (UNLIKELY((watch_of(arena) & WATCH_LOG) != 0)) {
        log_add(arena, &(log_line_t){operation, address, bytes, LOG_NONE, NULL, NULL, 0});
    }
}

#endif
