/*
 * walk.c: arena_walk: a list of all blocks as of one moment, then the visits with no lock held, so that
 * the visitor may do what it likes.
 */
#include "alloc.h"
#include "snapshot.h"

#include <errno.h>

int arena_walk(arena_t *arena, arena_visit_fn visit, void *context)
{
    if (arena == NULL || visit == NULL) {
        errno = EINVAL;
        return -1;
    }
    alloc_check_alive(arena, NULL);
    snapshot_t snapshot;
    if (!snapshot_take(arena, false, &snapshot)) {
        errno = ENOMEM;
        return -1;
    }
    int answer = 0;
    arena_block_t block;
    while (answer == 0 && snapshot_next(&snapshot, &block)) {
        answer = visit(context, &block);
    }
    snapshot_release(&snapshot);
    return answer;
}
