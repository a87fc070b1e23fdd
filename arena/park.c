/* park.c: see park.h. */
#include "park.h"

#include "check.h"
#include "os.h"
#include "util.h"

void park_note_mapped(arena_t *arena)
{
    park_t *park = &arena->granules->park;
    park->wanted = os_now_ms() - park->freed_ms < PURGE_DELAY_MS;
}

void park_note_freed(arena_t *arena)
{
    arena->granules->park.freed_ms = os_now_ms();
}

bool park_is_wanted(const arena_t *arena)
{
    return arena->granules->park.wanted && arena->source != ARENA_SOURCE_HOOKS &&
           (arena->flags & ARENA_CHECKED) == 0;
}

/* Who sets a threshold wants no more idle than that. */
static bool may_park(const arena_t *arena, size_t bytes)
{
    return park_is_wanted(arena) && bytes <= PARK_MAX_BYTES &&
           (arena->trim_threshold_bytes == 0 || bytes <= arena->trim_threshold_bytes);
}

/* Side by side is not enough: the kernel does not move or grow what lies in two mappings. */
bool park_put(arena_t *arena, char *start, size_t bytes, uint32_t mapping)
{
    park_t *park = &arena->granules->park;
    bool joins = park->start == start + bytes && park->mapping == mapping;
    if (!may_park(arena, bytes + (joins ? park->bytes : 0))) {
        return false;
    }
    if (!joins) {
        park_drop(arena);
    }
    lock_acquire(&arena->lock);
    bool room = joins || park->bytes == 0;
    if (room) {
        park->start = start;
        park->mapping = mapping;
        park->mapped_bytes = arena->totals.mapped_bytes;
        park->bytes += bytes;
    }
    lock_release(&arena->lock);
    return room;
}

char *park_take_locked(arena_t *arena, size_t bytes)
{
    park_t *park = &arena->granules->park;
    char *start = park->start;
    check_debug(bytes <= park->bytes);
    park->bytes -= bytes;
    park->start = park->bytes == 0 ? NULL : start + bytes;
    return start;
}

size_t park_drop(arena_t *arena)
{
    park_t *park = &arena->granules->park;
    size_t bytes = park->bytes;
    if (bytes == 0) {
        return 0;
    }
    if (!os_unmap(park->start, bytes)) {
        os_purge(park->start, bytes);
        return 0;
    }
    lock_acquire(&arena->lock);
    park->start = NULL;
    park->bytes = 0;
    arena->totals.mapped_bytes -= bytes;
    arena->totals.purged_bytes += bytes;
    arena->totals.kernel_calls++;
    lock_release(&arena->lock);
    return bytes;
}

size_t park_drop_old(arena_t *arena, uint64_t before_ms)
{
    if (arena->granules == NULL) {
        return 0;
    }
    lock_acquire(&arena->grow);
    size_t bytes = arena->granules->park.freed_ms < before_ms ? park_drop(arena) : 0;
    lock_release(&arena->grow);
    return bytes;
}
