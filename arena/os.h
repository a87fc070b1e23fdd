/*
 * os.h: what the kernel does for us. Stateless but for the page size and what membarrier can do; no locks.
 *
 * Lengths need not be multiples of the page; the kernel rounds. All functions are thread-safe, return NULL
 * or false when they fail, and leave errno as it was.
 */
#ifndef ARENA_OS_H
#define ARENA_OS_H

#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    bool prefault;
    bool huge_pages;
} os_map_options_t;

/* Asked of the kernel once; 4,096 to 65,536 and a power of two. */
HIDDEN size_t os_page_bytes(void);

/* Fresh zero pages at a multiple of `alignment` (a power of two), or NULL. */
HIDDEN void *os_map(size_t bytes, size_t alignment, os_map_options_t options);

/* False: the range stays mapped. */
HIDDEN bool os_unmap(void *start, size_t bytes);

/* Drops the contents; they read as zero afterwards. False: nothing happened (locked pages, say). */
HIDDEN bool os_purge(void *start, size_t bytes);

/* Makes a mapping of os_map longer or shorter where it lies; false: unchanged. */
HIDDEN bool os_resize(void *start, size_t bytes, size_t new_bytes);

/* Moves a mapping's pages onto one of `new_bytes` at `target`, which they replace; false: both unchanged. */
HIDDEN bool os_move(void *start, size_t bytes, void *target, size_t new_bytes);

/* The break. os_break_move returns where it was, or NULL if it did not move. */
HIDDEN void *os_break(void);
HIDDEN void *os_break_move(intptr_t bytes);

/* Of [start, start + bytes), the bytes in memory. */
HIDDEN size_t os_resident(void *start, size_t bytes);

/* Milliseconds of a coarse clock that never goes back. */
HIDDEN uint64_t os_now_ms(void);

/* Nanoseconds of the time of day. */
HIDDEN uint64_t os_now_ns(void);

/* What tools call this process and this thread. */
HIDDEN uint64_t os_process_id(void);
HIDDEN uint64_t os_thread_id(void);

/* Makes os_barrier_register fail: the user wants no such system call. Before the first arena. */
HIDDEN void os_barrier_forbid(void);

/* Registers for os_barrier_all; false: the kernel cannot, and never will for this process. */
HIDDEN bool os_barrier_register(void);

/* Every running thread of the process passes a full memory barrier before it returns; false: it failed. */
HIDDEN bool os_barrier_all(void);

HIDDEN void os_sleep_us(unsigned microseconds);

#endif
