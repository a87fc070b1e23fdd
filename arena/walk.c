/*
 * walk.c: arena_walk: a list of all blocks as of one moment, then the visits with no lock held, so that
 * the visitor may do what it likes. The list takes 16 bytes a block, in a mapping of its own.
 */
#include "alloc.h"
#include "cachehook.h"
#include "carve.h"
#include "large.h"
#include "os.h"
#include "registry.h"
#include "survey.h"
#include "tiny.h"

#include <errno.h>

/* Blocks are at multiples of 8: the state goes into the address. */
typedef struct {
    uintptr_t start_and_state;
    size_t usable;
} record_t;

typedef struct {
    const arena_t *arena;
    record_t *records; /* NULL: only count */
    size_t count, room;
} list_t;

static void add(list_t *list, const void *start, size_t usable, arena_block_state_t state)
{
    if (list->records != NULL && list->count < list->room) {
        list->records[list->count] = (record_t){(uintptr_t)start | (uintptr_t)state, usable};
    }
    list->count++;
}

static void add_free_run(void *context, granule_t first, uint32_t length)
{
    add(context, granule_start(first), (size_t)length << GRANULE_LOG2, ARENA_BLOCK_FREE);
}

static void add_slab(void *context, slab_t *slab)
{
    size_t bytes = sizeclass_bytes[slab->class];
    for (unsigned i = 0; i < slab->capacity; i++) {
        bool free = i >= slab->bump || slab_bit(slab, i);
        add(context, at(granule_start(slab->granule), i * bytes), bytes,
            free ? ARENA_BLOCK_FREE : ARENA_BLOCK_LIVE);
    }
}

static void add_tiny(void *context, void *block, size_t usable, bool free)
{
    add(context, block, usable, free ? ARENA_BLOCK_FREE : ARENA_BLOCK_LIVE);
}

static void add_chunk(void *context, chunk_t *chunk)
{
    list_t *list = context;
    void *block = chunk_block(chunk);
    unsigned class = chunk_class(chunk);
    if (class == CHUNK_PIECE && list->arena->tiny != NULL && tiny_holds(list->arena, block)) {
        tiny_each(block, add_tiny, list);
    } else if (class >= CHUNK_FREE) {
        add(list, block, chunk_size(chunk) - CHUNK_HEADER, ARENA_BLOCK_FREE);
    } else {
        add(list, block, carve_usable(block, chunk_header(chunk)), ARENA_BLOCK_LIVE);
    }
}

static void add_large(void *context, const large_t *large)
{
    add(context, large->start, large->bytes, ARENA_BLOCK_LIVE);
}

/* Records are in ascending order within a region; regions are, too, and large blocks come last. */
static void mark_cached(void *context, void *block)
{
    list_t *list = context;
    size_t low = 0;
    size_t high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uintptr_t start = list->records[middle].start_and_state & ~(uintptr_t)7;
        if (start == (uintptr_t)block) {
            list->records[middle].start_and_state = start | ARENA_BLOCK_CACHED;
            return;
        }
        if (start < (uintptr_t)block) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
}

static void survey_into(arena_t *arena, list_t *list)
{
    survey_t survey = {
        .context = list, .free_run = add_free_run, .slab = add_slab, .chunk = add_chunk, .large = add_large};
    list->count = 0;
    survey_locked(arena, &survey);
}

/* Larges are in no order; caches never hold them, so the search leaves them out. */
static bool take_list(arena_t *arena, list_t *list)
{
    bool done = false;
    lock_acquire(&registry_lock);
    cachehook_stop(arena);
    lock_acquire(&arena->lock);
    survey_into(arena, list);
    list->room = list->count;
    if (list->count != 0) {
        list->records = os_map(list->count * sizeof(record_t), sizeof(record_t), (os_map_options_t){0});
    }
    done = list->count == 0 || list->records != NULL;
    if (list->records != NULL) {
        survey_into(arena, list);
        size_t all = list->count;
        list->count -= arena->totals.large_blocks;
        cachehook_each_block(arena, mark_cached, list);
        list->count = all;
    }
    lock_release(&arena->lock);
    cachehook_resume(arena);
    lock_release(&registry_lock);
    return done;
}

int arena_walk(arena_t *arena, arena_visit_fn visit, void *context)
{
    if (arena == NULL || visit == NULL) {
        errno = EINVAL;
        return -1;
    }
    list_t list = {.arena = arena};
    if (!take_list(arena, &list)) {
        errno = ENOMEM;
        return -1;
    }
    int answer = 0;
    for (size_t i = 0; i < list.count && answer == 0; i++) {
        uintptr_t both = list.records[i].start_and_state;
        arena_block_t block = {(void *)(both & ~(uintptr_t)7), list.records[i].usable,
                               (arena_block_state_t)(both & 7)};
        answer = visit(context, &block);
    }
    if (list.records != NULL) {
        os_unmap(list.records, list.room * sizeof(record_t));
    }
    return answer;
}
