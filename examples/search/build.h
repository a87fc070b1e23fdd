/*
 * build.h: the threads that build an index, settings.threads of them, or as many as there can be.
 * What they cannot read is said on standard error and counted.
 */
#ifndef BUILD_H
#define BUILD_H

#include "index.h"

#include <stdbool.h>

/* All files into the shards; false if there is no memory, or no thread. */
bool build_files(index_t *index);

/* All postings into order, when the files are done; false if there is no thread. */
bool build_sort(index_t *index);

#endif
