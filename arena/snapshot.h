/*
 * snapshot.h: what an arena holds, as of one moment, in a mapping of its own: for walk, print and the report of
 * lost blocks, which look at it with no lock held. The caches are stopped and the mutex is held only while it
 * is taken. 16 bytes a block, 16 more for a named one, and each name once.
 */
#ifndef ARENA_SNAPSHOT_H
#define ARENA_SNAPSHOT_H

#include "heap.h"

/* Blocks are at multiples of 8: the state goes into the address. */
typedef struct {
    uintptr_t start_and_state;
    size_t usable;
} record_t;

typedef struct {
    size_t record; /* its index */
    const char *text;
} named_t;

typedef enum { LIST_REGIONS, LIST_CHUNKS, LIST_DIRTY_RUNS, LIST_CLEAN_RUNS, LIST_SLABS } list_t;

/* A region, or a member of a free list. */
typedef struct {
    list_t list;
    unsigned bin; /* of chunks and runs; of slabs: the class; of regions: the source */
    const void *start;
    size_t bytes; /* of a slab: what is free in it */
} member_t;

typedef struct {
    const arena_t *arena;
    bool with_members;
    record_t *records;
    size_t count, room;
    named_t *named; /* in the order of the records */
    size_t named_count;
    size_t next_named; /* the first that snapshot_next has not passed */
    size_t next;
    member_t *members; /* each list's together and in its order */
    size_t member_count, member_room;
    void *mapping;
    size_t bytes;
} snapshot_t;

/* With the regions and free lists, too, if asked. False: no memory for it. No lock held. */
HIDDEN bool snapshot_take(arena_t *arena, bool with_members, snapshot_t *snapshot);
HIDDEN void snapshot_release(snapshot_t *snapshot);

/* The next block, in ascending address order within a region, large blocks last; false: that was all. */
HIDDEN bool snapshot_next(snapshot_t *snapshot, arena_block_t *block);

#endif
