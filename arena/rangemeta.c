/*
 * rangemeta.c: see rangemeta.h. Objects of three sizes: bumped from the caller's buffer and kept in lists when they
 * come back, or meta.h's, one by one; of a range in the break, descriptors only, from its pieces.
 */
#include "rangemeta.h"

#include "list.h"
#include "meta.h"
#include "range.h"
#include "rangebin.h"
#include "rangemap.h"

#include <string.h>

typedef struct free_object {
    struct free_object *next; /* where a run has `start`; its count is 0 */
} free_object_t;

static const size_t object_bytes[RANGE_OBJECTS] = {
    [RANGE_OBJECT_LEAF] = sizeof(range_leaf_t),
    [RANGE_OBJECT_NODE] = sizeof(range_node_t),
    [RANGE_OBJECT_RUN] = sizeof(range_run_t),
};

static void *pop(range_meta_t *meta, range_object_t kind)
{
    free_object_t *object = meta->free[kind];
    if (object != NULL) {
        meta->free[kind] = object->next;
    }
    return object;
}

static void push(range_meta_t *meta, range_object_t kind, void *object)
{
    ((free_object_t *)object)->next = meta->free[kind];
    meta->free[kind] = object;
}

static void *bump(range_meta_t *meta, size_t bytes)
{
    char *object = meta->next;
    if (object == NULL || distance(object, meta->end) < bytes) {
        return NULL;
    }
    meta->next += bytes;
    return object;
}

void *rangemeta_get_locked(arena_range_t *range, range_object_t kind)
{
    range_meta_t *meta = &range->meta;
    size_t bytes = object_bytes[kind];
    void *object = pop(meta, kind);
    if (object == NULL) {
        object = bump(meta, bytes);
    }
    if (object == NULL && !range->inside && (range->flags & ARENA_RANGE_FIXED_METADATA) == 0) {
        object = meta_alloc(bytes);
    }
    if (object == NULL) {
        return NULL;
    }
    meta->bytes += bytes;
    return memset(object, 0, bytes);
}

void rangemeta_put_locked(arena_range_t *range, range_object_t kind, void *object)
{
    range_meta_t *meta = &range->meta;
    meta->bytes -= object_bytes[kind];
    if (range->inside || contains(meta->buffer, meta->buffer_bytes, object)) {
        memset(object, 0, object_bytes[kind]);
        push(meta, kind, object);
    } else {
        meta_free(object);
    }
}

uint64_t rangemeta_add_piece_locked(arena_range_t *range, uint64_t index)
{
    range_meta_t *meta = &range->meta;
    range_piece_t *piece = memset(range_memory(range, index), 0, sizeof(range_piece_t));
    piece->self.start = index;
    piece->self.count = rangemeta_piece_quanta(range);
    piece->self.previous = &piece->self; /* what tells it from the table */
    LIST_PUSH(meta->pieces, piece, next, previous);
    for (unsigned i = RANGE_PIECE_RUNS; i-- > 0;) {
        push(meta, RANGE_OBJECT_RUN, &piece->runs[i]);
    }
    rangemap_set(range, index, RANGE_BLOCK);
    rangemap_add_run(range, &piece->self);
    range->totals.inside += piece->self.count;
    return index + piece->self.count;
}

uint64_t rangemeta_piece_quanta(const arena_range_t *range)
{
    return align_up(sizeof(range_piece_t), (size_t)1 << range->quantum_log2) >> range->quantum_log2;
}

/* Takes [start, start + count) off the front of a free run that is no shorter. Answers its start. */
static uint64_t cut(arena_range_t *range, range_run_t *run, uint64_t count)
{
    bool waits = run->wait_next != NULL;
    uint64_t start = run->start;
    rangebin_remove_locked(range, run);
    if (run->count == count) {
        rangemeta_put_locked(range, RANGE_OBJECT_RUN, run);
        return start;
    }
    run->start += count;
    run->count -= count;
    rangemap_set(range, run->start, RANGE_FREE);
    rangebin_insert_locked(range, run, waits);
    return start;
}

static void cut_piece(arena_range_t *range, range_run_t *run)
{
    rangemeta_add_piece_locked(range, cut(range, run, rangemeta_piece_quanta(range)));
}

bool rangemeta_reserve_locked(arena_range_t *range)
{
    range_meta_t *meta = &range->meta;
    if (meta->spare != NULL) {
        return true;
    }
    meta->spare = rangemeta_get_locked(range, RANGE_OBJECT_RUN);
    if (meta->spare == NULL && range->inside) {
        uint64_t offset;
        range_run_t *run =
            rangebin_find_locked(range, (range_want_t){.count = rangemeta_piece_quanta(range)}, &offset);
        if (run != NULL) {
            cut_piece(range, run);
            meta->spare = rangemeta_get_locked(range, RANGE_OBJECT_RUN);
        }
    }
    return meta->spare != NULL;
}

range_run_t *rangemeta_take_run_locked(arena_range_t *range)
{
    range_run_t *run = range->meta.spare;
    range->meta.spare = NULL;
    return run != NULL ? run : rangemeta_get_locked(range, RANGE_OBJECT_RUN);
}

uint64_t rangemeta_windows(uint64_t end)
{
    return (end >> RANGE_LEAF_LOG2) + 1;
}

uint64_t rangemeta_table_quanta(const arena_range_t *range, uint64_t windows)
{
    uint64_t bytes = sizeof(range_table_t) + windows * sizeof(range_leaf_t) +
                     rangemap_nodes(windows) * sizeof(range_node_t);
    return (bytes + ((uint64_t)1 << range->quantum_log2) - 1) >> range->quantum_log2;
}

void rangemeta_put_table_locked(arena_range_t *range, uint64_t index, uint64_t windows)
{
    range_table_t *old = range->meta.table, *table = range_memory(range, index);
    uint64_t kept = 0;
    if (old != NULL) {
        kept = old->windows < windows ? old->windows : windows;
        rangemap_remove_run(range, &old->self);
        range->totals.inside -= old->self.count;
        memmove(table->leaves, old->leaves, (size_t)kept * sizeof table->leaves[0]);
    }
    memset(table->leaves + kept, 0, (size_t)(windows - kept) * sizeof table->leaves[0]);
    table->self = (range_run_t){.start = index, .count = rangemeta_table_quanta(range, windows)};
    table->windows = windows;
    range->meta.table = table;
    rangemap_build(range, table->leaves, windows, (range_node_t *)(table->leaves + windows));
    rangemap_set(range, index, RANGE_BLOCK);
    rangemap_add_run(range, &table->self);
    range->totals.inside += table->self.count;
}

void rangemeta_move_table_locked(arena_range_t *range, range_run_t *run, uint64_t windows)
{
    range_run_t old = range->meta.table->self;
    uint64_t start = cut(range, run, rangemeta_table_quanta(range, windows));
    rangemeta_put_table_locked(range, start, windows);
    range_file_locked(range, old.start, old.start + old.count);
}

bool rangemeta_owns(const arena_range_t *range, uint64_t index)
{
    return range->inside && rangemap_run(range, index) != NULL;
}

range_piece_t *rangemeta_piece_at(const arena_range_t *range, uint64_t index)
{
    range_run_t *run = rangemap_run(range, index);
    return run != NULL && run->previous == run ? (range_piece_t *)run : NULL;
}

static bool is_in(const range_piece_t *piece, const void *run)
{
    return contains(piece->runs, sizeof piece->runs, run);
}

/* Takes what is free in a piece out of circulation. */
static void withhold(range_meta_t *meta, range_piece_t *piece)
{
    free_object_t *all = meta->free[RANGE_OBJECT_RUN];
    meta->free[RANGE_OBJECT_RUN] = NULL;
    while (all != NULL) {
        free_object_t *next = all->next;
        if (!is_in(piece, all)) {
            push(meta, RANGE_OBJECT_RUN, all);
        }
        all = next;
    }
    if (is_in(piece, meta->spare)) {
        meta->spare = NULL;
        meta->bytes -= sizeof(range_run_t);
    }
}

static void release_withheld(range_meta_t *meta, range_piece_t *piece)
{
    for (unsigned i = 0; i < RANGE_PIECE_RUNS; i++) {
        if (piece->runs[i].count == 0) {
            push(meta, RANGE_OBJECT_RUN, &piece->runs[i]);
        }
    }
}

/* A free descriptor elsewhere, from a new piece below if there is no other. */
static range_run_t *take_elsewhere(arena_range_t *range, range_piece_t *piece)
{
    range_meta_t *meta = &range->meta;
    if (meta->free[RANGE_OBJECT_RUN] == NULL) {
        range_run_t *run =
            rangebin_find_below_locked(range, rangemeta_piece_quanta(range), piece->self.start);
        if (run == NULL) {
            return NULL;
        }
        cut_piece(range, run);
        withhold(meta, piece); /* `run` may have been one of its own */
    }
    return pop(meta, RANGE_OBJECT_RUN);
}

bool rangemeta_evacuate_locked(arena_range_t *range, range_piece_t *piece)
{
    range_meta_t *meta = &range->meta;
    withhold(meta, piece);
    for (unsigned i = 0; i < RANGE_PIECE_RUNS; i++) {
        range_run_t *from = &piece->runs[i];
        range_run_t *to = from->count == 0 ? NULL : take_elsewhere(range, piece);
        if (to == NULL && from->count != 0) {
            release_withheld(meta, piece);
            return false;
        }
        if (to != NULL && from->count == 0) {
            push(meta, RANGE_OBJECT_RUN, to); /* it was used up in the meantime */
        } else if (to != NULL) {
            *to = *from;
            rangebin_move_locked(range, from, to);
            from->count = 0;
        }
    }
    LIST_UNLINK(meta->pieces, piece, next, previous);
    rangemap_remove_run(range, &piece->self);
    range->totals.inside -= piece->self.count;
    return true;
}
