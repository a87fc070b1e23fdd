/* map.c: see map.h. */
#include "map.h"

/* Fibonacci hashing: keys are addresses, whose low bits say little. */
static size_t home_of(const map_t *map, uintptr_t key)
{
    return (size_t)(((uint64_t)key * 0x9e3779b97f4a7c15u) >> 32) & (map->capacity - 1);
}

/* The slot that holds `key`, or the empty one where it would be. */
static size_t slot_of(const map_t *map, uintptr_t key)
{
    size_t slot = home_of(map, key);
    while (map->slots[slot].key != key && map->slots[slot].key != 0) {
        slot = (slot + 1) & (map->capacity - 1);
    }
    return slot;
}

uintptr_t *map_find(const map_t *map, uintptr_t key)
{
    if (map->used == 0) {
        return NULL;
    }
    map_slot_t *slot = &map->slots[slot_of(map, key)];
    return slot->key == key ? &slot->value : NULL;
}

void map_add(map_t *map, uintptr_t key, uintptr_t value)
{
    map->slots[slot_of(map, key)] = (map_slot_t){key, value};
    map->used++;
}

void map_remove(map_t *map, uintptr_t key)
{
    size_t mask = map->capacity - 1;
    size_t hole = slot_of(map, key);
    for (size_t next = (hole + 1) & mask; map->slots[next].key != 0; next = (next + 1) & mask) {
        size_t home = home_of(map, map->slots[next].key);
        if (((next - home) & mask) >= ((next - hole) & mask)) { /* its home is not behind the hole */
            map->slots[hole] = map->slots[next];
            hole = next;
        }
    }
    map->slots[hole] = (map_slot_t){0, 0};
    map->used--;
}

void map_add_all(map_t *to, const map_t *from)
{
    for (size_t i = 0; i < from->capacity; i++) {
        if (from->slots[i].key != 0) {
            map_add(to, from->slots[i].key, from->slots[i].value);
        }
    }
}
