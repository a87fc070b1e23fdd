/*
 * registry.h: which arenas there are: a table from index to arena, for page-map entries; the list of
 * live ones; and the shells of dead ones, whose memory and index serve again. A shell is a descriptor, which is never
 * unmapped, so that a stale handle can be told from a live one; granules and bins, six times as much, stay with
 * SHELLS_WHOLE of the waiting ones. Also the lock that guards threads and caches.
 */
#ifndef ARENA_REGISTRY_H
#define ARENA_REGISTRY_H

#include "heap.h"

extern HIDDEN lock_t registry_lock; /* rank registry */

enum { BUFFER_INDEX = (1 << ARENA_INDEX_BITS) - 1 }; /* of every arena that is in no page map */

/* Caller holds the lock for these four. A shell with index, tag, zeroed granules and empty bins, all else as its last
 * owner left it; NULL: no memory or no index. O(1). */
HIDDEN arena_t *registry_take_shell_locked(void);
HIDDEN void registry_put_shell_locked(arena_t *arena);

/* Makes an arena one of the live ones, or no more. False: the break already has an owner. Removal waits, with
 * the lock released, until no one pins it. */
HIDDEN bool registry_add_locked(arena_t *arena);
HIDDEN void registry_remove_locked(arena_t *arena);

/* The break has one owner in the process; false: it has another. Caller holds the lock. */
HIDDEN bool registry_own_break_locked(const void *owner);
HIDDEN void registry_disown_break_locked(const void *owner);

/* The live arena of an index that page-map entries carry, or NULL. Lock-free. */
HIDDEN arena_t *registry_arena(uint32_t index);

/* Whether a live arena may hold memory that is not in the page map. Lock-free. */
HIDDEN bool registry_has_bounded(void);

/* First of the list through next_live. Caller holds the lock. */
HIDDEN arena_t *registry_first_locked(void);

#endif
