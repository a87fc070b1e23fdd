/*
 * report.h: the figures of a run, as a table, as JSON, or beside those of the other mode.
 * Where they come from is not known here.
 */
#ifndef REPORT_H
#define REPORT_H

#include <stdint.h>

typedef enum {
    FIGURE_FILES,
    FIGURE_INDEXED,
    FIGURE_BINARY,
    FIGURE_TOO_LARGE,
    FIGURE_UNREADABLE,
    FIGURE_TEXT_BYTES,
    FIGURE_WORDS,
    FIGURE_TERMS,
    FIGURE_POSTINGS,
    FIGURE_LIST_SECONDS,
    FIGURE_BUILD_SECONDS,
    FIGURE_SORT_SECONDS,
    FIGURE_TRIM_SECONDS,
    FIGURE_BUILD_RATE,
    FIGURE_QUERY_SECONDS,
    FIGURE_DROP_SECONDS,
    FIGURE_USER_SECONDS,
    FIGURE_SYSTEM_SECONDS,
    FIGURE_FAULTS,
    FIGURE_RSS_START,
    FIGURE_RSS_BUILT,
    FIGURE_RSS_SETTLED,
    FIGURE_RSS_PEAK,
    FIGURE_RSS_DROPPED,
    FIGURE_RSS_TRIMMED,
    FIGURE_MAPPED_BUILT,
    FIGURE_RESIDENT_BUILT,
    FIGURE_LIVE_BUILT,
    FIGURE_MAPPED_PEAK,
    FIGURE_MAPPED_DROPPED,
    FIGURE_COUNT
} figure_t;

/* What a run hands to the run that compares. A figure below 0 does not exist in its mode. */
typedef struct {
    double figures[FIGURE_COUNT];
    uint64_t index_sum, answer_sum;
} report_t;

void report_print(const report_t *report);
void report_print_json(const char *mode, const report_t *report);
void report_print_comparison(const report_t *arena, const report_t *library);

#endif
