/*
 * settings.h: what the environment asks of the preload library. One table of variables, in settings.c; the
 * manual has the same table in words.
 *
 * Read once, before the first allocation, by secure_getenv: a process with raised privileges sees none.
 * What is unknown or malformed is reported in one line on stderr and ignored. No allocation, no stdio.
 */
#ifndef ARENA_SETTINGS_H
#define ARENA_SETTINGS_H

#include "../arena/heap.h"

typedef enum { STATS_NONE, STATS_TEXT, STATS_JSON } stats_format_t;

typedef struct {
    arena_fit_t fit;
    size_t limit_bytes;
    size_t trim_threshold_bytes;
    size_t purge_delay_ms;
    size_t arenas; /* most that threads spread over; 0: as many as there are CPUs */
    stats_format_t stats;
    const char *stats_file; /* NULL: stderr */
    int report_fd;          /* a duplicate of stderr, which programs close before they exit; -1: none */
    bool check;             /* every invariant at exit */
    bool checked, no_cache, no_slabs, huge_pages;
    bool membarrier;
    bool deepbind;     /* dlopen keeps RTLD_DEEPBIND */
    const char *log;   /* path of the log, or NULL */
    const char *print; /* path of what the heap holds at exit, or NULL */
    bool scribble, leaks;
} settings_t;

/* Defaults until settings_read. */
extern HIDDEN settings_t settings;

/* Caller is the first that allocates; a second call changes nothing. */
HIDDEN void settings_read(void);

/* One line on stderr. */
HIDDEN void settings_complain(const char *name, const char *what);

/* Where to report at exit: report_fd if it still is what it was, or stderr. */
HIDDEN int settings_report_fd(void);

#endif
