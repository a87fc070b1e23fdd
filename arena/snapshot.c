/* snapshot.c: see snapshot.h. Counts first, then maps, then goes over the heap once more. */
#include "snapshot.h"

#include "cachehook.h"
#include "carve.h"
#include "large.h"
#include "name.h"
#include "os.h"
#include "registry.h"
#include "survey.h"
#include "tiny.h"

#include <string.h>

/* Counts only, as long as there is no room. */
static void add(snapshot_t *snapshot, const void *start, size_t usable, arena_block_state_t state)
{
    if (snapshot->count < snapshot->room) {
        snapshot->records[snapshot->count] = (record_t){(uintptr_t)start | (uintptr_t)state, usable};
    }
    snapshot->count++;
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
    snapshot_t *snapshot = context;
    void *block = chunk_block(chunk);
    unsigned class = chunk_class(chunk);
    if (class == CHUNK_PIECE && snapshot->arena->tiny != NULL && tiny_holds(snapshot->arena, block)) {
        tiny_each(block, add_tiny, snapshot);
    } else if (class >= CHUNK_FREE) {
        add(snapshot, block, chunk_size(chunk) - CHUNK_HEADER, ARENA_BLOCK_FREE);
    } else {
        add(snapshot, block, carve_usable(block, chunk_header(chunk)), ARENA_BLOCK_LIVE);
    }
}

static void add_large(void *context, const large_t *large)
{
    add(context, large->start, large->bytes, ARENA_BLOCK_LIVE);
}

/* Records are in ascending order within a region; regions are, too, and large blocks come last. */
static void mark_cached(void *context, void *block)
{
    snapshot_t *snapshot = context;
    size_t low = 0;
    size_t high = snapshot->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uintptr_t start = snapshot->records[middle].start_and_state & ~(uintptr_t)7;
        if (start == (uintptr_t)block) {
            snapshot->records[middle].start_and_state = start | ARENA_BLOCK_CACHED;
            return;
        }
        if (start < (uintptr_t)block) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
}

static void survey_into(arena_t *arena, snapshot_t *snapshot)
{
    survey_t survey = {.context = snapshot,
                       .free_run = add_free_run,
                       .slab = add_slab,
                       .chunk = add_chunk,
                       .large = add_large};
    snapshot->count = 0;
    survey_locked(arena, &survey);
}

/* Bytes that a copy of the arena's names takes; with `to`, makes it there. */
static size_t copy_texts(const names_t *names, char *to)
{
    size_t bytes = 0;
    for (size_t i = 0; names != NULL && i < names->texts.capacity; i++) {
        name_t *text = (name_t *)names->texts.slots[i].value;
        for (; text != NULL; text = text->next) {
            size_t length = text->bytes - sizeof *text;
            if (to != NULL) {
                text->copied = memcpy(to + bytes, text->text, length);
            }
            bytes += length;
        }
    }
    return bytes;
}

static void note_names_locked(const arena_t *arena, snapshot_t *snapshot, size_t room)
{
    for (size_t i = 0; i < snapshot->count && snapshot->named_count < room; i++) {
        uintptr_t both = snapshot->records[i].start_and_state;
        const name_t *name = names_find_locked(arena, (void *)(both & ~(uintptr_t)7));
        if (name != NULL && (both & 7) == ARENA_BLOCK_LIVE) {
            snapshot->named[snapshot->named_count++] = (named_t){i, name->copied};
        }
    }
}

/* So does this. */
static void add_member(snapshot_t *snapshot, member_t member)
{
    if (snapshot->member_count < snapshot->member_room) {
        snapshot->members[snapshot->member_count] = member;
    }
    snapshot->member_count++;
}

static void add_chunk_bins(const arena_t *arena, snapshot_t *snapshot)
{
    const chunk_bins_t *bins = &arena->bins;
    for (unsigned bin = 0; bin < bins->levels << bins->steps_log2; bin++) {
        for (const chunk_t *chunk = bins->heads[bin]; chunk != NULL; chunk = chunk->next) {
            add_member(snapshot, (member_t){LIST_CHUNKS, bin, chunk_block(chunk), chunk_size(chunk)});
        }
    }
}

static void add_run_bins(snapshot_t *snapshot, const run_bins_t *bins, list_t list)
{
    for (unsigned bin = 0; bin < RUN_BINS; bin++) {
        for (granule_t run = bins->heads[bin]; run != 0; run = pagemap_tag(run)->next) {
            size_t bytes = (size_t)pagemap_tag(run)->length << GRANULE_LOG2;
            add_member(snapshot, (member_t){list, bin, granule_start(run), bytes});
        }
    }
}

static void add_slab_lists(const granules_t *granules, snapshot_t *snapshot)
{
    for (unsigned i = 0; i < (SLAB_CLASSES + 1) * FULLNESS_LISTS; i++) {
        unsigned class = i / FULLNESS_LISTS;
        const slab_t *slab =
            slab_first(&granules->slab_class[class], FULLNESS_LISTS - 1 - i % FULLNESS_LISTS);
        for (; slab != NULL; slab = slab->next) {
            size_t bytes = (size_t)(slab->capacity - slab->used) * sizeclass_bytes[class];
            add_member(snapshot, (member_t){LIST_SLABS, class, granule_start(slab->granule), bytes});
        }
    }
}

static void add_members(const arena_t *arena, snapshot_t *snapshot)
{
    snapshot->member_count = 0;
    if (!snapshot->with_members) {
        return;
    }
    for (const region_t *region = arena->regions; region != NULL; region = region->next) {
        add_member(snapshot, (member_t){LIST_REGIONS, region->source, region->start, region->bytes});
    }
    add_chunk_bins(arena, snapshot);
    if (!arena->in_buffer) {
        add_run_bins(snapshot, &arena->granules->dirty_runs, LIST_DIRTY_RUNS);
        add_run_bins(snapshot, &arena->granules->clean_runs, LIST_CLEAN_RUNS);
        add_slab_lists(arena->granules, snapshot);
    }
}

static bool take_locked(arena_t *arena, snapshot_t *snapshot)
{
    const names_t *names = names_of(arena);
    size_t named = names == NULL ? 0 : names->blocks.used;
    survey_into(arena, snapshot);
    add_members(arena, snapshot);
    if (snapshot->count + snapshot->member_count == 0) {
        return true;
    }
    size_t room = snapshot->room = snapshot->count;
    size_t members = snapshot->member_room = snapshot->member_count;
    snapshot->bytes = room * sizeof(record_t) + members * sizeof(member_t) + named * sizeof(named_t) +
                      copy_texts(names, NULL);
    snapshot->mapping = os_map(snapshot->bytes, 16, (os_map_options_t){0});
    if (snapshot->mapping == NULL) {
        return false;
    }
    snapshot->records = snapshot->mapping;
    snapshot->members = (member_t *)(snapshot->records + room);
    snapshot->named = (named_t *)(snapshot->members + members);
    add_members(arena, snapshot);
    survey_into(arena, snapshot);
    snapshot->count -= arena->totals.large_blocks; /* in no order; caches never hold them */
    cachehook_each_block(arena, mark_cached, snapshot);
    snapshot->count = room;
    if (named != 0) {
        copy_texts(names, (char *)(snapshot->named + named));
        note_names_locked(arena, snapshot, named);
    }
    return true;
}

bool snapshot_take(arena_t *arena, bool with_members, snapshot_t *snapshot)
{
    *snapshot = (snapshot_t){.arena = arena, .with_members = with_members};
    lock_acquire(&registry_lock);
    cachehook_stop(arena);
    lock_acquire(&arena->lock);
    bool done = take_locked(arena, snapshot);
    lock_release(&arena->lock);
    cachehook_resume(arena);
    lock_release(&registry_lock);
    return done;
}

void snapshot_release(snapshot_t *snapshot)
{
    if (snapshot->mapping != NULL) {
        os_unmap(snapshot->mapping, snapshot->bytes);
    }
}

bool snapshot_next(snapshot_t *snapshot, arena_block_t *block)
{
    size_t i = snapshot->next;
    if (i >= snapshot->count) {
        return false;
    }
    uintptr_t both = snapshot->records[i].start_and_state;
    *block = (arena_block_t){.start = (void *)(both & ~(uintptr_t)7),
                             .usable = snapshot->records[i].usable,
                             .state = (arena_block_state_t)(both & 7)};
    if (snapshot->next_named < snapshot->named_count && snapshot->named[snapshot->next_named].record == i) {
        block->name = snapshot->named[snapshot->next_named++].text;
    }
    snapshot->next++;
    return true;
}
