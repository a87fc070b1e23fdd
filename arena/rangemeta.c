/*
 * rangemeta.c: see rangemeta.h. Objects of three sizes: bumped from the caller's buffer or a front and kept in
 * lists when they come back, or meta.h's, one by one.
 */
#include "rangemeta.h"

#include "check.h"
#include "meta.h"
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
    if (object == NULL && !(range->inside && kind == RANGE_OBJECT_RUN)) {
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
    piece->self.previous = &piece->self; /* what tells it from a front */
    piece->next = meta->pieces;
    if (piece->next != NULL) {
        piece->next->previous = piece;
    }
    meta->pieces = piece;
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

/* From the front of a free run, which has room; its leaf has the mark of what remains. */
static void cut_piece(arena_range_t *range, range_run_t *run)
{
    bool waits = run->wait_next != NULL;
    uint64_t start = run->start, end = start + run->count;
    rangebin_remove_locked(range, run);
    uint64_t rest = rangemeta_add_piece_locked(range, start);
    if (rest == end) {
        rangemeta_put_locked(range, RANGE_OBJECT_RUN, run);
        return;
    }
    rangemap_set(range, rest, RANGE_FREE);
    run->start = rest;
    run->count = end - rest;
    rangebin_insert_locked(range, run, waits);
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
            rangebin_find_locked(range, (range_want_t){rangemeta_piece_quanta(range), 1}, &offset);
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

size_t rangemeta_front_bytes(const arena_range_t *range, uint64_t end)
{
    uint64_t windows = (end >> RANGE_LEAF_LOG2) + 1;
    if (windows <= range->meta.windows) {
        return 0;
    }
    uint64_t added = windows - range->meta.windows, nodes = 0;
    for (uint64_t parents = windows; parents > 1; parents = (parents >> RANGE_FAN_LOG2) + 1) {
        nodes += ((added >> RANGE_FAN_LOG2) + 2);
        if (parents >> RANGE_FAN_LOG2 == 0) {
            break;
        }
    }
    return sizeof(range_front_t) + added * sizeof(range_leaf_t) + nodes * sizeof(range_node_t);
}

uint64_t rangemeta_add_front_locked(arena_range_t *range, uint64_t index, size_t skip, size_t bytes,
                                    uint64_t end)
{
    range_meta_t *meta = &range->meta;
    char *start = range_memory(range, index);
    range_front_t *front = at(start, skip);
    *front = (range_front_t){.below = meta->front, .map = range->map, .windows = meta->windows};
    meta->front = front;
    meta->next = (char *)(front + 1);
    meta->end = (char *)front + bytes;
    for (; meta->windows <= end >> RANGE_LEAF_LOG2; meta->windows++) {
        bool made = rangemap_ensure(range, meta->windows << RANGE_LEAF_LOG2);
        check_always(made); /* rangemeta_front_bytes saw to it */
    }
    front->self.start = index;
    front->self.count =
        align_up(distance(start, meta->next), (size_t)1 << range->quantum_log2) >> range->quantum_log2;
    meta->next = meta->end = NULL;
    rangemap_set(range, index, RANGE_BLOCK);
    rangemap_add_run(range, &front->self);
    range->totals.inside += front->self.count;
    return index + front->self.count;
}

void rangemeta_drop_front_locked(arena_range_t *range)
{
    range_front_t *front = range->meta.front;
    range->totals.inside -= front->self.count;
    range->meta.front = front->below;
    range->meta.windows = front->windows;
    rangemap_cut(range, front->map, front->windows);
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
    if (piece->next != NULL) {
        piece->next->previous = piece->previous;
    }
    if (piece->previous != NULL) {
        piece->previous->next = piece->next;
    } else {
        meta->pieces = piece->next;
    }
    rangemap_remove_run(range, &piece->self);
    range->totals.inside -= piece->self.count;
    return true;
}
