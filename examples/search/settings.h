/*
 * settings.h: what the command line says. Every layer reads it; only settings_parse() writes it, before any
 * thread starts.
 */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

enum { MAX_THREADS = 256, MAX_QUERIES = 64 };

typedef struct {
    int threads, rounds;
    int report_descriptor; /* where a run that is compared writes its report; else -1 */
    bool use_malloc, one_mode, quiet, json, check;
    size_t limit_bytes; /* of each arena; 0: none */
    const char *queries[MAX_QUERIES];
    size_t query_count;
} settings_t;

extern settings_t settings;
extern const char settings_help[];

/* Leaves the paths at optind; false if an option is not one of ours. --help ends the program. */
bool settings_parse(int argc, char **argv);

#endif
