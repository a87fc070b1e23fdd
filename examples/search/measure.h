/*
 * measure.h: figures taken from an index as it stands, once it is built, and from the process and its
 * arenas.
 */
#ifndef MEASURE_H
#define MEASURE_H

#include "index.h"
#include "report.h"

/* Files by outcome, text and words; the time of the build has to be among the figures. */
void measure_documents(const index_t *index, double *figures);

/*
 * Terms, postings, and the checksum of the index: the same whatever the order of shards, terms and threads.
 * The postings of a term are in order by now.
 */
void measure_index(const index_t *index, report_t *report);

/* The sum over the arenas of the index, which are all there are between files and queries. */
void measure_arenas(double *figures);

void measure_usage(double *figures);

#endif
