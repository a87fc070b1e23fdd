/*
 * report.c: a line for each figure, from one table of labels, JSON keys and units.
 * All of it goes to standard output.
 */
#include "report.h"

#include "process.h"

#include <stdio.h>

static const struct {
    const char *label, *key;
    double unit;
    int decimals;
} figure_table[FIGURE_COUNT] = {
    [FIGURE_FILES] = {"files found", "files", 1, 0},
    [FIGURE_INDEXED] = {"  indexed", "indexed", 1, 0},
    [FIGURE_BINARY] = {"  binary, skipped", "binary", 1, 0},
    [FIGURE_TOO_LARGE] = {"  too large, skipped", "too_large", 1, 0},
    [FIGURE_UNREADABLE] = {"  unreadable", "unreadable", 1, 0},
    [FIGURE_TEXT_BYTES] = {"text, MB", "text_bytes", MEGA, 1},
    [FIGURE_WORDS] = {"words, million", "words", MEGA, 2},
    [FIGURE_TERMS] = {"distinct terms", "terms", 1, 0},
    [FIGURE_POSTINGS] = {"postings, million", "postings", MEGA, 2},
    [FIGURE_LIST_SECONDS] = {"list files, s", "list_seconds", 1, 3},
    [FIGURE_BUILD_SECONDS] = {"build, s", "build_seconds", 1, 3},
    [FIGURE_SORT_SECONDS] = {"sort and shrink, s", "sort_seconds", 1, 3},
    [FIGURE_TRIM_SECONDS] = {"trim the index, s", "trim_seconds", 1, 3},
    [FIGURE_BUILD_RATE] = {"build, MB/s", "build_bytes_per_second", MEGA, 1},
    [FIGURE_QUERY_SECONDS] = {"a query, us", "query_seconds", 1e-6, 1},
    [FIGURE_DROP_SECONDS] = {"drop everything, s", "drop_seconds", 1, 4},
    [FIGURE_USER_SECONDS] = {"user CPU, s", "user_seconds", 1, 2},
    [FIGURE_SYSTEM_SECONDS] = {"system CPU, s", "system_seconds", 1, 2},
    [FIGURE_FAULTS] = {"page faults", "faults", 1, 0},
    [FIGURE_RSS_START] = {"RSS at start, MB", "rss_start_bytes", MEGA, 1},
    [FIGURE_RSS_BUILT] = {"RSS of the index, MB", "rss_built_bytes", MEGA, 1},
    [FIGURE_RSS_SETTLED] = {"  when trimmed, MB", "rss_settled_bytes", MEGA, 1},
    [FIGURE_RSS_PEAK] = {"RSS at peak, MB", "rss_peak_bytes", MEGA, 1},
    [FIGURE_RSS_DROPPED] = {"RSS after the drop, MB", "rss_dropped_bytes", MEGA, 1},
    [FIGURE_RSS_TRIMMED] = {"  when trimmed, MB", "rss_trimmed_bytes", MEGA, 1},
    [FIGURE_MAPPED_BUILT] = {"arenas of the index, MB", "mapped_built_bytes", MEGA, 1},
    [FIGURE_RESIDENT_BUILT] = {"  resident, MB", "resident_built_bytes", MEGA, 1},
    [FIGURE_LIVE_BUILT] = {"  live, MB", "live_built_bytes", MEGA, 1},
    [FIGURE_MAPPED_PEAK] = {"arenas at peak, MB", "mapped_peak_bytes", MEGA, 1},
    [FIGURE_MAPPED_DROPPED] = {"arenas after the drop, MB", "mapped_dropped_bytes", MEGA, 1},
};

static void print_value(double value, int figure, int width)
{
    if (value < 0)
        printf("%*s", width, "-");
    else
        printf("%*.*f", width, figure_table[figure].decimals, value / figure_table[figure].unit);
}

void report_print(const report_t *report)
{
    printf("\n");
    for (int i = 0; i < FIGURE_COUNT; i++) {
        printf("%-28s", figure_table[i].label);
        print_value(report->figures[i], i, 14);
        printf("\n");
    }
    printf("checksums: index %016llx, answers %016llx\n", (unsigned long long)report->index_sum,
           (unsigned long long)report->answer_sum);
}

void report_print_json(const char *mode, const report_t *report)
{
    printf("{\"mode\": \"%s\"", mode);
    for (int i = 0; i < FIGURE_COUNT; i++) {
        if (report->figures[i] >= 0)
            printf(", \"%s\": %.9g", figure_table[i].key, report->figures[i]);
    }
    printf(", \"index_sum\": \"%016llx\", \"answer_sum\": \"%016llx\"}",
           (unsigned long long)report->index_sum, (unsigned long long)report->answer_sum);
}

void report_print_comparison(const report_t *arena, const report_t *library)
{
    printf("\n%-28s%14s%14s%9s\n", "", "libarena", "malloc", "ratio");
    for (int i = 0; i < FIGURE_COUNT; i++) {
        double left = arena->figures[i], right = library->figures[i];
        printf("%-28s", figure_table[i].label);
        print_value(left, i, 14);
        print_value(right, i, 14);
        if (i >= FIGURE_LIST_SECONDS && left >= 0 && right > 0)
            printf("%9.2f", left / right);
        printf("\n");
    }
}
