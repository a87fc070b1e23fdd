/* rangecheck.h: the numbers of a range arena's invariants, as arena/README.md lists them. */
#ifndef ARENA_RANGECHECK_H
#define ARENA_RANGECHECK_H

enum {
    INVARIANT_RANGE_MAP = 21,
    INVARIANT_RANGE_MERGED,
    INVARIANT_RANGE_RUNS,
    INVARIANT_RANGE_BINS,
    INVARIANT_RANGE_TOTALS,
    INVARIANT_RANGE_PAGES,
    INVARIANT_RANGE_TAIL
};

#endif
