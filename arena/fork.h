/*
 * fork.h: parent and child both go on allocating in every arena.
 *
 * Before the fork the forking thread takes every lock, in rank order, and stops every cache, so that the
 * child gets a heap with nobody inside. Meanwhile it passes through all locks itself, because another
 * library's prepare handler may allocate. The child makes the locks anew and takes over what the threads
 * that it does not have had cached.
 */
#ifndef ARENA_FORK_H
#define ARENA_FORK_H

#include "config.h"

/* Registers the handlers, the first time. Caller holds the registry lock. */
HIDDEN void fork_init_locked(void);

#endif
