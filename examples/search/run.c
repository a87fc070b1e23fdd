/*
 * run.c: the steps of a run, each with its time and what memory is left in use by it: list, build, sort,
 * trim; look; queries; drop.
 */
#include "run.h"

#include "build.h"
#include "measure.h"
#include "process.h"
#include "query.h"
#include "report.h"
#include "settings.h"

#include <stdio.h>
#include <unistd.h>

enum { MAX_DROP_LINES = 16 }; /* arenas reported one by one when they are dropped */

static bool run_build(index_t *index, char **paths, int count, double *figures)
{
    double begin = process_now();
    if (!corpus_list(&index->corpus, paths, count))
        return false;
    figures[FIGURE_LIST_SECONDS] = process_now() - begin;

    begin = process_now();
    bool good = index_create(index) && build_files(index);
    figures[FIGURE_BUILD_SECONDS] = process_now() - begin;

    begin = process_now();
    good = good && build_sort(index);
    figures[FIGURE_SORT_SECONDS] = process_now() - begin;
    figures[FIGURE_RSS_BUILT] = process_status_bytes("VmRSS");

    begin = process_now(); /* from here on the index does not change */
    process_trim();
    figures[FIGURE_TRIM_SECONDS] = process_now() - begin;
    figures[FIGURE_RSS_SETTLED] = process_status_bytes("VmRSS");
    if (!good)
        fprintf(stderr, "index: out of memory after %zu of %zu files\n", atomic_load(&index->files_done),
                index->corpus.count);
    return good;
}

/* Figures of the index as it stands, and arena_check() of each arena if wanted. */
static bool run_look(index_t *index, report_t *report)
{
    measure_documents(index, report->figures);
    measure_index(index, report);
    measure_arenas(report->figures);
    for (size_t i = 0; settings.check && !settings.use_malloc && i < index->shard_count; i++) {
        if (arena_check(index->shards[i].heap.arena) == 0)
            continue;
        fprintf(stderr, "index: the arena of shard %zu is broken\n", i);
        return false;
    }
    return true;
}

static bool run_queries(index_t *index, report_t *report)
{
    query_t query;
    for (size_t i = 0; i < settings.query_count; i++) {
        double begin = process_now();
        if (!query_answer(index, settings.queries[i], &query))
            return false;
        query_print(index, settings.queries[i], &query, process_now() - begin);
        report->answer_sum = query_sum(report->answer_sum, &query);
    }
    double begin = process_now();
    for (int round = 0; round < settings.rounds; round++) {
        for (size_t i = 0; i < settings.query_count; i++) {
            if (!query_answer(index, settings.queries[i], &query))
                return false;
        }
    }
    report->figures[FIGURE_QUERY_SECONDS] =
        (process_now() - begin) / settings.rounds / (double)settings.query_count;
    return true;
}

static void drop_shard(index_t *index, size_t number, double *figures)
{
    arena_stats_t stats = {.mapped_bytes = 0};
    if (!settings.use_malloc)
        arena_stats(index->shards[number].heap.arena, &stats, sizeof stats);
    double begin = process_now();
    shard_drop(&index->shards[number]);
    double seconds = process_now() - begin;
    figures[FIGURE_DROP_SECONDS] += seconds;
    if (settings.quiet || index->shard_count > MAX_DROP_LINES)
        return;
    printf("shard %2zu", number);
    if (!settings.use_malloc)
        printf(": %8zu blocks, %6.1f of %6.1f MB live", stats.live_blocks, (double)stats.live_bytes / MEGA,
               (double)stats.mapped_bytes / MEGA);
    printf("; dropped in %6.0f us, RSS now %6.1f MB\n", 1e6 * seconds, process_status_bytes("VmRSS") / MEGA);
}

static void run_drop(index_t *index, double *figures)
{
    if (!settings.quiet)
        printf("\n");
    for (size_t i = 0; i < index->shard_count; i++) {
        drop_shard(index, i, figures);
    }
    double begin = process_now();
    corpus_drop(&index->corpus);
    figures[FIGURE_DROP_SECONDS] += process_now() - begin;
    figures[FIGURE_RSS_DROPPED] = process_status_bytes("VmRSS");

    arena_stats_t stats;
    arena_stats(NULL, &stats, sizeof stats);
    figures[FIGURE_MAPPED_DROPPED] = settings.use_malloc ? -1 : (double)stats.mapped_bytes;
    process_trim();
    figures[FIGURE_RSS_TRIMMED] = process_status_bytes("VmRSS");
}

/* The index from its first file to its last free; false after a message. */
static bool run(char **paths, int count, report_t *report)
{
    static index_t index;
    *report = (report_t){.index_sum = 0};
    report->figures[FIGURE_RSS_START] = process_status_bytes("VmRSS");
    bool good = run_build(&index, paths, count, report->figures) && run_look(&index, report);
    if (good && !run_queries(&index, report)) {
        fprintf(stderr, "index: out of memory while answering\n");
        good = false;
    }
    run_drop(&index, report->figures);
    measure_usage(report->figures);
    return good;
}

bool run_once(char **paths, int count)
{
    report_t report;
    if (!run(paths, count, &report))
        return false;
    if (settings.report_descriptor >= 0)
        return write(settings.report_descriptor, &report, sizeof report) == (ssize_t)sizeof report;
    if (settings.json) {
        report_print_json(settings.use_malloc ? "malloc" : "arena", &report);
        printf("\n");
    } else {
        report_print(&report);
    }
    return true;
}
