/*
 * measure.c: goes over the whole index for its sums, and asks arena_stats() and the kernel for the rest.
 * Figures that a mode does not have are set below 0.
 */
#include "measure.h"

#include "cursor.h"
#include "hash.h"
#include "process.h"
#include "settings.h"

#include <sys/resource.h>

void measure_documents(const index_t *index, double *figures)
{
    static const figure_t figure_of[FILE_OUTCOMES] = {[FILE_WAITS] = FIGURE_UNREADABLE,
                                                      [FILE_INDEXED] = FIGURE_INDEXED,
                                                      [FILE_BINARY] = FIGURE_BINARY,
                                                      [FILE_TOO_LARGE] = FIGURE_TOO_LARGE,
                                                      [FILE_UNREADABLE] = FIGURE_UNREADABLE};
    figures[FIGURE_FILES] = (double)index->corpus.count;
    figures[FIGURE_UNREADABLE] = (double)index->corpus.unreadable;
    for (size_t i = 0; i < index->corpus.count; i++) {
        const document_t *document = &index->corpus.documents[i];
        figures[figure_of[document->outcome]]++;
        if (document->outcome != FILE_INDEXED)
            continue;
        figures[FIGURE_TEXT_BYTES] += (double)document->bytes;
        figures[FIGURE_WORDS] += (double)document->words;
    }
    figures[FIGURE_BUILD_RATE] = figures[FIGURE_TEXT_BYTES] / figures[FIGURE_BUILD_SECONDS];
}

static uint64_t sum_term(const term_t *term, uint64_t hash)
{
    uint64_t sum = hash;
    for (size_t i = 0; i < term->count; i++) {
        cursor_t cursor = {.term = term, .at = i};
        cursor_open_positions(&cursor);
        sum = hash_mix(sum ^ term->postings[i].document);
        while (cursor_next_position(&cursor)) {
            sum = (sum ^ cursor.position) * 0x9e3779b97f4a7c15u;
        }
    }
    return hash_mix(sum);
}

void measure_index(const index_t *index, report_t *report)
{
    for (size_t s = 0; s < index->shard_count; s++) {
        const shard_t *shard = &index->shards[s];
        for (size_t i = 0; i < shard->slot_count; i++) {
            if (shard->slots[i].term == NULL)
                continue;
            report->index_sum += sum_term(shard->slots[i].term, shard->slots[i].hash);
            report->figures[FIGURE_POSTINGS] += (double)shard->slots[i].term->count;
        }
        report->figures[FIGURE_TERMS] += (double)shard->term_count;
    }
}

void measure_arenas(double *figures)
{
    arena_stats_t stats;
    arena_stats(NULL, &stats, sizeof stats);
    figures[FIGURE_MAPPED_BUILT] = settings.use_malloc ? -1 : (double)stats.mapped_bytes;
    figures[FIGURE_RESIDENT_BUILT] = settings.use_malloc ? -1 : (double)stats.resident_bytes;
    figures[FIGURE_LIVE_BUILT] = settings.use_malloc ? -1 : (double)stats.live_bytes;
    figures[FIGURE_MAPPED_PEAK] = settings.use_malloc ? -1 : (double)stats.peak_mapped_bytes;
}

void measure_usage(double *figures)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    figures[FIGURE_USER_SECONDS] = (double)usage.ru_utime.tv_sec + 1e-6 * (double)usage.ru_utime.tv_usec;
    figures[FIGURE_SYSTEM_SECONDS] = (double)usage.ru_stime.tv_sec + 1e-6 * (double)usage.ru_stime.tv_usec;
    figures[FIGURE_FAULTS] = (double)usage.ru_minflt;
    figures[FIGURE_RSS_PEAK] = process_status_bytes("VmHWM");
}
