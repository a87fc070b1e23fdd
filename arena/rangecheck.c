/*
 * rangecheck.c: walk, check and figures of a range arena. The walk holds the lock for a batch at a time and goes on
 * by address, so that it needs no memory and its visitor may do anything. Breaks are collected under the lock and
 * reported without it.
 */
#include "rangecheck.h"

#include "check.h"
#include "range.h"
#include "rangemap.h"
#include "rangemeta.h"

#include <errno.h>
#include <string.h>

enum { BATCH = 64, REPORTS = 8 };

typedef struct {
    uint64_t start, end;
    range_mark_t mark;
} span_t;

/* The first block or free run at `from` or behind; false: none. */
static bool next_span(const arena_range_t *range, uint64_t from, span_t *span)
{
    uint64_t start = from;
    if (rangemap_get(range, from) == RANGE_INSIDE || rangemap_get(range, from) == RANGE_HOLE) {
        start = rangemap_next(range, from);
        if (start != RANGE_NOWHERE && rangemap_get(range, start) == RANGE_HOLE) {
            start = rangemap_next(range, start);
        }
    }
    *span = (span_t){start, RANGE_NOWHERE, RANGE_HOLE};
    if (start != RANGE_NOWHERE) {
        span->mark = rangemap_get(range, start);
        span->end = rangemap_next(range, start);
    }
    return span->mark != RANGE_HOLE && span->end != RANGE_NOWHERE;
}

/* Pages of a given range that are not open yet are free as well. What lies between other areas is nobody's. */
static bool is_closed(const arena_range_t *range, uint64_t at)
{
    return range->source == ARENA_RANGE_GIVEN && at < range->limit && rangemap_in_hole(range, at);
}

/* What begins at `from` or behind, closed pages among it; false: nothing. */
static bool next_piece(const arena_range_t *range, uint64_t from, span_t *span)
{
    uint64_t next = rangemap_next(range, from);
    if (rangemap_get(range, from) == RANGE_INSIDE && !rangemap_in_hole(range, from)) {
        from = next; /* it began before */
        next = rangemap_next(range, from);
    }
    if (is_closed(range, from)) {
        *span = (span_t){from, next < range->limit ? next : range->limit, RANGE_FREE};
        return true;
    }
    return next_span(range, from, span);
}

/* Fills `blocks` from *cursor on and moves it; 0 at the end. */
static size_t take_batch(const arena_range_t *range, uint64_t *cursor, arena_range_block_t *blocks)
{
    size_t count = 0;
    span_t span;
    while (count < BATCH && next_piece(range, *cursor, &span)) {
        *cursor = span.end;
        if (span.mark == RANGE_FREE || !rangemeta_owns(range, span.start)) {
            blocks[count++] =
                (arena_range_block_t){.address = range_address(range, span.start),
                                      .bytes = (span.end - span.start) << range->quantum_log2,
                                      .state = span.mark == RANGE_FREE ? ARENA_BLOCK_FREE : ARENA_BLOCK_LIVE};
        }
    }
    return count;
}

int arena_range_walk(arena_range_t *range, arena_range_visit_fn visit, void *context)
{
    if (range == NULL || visit == NULL) {
        errno = EINVAL;
        return -1;
    }
    arena_range_block_t blocks[BATCH];
    uint64_t cursor = 0;
    for (;;) {
        lock_acquire(&range->lock);
        size_t count = take_batch(range, &cursor, blocks);
        lock_release(&range->lock);
        for (size_t i = 0; i < count; i++) {
            int answer = visit(context, &blocks[i]);
            if (answer != 0) {
                return answer;
            }
        }
        if (count == 0) {
            return 0;
        }
    }
}

void arena_range_stats(arena_range_t *range, arena_range_stats_t *stats, size_t struct_bytes)
{
    arena_range_stats_t all = {0};
    memset(stats, 0, struct_bytes);
    if (range == NULL) {
        errno = EINVAL;
        return;
    }
    lock_acquire(&range->lock);
    const range_totals_t *totals = &range->totals;
    bool given = range->source == ARENA_RANGE_GIVEN;
    unsigned log2 = range->quantum_log2;
    uint64_t held = given ? range->limit : totals->mapped, largest = rangebin_largest(range);
    uint64_t unopened = given ? range->limit - range->end : 0;
    unopened = range_in_pages(range) && unopened > range->page ? range->page : unopened;
    all.held_bytes = held << log2;
    all.live_bytes = totals->live << log2;
    all.free_bytes = (held - totals->live - totals->inside) << log2;
    all.largest_free_bytes = (largest > unopened ? largest : unopened) << log2;
    all.peak_held_bytes = (given ? held : totals->peak) << log2;
    all.metadata_bytes = range->inside ? totals->inside << log2 : range->meta.bytes + sizeof *range;
    all.live_blocks = totals->live_blocks;
    all.free_runs = totals->free_runs + totals->strays + range->gaps;
    all.allocations = totals->allocations;
    all.frees = totals->frees;
    all.kernel_calls = totals->kernel_calls;
    all.lock_waits = range->lock.waits;
    lock_release(&range->lock);
    memcpy(stats, &all, min_size(struct_bytes, sizeof all));
}

typedef struct {
    const arena_range_t *range;
    int broken; /* in all */
    struct {
        int number;
        uint64_t address;
    } reports[REPORTS];
    /* sums of what was met */
    uint64_t mapped, live, inside, live_blocks, described, strays, gaps;
    uint64_t first_gap;          /* RANGE_NOWHERE: there is none */
    uint64_t in_bin[RANGE_BINS]; /* of `described`, those that belong there */
} findings_t;

static void require(findings_t *findings, bool holds, int number, uint64_t index)
{
    if (holds) {
        return;
    }
    if (findings->broken < REPORTS) {
        findings->reports[findings->broken].number = number;
        findings->reports[findings->broken].address = range_address(findings->range, index);
    }
    findings->broken++;
}

/* So that a walk round the ring comes back; what is in a bin has both. */
static bool is_linked(const range_run_t *run)
{
    return run->next != NULL && run->previous != NULL && run->next->previous == run &&
           run->previous->next == run;
}

static void check_free(findings_t *findings, span_t span, const span_t *before)
{
    const arena_range_t *range = findings->range;
    range_run_t *run = rangemap_run(range, span.start);
    require(findings, run == NULL || run->count == span.end - span.start, INVARIANT_RANGE_RUNS, span.start);
    if (run == NULL) {
        findings->strays++;
        return;
    }
    findings->described++;
    findings->in_bin[rangebin_index(span.end - span.start)]++;
    require(findings, is_linked(run), INVARIANT_RANGE_BINS, span.start);
    bool adjoins = before->mark == RANGE_FREE && before->end == span.start;
    range_run_t *left = adjoins ? rangemap_run(range, before->start) : NULL;
    require(findings,
            left == NULL || !range_may_merge(range, span.start) || left->wait_next != NULL ||
                run->wait_next != NULL,
            INVARIANT_RANGE_MERGED, span.start);
}

static void check_block(findings_t *findings, span_t span)
{
    const arena_range_t *range = findings->range;
    if (rangemeta_owns(range, span.start)) {
        findings->inside += span.end - span.start;
        return;
    }
    findings->live += span.end - span.start;
    findings->live_blocks++;
    require(findings, range->source != ARENA_RANGE_SBRK || span.end <= range->tail, INVARIANT_RANGE_TAIL,
            span.start);
}

/* What lies just below the tail is a block of the application, the range itself, or nothing of ours. */
static void check_tail(findings_t *findings)
{
    const arena_range_t *range = findings->range;
    uint64_t below = range->tail == 0 ? RANGE_NOWHERE : rangemap_last(range, range->tail - 1);
    bool used = below == RANGE_NOWHERE || rangemap_get(range, below) == RANGE_HOLE ||
                (rangemap_get(range, below) == RANGE_BLOCK && (below == 0 || !rangemeta_owns(range, below)));
    require(findings, used && range->tail <= range->end, INVARIANT_RANGE_TAIL, range->tail);
}

/* Of a given range what is not open yet, if `from` is not `to`. */
static void note_gap(findings_t *findings, uint64_t from, uint64_t to)
{
    if (findings->range->source == ARENA_RANGE_GIVEN && from != to) {
        findings->gaps++;
        findings->first_gap = from < findings->first_gap ? from : findings->first_gap;
    }
}

/* Every mark once, in order; what `use without start` says is that nothing goes on there. */
static void check_spans(findings_t *findings)
{
    const arena_range_t *range = findings->range;
    span_t span, before = {0, 0, RANGE_HOLE};
    uint64_t cursor = 0;
    while (next_span(range, cursor, &span)) {
        note_gap(findings, cursor, span.start);
        findings->mapped += span.end - span.start;
        require(findings,
                !range_in_pages(range) || rangemeta_owns(range, span.start) ||
                    range_down_to_page(range, span.start) == range_down_to_page(range, span.end - 1),
                INVARIANT_RANGE_PAGES, span.start);
        if (span.mark == RANGE_FREE) {
            check_free(findings, span, &before);
        } else {
            check_block(findings, span);
        }
        before = span;
        cursor = span.end;
    }
    note_gap(findings, cursor, range->limit);
    uint64_t last = rangemap_last(range, RANGE_NOWHERE >> 1);
    require(findings, last == RANGE_NOWHERE || rangemap_get(range, last) == RANGE_HOLE, INVARIANT_RANGE_MAP,
            cursor);
}

/* Whether a free run of a length for `bin` begins where the descriptor says. */
static bool belongs(const arena_range_t *range, const range_run_t *run, unsigned bin)
{
    return rangemap_get(range, run->start) == RANGE_FREE && rangemap_run(range, run->start) == run &&
           rangebin_index(rangemap_next(range, run->start) - run->start) == bin;
}

/* As many descriptors as belong there, and each of them does: so all of them are there. */
static void check_bin(findings_t *findings, unsigned bin)
{
    const range_run_t *head = findings->range->bins.heads[bin], *run = head;
    uint64_t expected = findings->in_bin[bin], count = 0;
    while (run != NULL && count <= expected) {
        require(findings, belongs(findings->range, run, bin), INVARIANT_RANGE_BINS, run->start);
        count++;
        run = run->next == head ? NULL : run->next;
    }
    require(findings, count == expected, INVARIANT_RANGE_BINS, 0);
}

static void check_bins(findings_t *findings)
{
    const range_bins_t *bins = &findings->range->bins;
    for (unsigned bin = 0; bin < RANGE_BINS; bin++) {
        require(findings, binmap_agrees(&bins->used, bin, RANGE_STEPS_LOG2, bins->heads[bin] != NULL),
                INVARIANT_RANGE_BINS, 0);
        check_bin(findings, bin);
    }
}

static void check_all(findings_t *findings)
{
    const arena_range_t *range = findings->range;
    const range_totals_t *totals = &range->totals;
    if (!rangemap_is_sound(range)) {
        require(findings, false, INVARIANT_RANGE_MAP, 0);
        return; /* nothing found through it would mean anything */
    }
    check_spans(findings);
    check_bins(findings);
    if (range->source == ARENA_RANGE_SBRK) {
        check_tail(findings);
    }
    require(findings, findings->described == totals->free_runs && findings->strays == totals->strays,
            INVARIANT_RANGE_RUNS, 0);
    require(findings,
            findings->mapped == totals->mapped && findings->live == totals->live &&
                findings->inside == totals->inside && findings->live_blocks == totals->live_blocks &&
                totals->mapped <= totals->peak && totals->allocations - totals->frees == totals->live_blocks,
            INVARIANT_RANGE_TOTALS, 0);
    if (range->source == ARENA_RANGE_GIVEN) {
        uint64_t first = findings->first_gap == RANGE_NOWHERE ? range->limit : findings->first_gap;
        require(findings, findings->gaps == range->gaps && first == range->end, INVARIANT_RANGE_TOTALS,
                first);
    }
}

int arena_range_check(arena_range_t *range)
{
    if (range == NULL) {
        errno = EINVAL;
        return -1;
    }
    findings_t findings = {.range = range, .first_gap = RANGE_NOWHERE};
    lock_acquire(&range->lock);
    check_all(&findings);
    lock_release(&range->lock);
    for (int i = 0; i < findings.broken && i < REPORTS; i++) {
        check_report_named(range->name, findings.reports[i].number,
                           (void *)(uintptr_t)findings.reports[i].address);
    }
    return findings.broken;
}
