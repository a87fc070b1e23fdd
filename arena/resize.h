/*
 * resize.h: a block of another size: in place where it can grow or shrink there, else moved: through the calling
 * thread's cache, or to a place with room to grow; and with more than it asked for.
 */
#ifndef ARENA_RESIZE_H
#define ARENA_RESIZE_H

#include "heap.h"

/* arena_realloc of a block in use that has `usable` bytes: where it then is; NULL with errno: it is as it was. No lock
 * held. */
HIDDEN void *resize_block(arena_t *arena, void *block, size_t usable, size_t size);

#endif
