/*
 * surplus.h: of more arenas than a thread should have caches of, which get one. T threads that use N arenas in turns would
 * have T x N caches, and these could hold many times what lives: so there is a bound on what a thread's caches take
 * together, and each that it looks at tells how many they may be. Only an arena that no other thread uses always gets its
 * cache. Beyond the bound another one gets none, unless it has a good share of what the thread does in such arenas: its
 * uses take the arena's mutex. Where threads like that used it, but in passing, it may lose the caches that it had.
 *
 * These uses are counted in the arena's slot of the thread's record, by its thread and without a lock:
 *
 *   | turn of the thread's when the last one of this slot ended | often | uses left of this one | CACHE_SURPLUS, 0 |
 */
#ifndef ARENA_SURPLUS_H
#define ARENA_SURPLUS_H

#include "tcache.h"

enum {
    CACHES_LEAST = 64, /* that a thread may have whatever they take */
    SURPLUS_USE = 4,
    SURPLUS_USES = 0xfc, /* 63 of them are a turn */
    SURPLUS_OFTEN = 0x100,
    SURPLUS_TURN_SHIFT = 9
};

#define SURPLUS_BYTES (4 * MIB) /* that a thread's caches may take, with the blocks that they hold */
#define SURPLUS_TURN (UINTPTR_MAX << SURPLUS_TURN_SHIFT)

/* The thread has no cache in this slot of its record. True: nor does it get one for this use. By that thread, no lock. */
INLINE bool surplus_counts(cache_slot_t *slot)
{
    uintptr_t mark = atomic_load_explicit(slot, memory_order_relaxed);
    if ((mark & CACHE_SURPLUS) == 0 || (mark & SURPLUS_USES) == 0) {
        return false;
    }
    atomic_store_explicit(slot, mark - SURPLUS_USE, memory_order_relaxed);
    return true;
}

/* All of these under the registry lock, by the record's thread. */

/* Whether the arena, of which the thread has no cache, gets none at once. */
HIDDEN bool surplus_begins_locked(const thread_record_t *record, const arena_t *arena);

/* The arena's turn is over, or it had none. True: two in a row were over so soon that it earned a cache; else it has a
 * new turn. The record has a slot for it. */
HIDDEN bool surplus_earns_locked(thread_record_t *record, arena_t *arena);

/* A look at the next of the caches; there are some. It is to be given up if it is returned: they are too many, it is not
 * the only one of its arena, and not one of those used last. O(indices between the two). */
HIDDEN cache_t *surplus_look_locked(thread_record_t *record);

#endif
