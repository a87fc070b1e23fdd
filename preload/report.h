/* report.h: what is reported at exit, and the text forms of statistics. */
#ifndef ARENA_REPORT_H
#define ARENA_REPORT_H

#include "../arena/heap.h"

/* Writes the process's figures to a descriptor, as lines of text or as one JSON object. No allocation. */
HIDDEN void report_stats(int fd, bool json);

#endif
