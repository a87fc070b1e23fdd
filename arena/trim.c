/*
 * trim.c: arena_trim: everything free goes back, in the order in which one step makes work for the next:
 * caches, empty slabs, free ends of regions, free runs, pages inside chunks and slabs.
 */
#include "alloc.h"
#include "bin.h"
#include "cachehook.h"
#include "carve.h"
#include "os.h"
#include "park.h"
#include "region.h"
#include "registry.h"
#include "slab.h"
#include "source.h"
#include "stock.h"
#include "sweep.h"

/* Whole pages of a free chunk, without its links and its footer; once. What was not resident counts, too. */
static size_t purge_chunk(arena_t *arena, chunk_t *chunk)
{
    size_t page = os_page_bytes();
    uintptr_t from = align_up((uintptr_t)chunk + sizeof *chunk + sizeof(uint64_t), page);
    uintptr_t to = align_down((uintptr_t)chunk + chunk_size(chunk) - sizeof(uint64_t), page);
    bool done =
        chunk_size(chunk) < CHUNK_MARKED || chunk_has_flag(chunk, CHUNK_ZERO) || *chunk_purged(chunk) != 0;
    if (to <= from || done) {
        return 0;
    }
    arena->totals.kernel_calls++;
    if (!source_drop(arena, (void *)from, to - from)) {
        return 0;
    }
    *chunk_purged(chunk) = 1;
    return to - from;
}

static size_t purge_chunks_locked(arena_t *arena)
{
    size_t given = 0;
    if (arena->in_buffer) {
        return 0;
    }
    for (unsigned bin = bin_index(&arena->bins, os_page_bytes());
         bin < arena->bins.levels << arena->bins.steps_log2; bin++) {
        for (chunk_t *chunk = arena->bins.heads[bin]; chunk != NULL; chunk = chunk->next) {
            given += purge_chunk(arena, chunk);
        }
    }
    return given;
}

/* Caller holds the registry lock; a misuse that this finds is reported without it. */
static void drain_caches(arena_t *arena)
{
    void *culprit = NULL;
    cachehook_stop(arena);
    misuse_t wrong = cachehook_drain_stopped(arena, &culprit);
    cachehook_resume(arena);
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        lock_release(&registry_lock);
        misuse(wrong, arena, culprit);
    }
}

static size_t mapped_bytes(arena_t *arena)
{
    lock_acquire(&arena->lock);
    size_t bytes = arena->totals.mapped_bytes;
    lock_release(&arena->lock);
    return bytes;
}

/* No lock held: the source's hooks may use other arenas. */
static size_t give_back_free(arena_t *arena, size_t keep_bytes)
{
    lock_acquire(&arena->lock);
    slab_release_empty_locked(arena);
    carve_release_locked(arena);
    lock_release(&arena->lock);
    size_t given = mapped_bytes(arena) > keep_bytes ? park_drop_old(arena, UINT64_MAX) : 0;
    given += alloc_lower_break(arena, keep_bytes) + region_trim(arena, keep_bytes);
    if (mapped_bytes(arena) <= keep_bytes) {
        return given;
    }
    given += region_purge(arena, 0);
    if (arena->source == ARENA_SOURCE_HOOKS) {
        return given; /* hooks are not called under the mutex */
    }
    lock_acquire(&arena->lock);
    size_t inside = purge_chunks_locked(arena);
    arena->totals.purged_bytes += inside;
    lock_release(&arena->lock);
    return given + inside + sweep_all(arena);
}

/* Pinned meanwhile: other threads may destroy arenas beside a trim of all. */
static size_t trim_all(size_t keep_bytes)
{
    size_t given = 0;
    lock_acquire(&registry_lock);
    for (arena_t *arena = registry_first_locked(); arena != NULL; arena = arena->next_live) {
        if (arena->lock.off) {
            continue; /* ARENA_SINGLE_THREAD: not ours to touch from this thread */
        }
        drain_caches(arena);
        arena->pins++;
        lock_release(&registry_lock);
        given += give_back_free(arena, keep_bytes);
        lock_acquire(&registry_lock);
        arena->pins--;
    }
    lock_release(&registry_lock);
    return given + stock_trim(0);
}

size_t arena_trim(arena_t *arena, size_t keep_bytes)
{
    if (arena == NULL) {
        return trim_all(keep_bytes);
    }
    alloc_check_alive(arena, NULL);
    lock_acquire(&registry_lock);
    drain_caches(arena);
    lock_release(&registry_lock);
    return give_back_free(arena, keep_bytes);
}
