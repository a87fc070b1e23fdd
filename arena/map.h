/*
 * map.h: a hash table from one word to another, in memory that its owner brings. Open addressing, linear
 * probing; a removal moves later entries back, so that there are no tombstones (Knuth, 6.4, algorithm R).
 * At most two thirds full. No locks and no memory of its own: whoever owns the table sees to both.
 */
#ifndef ARENA_MAP_H
#define ARENA_MAP_H

#include "util.h"

typedef struct {
    uintptr_t key; /* 0: empty */
    uintptr_t value;
} map_slot_t;

typedef struct {
    map_slot_t *slots;
    size_t capacity; /* a power of two, or 0: no memory yet */
    size_t used;
} map_t;

/* An empty map in `slots`, which are zero. */
INLINE map_t map_in(map_slot_t *slots, size_t capacity)
{
    return (map_t){slots, capacity, 0};
}

/* Whether map_add may be called `more` times. */
INLINE bool map_has_room(const map_t *map, size_t more)
{
    return (map->used + more) * 3 <= map->capacity * 2;
}

/* Where the value of `key` (not 0) is, until the map changes; NULL: there is none. */
HIDDEN uintptr_t *map_find(const map_t *map, uintptr_t key);

/* The key must not be there yet, and room must. */
HIDDEN void map_add(map_t *map, uintptr_t key, uintptr_t value);

/* The key must be there. */
HIDDEN void map_remove(map_t *map, uintptr_t key);

/* Adds all of `from` to `to`, which has room. */
HIDDEN void map_add_all(map_t *to, const map_t *from);

#endif
