/* registry.c: see registry.h. */
#include "registry.h"

#include "bin.h"
#include "check.h"
#include "list.h"
#include "meta.h"
#include "os.h"

enum {
    PAGE_LOG2 = 12,
    PAGES = 1 << (ARENA_INDEX_BITS - PAGE_LOG2),
    COLOURS = TABLE_SLOTS - 1,
    COLOUR_BYTES = 8
};

/* A pointer is stored once, with release, before any page-map entry carries its index. */
typedef _Atomic(arena_t *) slot_t;

lock_t registry_lock = LOCK_STATIC(RANK_REGISTRY);

/* Not static, so that they may lie among the last. No system call for the first arenas. */
HIDDEN AMONG_THE_LAST slot_t registry_first_page[1 << PAGE_LOG2];
/* written under the lock, read with acquire without; [0] is not used */
HIDDEN AMONG_THE_LAST _Atomic(slot_t *) registry_pages[PAGES];
/* guarded by the lock */
static uint32_t last_index;
static arena_t *live;
static arena_t *whole_shells, *bare_shells; /* with granules and bins, and without */
static unsigned whole_shells_count;
static const void *break_owner; /* an arena or a range arena */
/* written under the lock; relaxed: whoever has a block of such an arena saw its creation */
static _Atomic size_t bounded;

static slot_t *slot_of(uint32_t index)
{
    if (LIKELY(index < 1 << PAGE_LOG2)) {
        return &registry_first_page[index];
    }
    slot_t *page = atomic_load_explicit(&registry_pages[index >> PAGE_LOG2], memory_order_acquire);
    return page == NULL ? NULL : &page[index & ((1 << PAGE_LOG2) - 1)];
}

static bool ensure_slot(uint32_t index)
{
    if (slot_of(index) != NULL) {
        return true;
    }
    slot_t *page = os_map(sizeof(slot_t) << PAGE_LOG2, GRANULE, (os_map_options_t){0});
    atomic_store_explicit(&registry_pages[index >> PAGE_LOG2], page, memory_order_release);
    return page != NULL;
}

/* A descriptor alone. Bits 3 to 7 of the handle are its slot in the threads' tables (tcache.h); slot 0 is nobody's. */
static arena_t *new_shell(void)
{
    if (last_index + 1 >= BUFFER_INDEX || !ensure_slot(last_index + 1)) {
        return NULL;
    }
    char *memory = meta_calloc(align_up(sizeof(arena_t) + (COLOURS + 1) * COLOUR_BYTES, 256));
    if (memory == NULL) {
        return NULL;
    }
    uint32_t index = ++last_index;
    arena_t *arena = (arena_t *)(memory + (1 + index % COLOURS) * COLOUR_BYTES);
    arena->index = index;
    arena->tag = index << 8;
    atomic_store_explicit(slot_of(index), arena, memory_order_release);
    return arena;
}

/*
 * Gives a bare shell granules and bins, in one piece. It is an odd number of cache lines, so that those which many arenas
 * use do not compete for a few sets of a cache. False: no memory.
 */
static bool equip(arena_t *arena)
{
    size_t granules_bytes = align_up(sizeof(granules_t), 16);
    size_t bytes = granules_bytes + bin_table_bytes(LARGE_MAX_BYTES * 2, 4);
    char *piece = meta_calloc(align_up(bytes - 64, 128) + 64);
    if (piece == NULL) {
        return false;
    }
    arena->granules = (granules_t *)piece;
    bin_table_init(&arena->bins, piece + granules_bytes, LARGE_MAX_BYTES * 2, 4);
    return true;
}

static void strip(arena_t *arena)
{
    meta_free(arena->granules);
    arena->granules = NULL;
    arena->bins = (chunk_bins_t){0};
}

static void push_shell(arena_t **shells, arena_t *arena)
{
    arena->next_live = *shells;
    *shells = arena;
}

static arena_t *pop_shell(arena_t **shells)
{
    arena_t *arena = *shells;
    *shells = arena == NULL ? NULL : arena->next_live;
    return arena;
}

arena_t *registry_take_shell_locked(void)
{
    arena_t *arena = pop_shell(&whole_shells);
    if (arena != NULL) {
        whole_shells_count--;
        return arena;
    }
    arena = bare_shells != NULL ? pop_shell(&bare_shells) : new_shell();
    if (arena != NULL && !equip(arena)) {
        push_shell(&bare_shells, arena);
        return NULL;
    }
    return arena;
}

void registry_put_shell_locked(arena_t *arena)
{
    if (whole_shells_count < SHELLS_WHOLE) {
        whole_shells_count++;
        push_shell(&whole_shells, arena);
    } else {
        strip(arena);
        push_shell(&bare_shells, arena);
    }
}

static void count_bounded(const arena_t *arena, size_t change)
{
    if (has_bounds(arena)) {
        atomic_fetch_add_explicit(&bounded, change, memory_order_relaxed);
    }
}

bool registry_has_bounded(void)
{
    return atomic_load_explicit(&bounded, memory_order_relaxed) != 0;
}

bool registry_own_break_locked(const void *owner)
{
    if (break_owner != NULL) {
        return false;
    }
    break_owner = owner;
    return true;
}

void registry_disown_break_locked(const void *owner)
{
    break_owner = break_owner == owner ? NULL : break_owner;
}

bool registry_add_locked(arena_t *arena)
{
    if (arena->source == ARENA_SOURCE_SBRK && !registry_own_break_locked(arena)) {
        return false;
    }
    LIST_PUSH(live, arena, next_live, previous_live);
    count_bounded(arena, 1);
    atomic_store_explicit(&arena->alive, true, memory_order_relaxed);
    return true;
}

void registry_remove_locked(arena_t *arena)
{
    while (arena->pins != 0) { /* a trim of all arenas is at it */
        lock_release(&registry_lock);
        os_sleep_us(50);
        lock_acquire(&registry_lock);
    }
    registry_disown_break_locked(arena);
    count_bounded(arena, (size_t)-1);
    atomic_store_explicit(&arena->alive, false, memory_order_relaxed);
    LIST_UNLINK(live, arena, next_live, previous_live);
}

arena_t *registry_arena(uint32_t index)
{
    slot_t *slot = slot_of(index);
    arena_t *arena = slot == NULL ? NULL : atomic_load_explicit(slot, memory_order_acquire);
    return arena != NULL && atomic_load_explicit(&arena->alive, memory_order_relaxed) ? arena : NULL;
}

arena_t *registry_first_locked(void)
{
    check_debug(lock_is_held(&registry_lock));
    return live;
}
