/* depot.c: see depot.h. */
#include "depot.h"

#include "../arena/meta.h"

depot_t *depot_create(void)
{
    depot_t *depot = meta_calloc(sizeof *depot);
    if (depot != NULL) {
        lock_init(&depot->lock, RANK_DEPOT, false);
    }
    return depot;
}

size_t depot_held_bytes(depot_t *depot, unsigned least)
{
    size_t bytes = 0;
    lock_acquire(&depot->lock);
    for (unsigned class = least; class <= CLASSES; class ++) {
        bytes += depot->count[class] * magazine_bytes(class);
    }
    lock_release(&depot->lock);
    return bytes;
}

/*
 * Small blocks are for other threads to take, and no more than that is kept: one that goes home into its slab's bitmap
 * is cheap, and comes out again in the order of the addresses, where a depot returns them in that of the frees.
 */
static size_t most_bytes(unsigned class)
{
    return class <= SMALL_CLASSES ? DEPOT_SMALL_BYTES : DEPOT_CLASS_BYTES;
}

static magazine_t *take_empty_locked(depot_t *depot)
{
    magazine_t *empty = depot->empty;
    depot->empty = empty == NULL ? NULL : magazine_next(empty);
    return empty;
}

magazine_t *depot_take_empty(depot_t *depot)
{
    lock_acquire(&depot->lock);
    magazine_t *empty = take_empty_locked(depot);
    lock_release(&depot->lock);
    return empty;
}

static void note_user_locked(depot_t *depot, const struct cache *user)
{
    depot->shared |= depot->last_user != NULL && user != NULL && depot->last_user != user;
    depot->last_user = user != NULL ? user : depot->last_user;
}

/* Blocks above SLAB_MAX cost their user more than a mutex does, and while they lie here none of another size gets their
 * memory: they are for other threads to take, and few. */
static bool has_room_locked(const depot_t *depot, unsigned class)
{
    size_t most_held = class <= SLAB_CLASSES ? DEPOT_HELD_BYTES : DEPOT_CLASS_BYTES;
    return depot->count[class] * magazine_bytes(class) < most_bytes(class) && depot->held_bytes < most_held &&
           (class <= SLAB_CLASSES || depot->shared);
}

bool depot_put(depot_t *depot, const struct cache *user, unsigned class, magazine_t *magazine,
               magazine_t **empty)
{
    lock_acquire(&depot->lock);
    note_user_locked(depot, user);
    bool room = has_room_locked(depot, class);
    if (room) {
        magazine_set_next(magazine, depot->full[class]);
        depot->full[class] = magazine;
        depot->count[class]++;
        depot->held_bytes += magazine_bytes(class);
        if (empty != NULL && *empty == NULL) {
            *empty = take_empty_locked(depot);
        }
    }
    lock_release(&depot->lock);
    return room;
}

static magazine_t *take_locked(depot_t *depot, unsigned class)
{
    magazine_t *magazine = depot->full[class];
    if (magazine != NULL) {
        depot->full[class] = magazine_next(magazine);
        depot->count[class]--;
        depot->held_bytes -= magazine_bytes(class);
        depot->spare[class] =
            depot->count[class] < depot->spare[class] ? depot->count[class] : depot->spare[class];
    }
    return magazine;
}

magazine_t *depot_take(depot_t *depot, const struct cache *user, unsigned class, magazine_t **empty)
{
    lock_acquire(&depot->lock);
    note_user_locked(depot, user);
    magazine_t *magazine = take_locked(depot, class);
    if (magazine != NULL && empty != NULL && *empty != NULL) {
        magazine_set_next(*empty, depot->empty);
        depot->empty = *empty;
        *empty = NULL;
    }
    lock_release(&depot->lock);
    return magazine;
}

bool depot_decay_is_due(depot_t *depot, uint64_t now_ms)
{
    lock_acquire(&depot->lock);
    bool due = now_ms - depot->decayed_ms >= PURGE_DELAY_MS;
    if (due) {
        depot->decayed_ms = now_ms;
        depot->shared = false;
    }
    lock_release(&depot->lock);
    return due;
}

magazine_t *depot_take_spare(depot_t *depot, unsigned class)
{
    lock_acquire(&depot->lock);
    uint32_t spare = depot->spare[class];
    magazine_t *magazine = spare != 0 ? take_locked(depot, class) : NULL;
    depot->spare[class] = magazine != NULL ? spare - 1 : depot->count[class];
    lock_release(&depot->lock);
    return magazine;
}

void depot_each_block(const magazine_t *full, unsigned class, void (*visit)(void *context, void *block),
                      void *context)
{
    for (; full != NULL; full = magazine_next(full)) {
        for (unsigned i = 0; i < magazine_capacity(class); i++) {
            visit(context, full->slot[MAGAZINE_SLOTS - i]);
        }
    }
}
