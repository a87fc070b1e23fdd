/* rungs.h: the rungs of the ladder in one table, and behind them libarena and the C library's malloc. */
#ifndef RUNGS_H
#define RUNGS_H

#include "heapmgr.h"

typedef struct {
    const char *name;                            /* "3b": for narrow columns */
    const char *title;                           /* "unsorted list" */
    const char *space, *malloc_time, *free_time; /* what the lecture's table says; NULL: it says nothing */
    void *(*malloc)(size_t bytes);
    void (*free)(void *block);
    const char *(*check)(const void *block); /* NULL: none */
    void (*walk)(HeapMgr_visit visit, void *context);
} rung_t;

enum { RUNGS = 9, ALLOCATORS = 11 }; /* the rungs come first */

extern const rung_t rungs[ALLOCATORS];

#endif
