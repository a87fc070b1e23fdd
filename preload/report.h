/* report.h: what is reported at exit, and the text forms of statistics. */
#ifndef ARENA_REPORT_H
#define ARENA_REPORT_H

#include "../arena/heap.h"

/* Writes the process's figures to a descriptor, as lines of text or as one JSON object; what is resident is
 * asked of the kernel, by mincore, only if `resident`. No allocation. */
HIDDEN void report_stats(int fd, bool json, bool resident);

/* What the environment asked for. Other threads may go on allocating meanwhile. */
HIDDEN void report_at_exit(void);

#endif
