/* bin.c: see bin.h. Sizes are counted in units of 8 bytes; the first bins hold one size each. */
#include "bin.h"

#include "check.h"

#include <string.h>

enum { UNIT_LOG2 = 3, PROBES = 8 };

static unsigned levels_for(size_t largest, unsigned steps_log2)
{
    return (binmap_index(largest >> UNIT_LOG2, steps_log2, BINMAP_LEVELS) >> steps_log2) + 1;
}

size_t bin_table_bytes(size_t largest, unsigned steps_log2)
{
    return ((size_t)levels_for(largest, steps_log2) << steps_log2) * sizeof(chunk_t *);
}

void bin_table_init(chunk_bins_t *bins, void *memory, size_t largest, unsigned steps_log2)
{
    bins->levels = levels_for(largest, steps_log2);
    bins->steps_log2 = steps_log2;
    bins->used = (binmap_t){0};
    bins->heads = memory;
}

void bin_table_clear(chunk_bins_t *bins)
{
    for (uint32_t levels = bins->used.levels; levels != 0; levels &= levels - 1) {
        size_t heads = (size_t)1 << bins->steps_log2;
        memset(&bins->heads[heads * lowest_bit(levels)], 0, heads * sizeof bins->heads[0]);
    }
    bins->used = (binmap_t){0};
}

unsigned bin_index(const chunk_bins_t *bins, size_t size)
{
    return binmap_index(size >> UNIT_LOG2, bins->steps_log2, bins->levels);
}

static size_t wide_bytes(size_t size)
{
    return size >= GRANULE ? size : 0;
}

static void insert(arena_t *arena, chunk_t *chunk, size_t size, unsigned index)
{
    chunk_bins_t *bins = &arena->bins;
    chunk->previous = NULL;
    chunk->next = bins->heads[index];
    if (chunk->next != NULL) {
        chunk->next->previous = chunk;
    }
    bins->heads[index] = chunk;
    binmap_set(&bins->used, index, bins->steps_log2);
    arena->totals.free_chunk_bytes += size;
    arena->totals.wide_chunk_bytes += wide_bytes(size);
}

/* Whoever wrote over a free chunk is found out here. `index` matters for the head of a bin only. */
static void check_links(const chunk_bins_t *bins, const chunk_t *chunk, unsigned index)
{
    check_always((chunk->previous == NULL ? bins->heads[index] : chunk->previous->next) == chunk);
    check_always(chunk->next == NULL || chunk->next->previous == chunk);
}

/* Not inlined: what is inserted next may lie over the links, which a compiler that sees both takes to be others. */
static NOINLINE void take_out(arena_t *arena, chunk_t *chunk, size_t size, unsigned index)
{
    chunk_bins_t *bins = &arena->bins;
    check_links(bins, chunk, index);
    arena->totals.free_chunk_bytes -= size;
    arena->totals.wide_chunk_bytes -= wide_bytes(size);
    if (chunk->next != NULL) {
        chunk->next->previous = chunk->previous;
    }
    if (chunk->previous != NULL) {
        chunk->previous->next = chunk->next;
        return;
    }
    bins->heads[index] = chunk->next;
    if (chunk->next == NULL) {
        binmap_clear(&bins->used, index, bins->steps_log2);
    }
}

void bin_insert_locked(arena_t *arena, chunk_t *chunk)
{
    size_t size = chunk_size(chunk);
    insert(arena, chunk, size, bin_index(&arena->bins, size));
}

void bin_remove_locked(arena_t *arena, chunk_t *chunk)
{
    size_t size = chunk_size(chunk);
    unsigned index = chunk->previous == NULL ? bin_index(&arena->bins, size) : 0; /* it heads its bin */
    take_out(arena, chunk, size, index);
}

void bin_replace_locked(arena_t *arena, chunk_t *old, chunk_t *chunk, size_t size)
{
    chunk_bins_t *bins = &arena->bins;
    size_t before = chunk_size(old);
    unsigned from = bin_index(bins, before), to = bin_index(bins, size);
    if (from != to) {
        take_out(arena, old, before, from);
        insert(arena, chunk, size, to);
        return;
    }
    check_links(bins, old, from);
    memmove(chunk_block(chunk), chunk_block(old),
            sizeof *chunk - CHUNK_HEADER); /* the links; they may overlap */
    *(chunk->previous == NULL ? &bins->heads[from] : &chunk->previous->next) = chunk;
    if (chunk->next != NULL) {
        chunk->next->previous = chunk;
    }
    arena->totals.free_chunk_bytes += size - before;
    arena->totals.wide_chunk_bytes += wide_bytes(size) - wide_bytes(before);
}

static chunk_t *first_that_fits(chunk_t *chunk, size_t size, unsigned probes)
{
    for (; chunk != NULL && probes != 0; chunk = chunk->next, probes--) {
        if (chunk_size(chunk) >= size) {
            return chunk;
        }
    }
    return NULL;
}

/* The head of its own bin, else any chunk of a higher bin, else some more of its own. */
static chunk_t *find_good(const chunk_bins_t *bins, size_t size)
{
    unsigned own = bin_index(bins, size);
    unsigned last = (bins->levels << bins->steps_log2) - 1;
    chunk_t *chunk = bins->heads[own];
    if (UNLIKELY(own == last)) {
        return first_that_fits(chunk, size, UINT32_MAX);
    }
    if (chunk != NULL && chunk_size(chunk) >= size) {
        return chunk;
    }
    unsigned higher = binmap_next(&bins->used, own + 1, bins->steps_log2);
    if (LIKELY(higher < last)) {
        return bins->heads[higher];
    }
    chunk = first_that_fits(bins->heads[last], size, UINT32_MAX);
    return chunk != NULL ? chunk : first_that_fits(bins->heads[own], size, PROBES);
}

static chunk_t *find_best(const chunk_bins_t *bins, size_t size)
{
    chunk_t *best = NULL;
    for (unsigned bin = bin_next(bins, bin_index(bins, size)); bin != BINMAP_NONE && best == NULL;
         bin = bin_next(bins, bin + 1)) {
        for (chunk_t *chunk = bins->heads[bin]; chunk != NULL; chunk = chunk->next) {
            size_t found = chunk_size(chunk);
            if (found >= size &&
                (best == NULL || found < chunk_size(best) || (found == chunk_size(best) && chunk < best))) {
                best = chunk;
            }
        }
    }
    return best;
}

/* The head of the last bin that holds one. */
static chunk_t *head_of_last(const chunk_bins_t *bins)
{
    unsigned last = binmap_last(&bins->used, bins->steps_log2);
    return last == BINMAP_NONE ? NULL : bins->heads[last];
}

static chunk_t *find_worst(const chunk_bins_t *bins, size_t size)
{
    chunk_t *worst = head_of_last(bins);
    for (chunk_t *chunk = worst; chunk != NULL; chunk = chunk->next) {
        worst = chunk_size(chunk) > chunk_size(worst) ? chunk : worst;
    }
    return worst != NULL && chunk_size(worst) >= size ? worst : NULL;
}

/* The lowest address that fits, of chunks that reach beyond `from`. */
static chunk_t *find_lowest(const chunk_bins_t *bins, size_t size, const chunk_t *from)
{
    chunk_t *lowest = NULL;
    for (unsigned bin = bin_next(bins, bin_index(bins, size)); bin != BINMAP_NONE;
         bin = bin_next(bins, bin + 1)) {
        for (chunk_t *chunk = bins->heads[bin]; chunk != NULL; chunk = chunk->next) {
            if (chunk_next(chunk) > from && chunk_size(chunk) >= size && (lowest == NULL || chunk < lowest)) {
                lowest = chunk;
            }
        }
    }
    return lowest;
}

chunk_t *bin_find_wide_locked(arena_t *arena, size_t size)
{
    chunk_t *chunk = head_of_last(&arena->bins);
    return chunk != NULL && chunk_size(chunk) >= size ? chunk : NULL;
}

chunk_t *bin_find_locked(arena_t *arena, size_t size)
{
    check_debug(lock_is_held(&arena->lock));
    const chunk_bins_t *bins = &arena->bins;
    chunk_t *chunk = NULL;
    switch (arena->fit) {
    case ARENA_FIT_GOOD:
        return find_good(bins, size);
    case ARENA_FIT_FIRST:
        return find_lowest(bins, size, NULL);
    case ARENA_FIT_BEST:
        return find_best(bins, size);
    case ARENA_FIT_WORST:
        return find_worst(bins, size);
    case ARENA_FIT_NEXT:
        chunk = find_lowest(bins, size, arena->rover);
        chunk = chunk != NULL ? chunk : find_lowest(bins, size, NULL);
        arena->rover = chunk != NULL ? chunk_at(chunk, size) : arena->rover;
        return chunk;
    }
    return NULL;
}
