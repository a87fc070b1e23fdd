/*
 * resize.h: a block of another size, without a copy where that can be; and a place with room to grow for one that
 * has to be copied. Under the arena's mutex; the copy itself is the caller's (api.c).
 */
#ifndef ARENA_RESIZE_H
#define ARENA_RESIZE_H

#include "heap.h"

/* Makes the block `request` bytes without copying; where it then is, or NULL. *when: if it is an arena with
 * a log, the moment that counts as that of the change. */
HIDDEN void *resize_in_place(arena_t *arena, void *block, size_t request, uint64_t *when);

/* A block for one that grew out of its place, and will likely grow again: with free memory behind it, and not of
 * a size class, so that it goes home when freed and leaves that memory whole. NULL: there is no such place, or
 * too many of them already. */
HIDDEN void *resize_roomy(arena_t *arena, size_t request);

#endif
