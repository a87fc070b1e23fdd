/*
 * revoke.c: reaching the caches of other threads, threads that sleep included: what cachehook.h promises.
 *
 * All of it under the registry lock, so that threads and caches neither come nor go. If membarrier is
 * missing, or fails later (a seccomp filter), other threads' caches are skipped and stats says so.
 */
#include "../arena/alloc.h"
#include "../arena/cachehook.h"
#include "../arena/carve.h"
#include "../arena/meta.h"
#include "../arena/os.h"
#include "../arena/registry.h"
#include "../arena/survey.h"
#include "cache.h"
#include "depot.h"
#include "orphan.h"
#include "piece.h"
#include "split.h"
#include "threads.h"

#include <string.h>

static bool reach_works; /* guarded by the registry lock */

void cachehook_init(void)
{
    threads_init();
    reach_works = UNDER_TSAN || os_barrier_register();
}

static bool is_own(const cache_t *cache)
{
    return cache->thread->thread == &thread_self;
}

/* Whether nobody else can be inside of it. */
static bool is_at_rest(const cache_t *cache)
{
    return is_own(cache) || is_orphan(cache);
}

/* Spins, then sleeps, until the thread is out of its fast path; false: it did not leave in `patience_ms` more. */
static bool wait_until_idle(thread_t *thread, unsigned patience_ms)
{
    uint64_t deadline = 0;
    for (unsigned turn = 0;; turn++) {
        if (UNDER_TSAN) {
            uint32_t idle = 0;
            if (atomic_compare_exchange_strong(&thread->busy, &idle, 1)) {
                cache_leave(thread);
                return true;
            }
        } else if (atomic_load_explicit(&thread->busy, memory_order_acquire) == 0) {
            return true;
        }
        if (turn < LOCK_SPINS) {
            cpu_relax();
            continue;
        }
        uint64_t now = os_now_ms();
        deadline = deadline == 0 ? now + patience_ms : deadline;
        if (patience_ms == 0 || now > deadline) {
            return false;
        }
        os_sleep_us(50);
    }
}

/* Between the handlers of fork all caches but the caller's are stopped already, and stay so, mutex held: to start again
 * would take the barrier, which a child has not registered for yet, and to resume would forget who holds the mutex. */
static bool stays_stopped(const cache_t *cache)
{
    return lock_fork_passes && !is_own(cache);
}

/* First half: mutex held and out of the table. */
static void begin_stop(arena_t *arena)
{
    for (cache_t *cache = arena->caches; cache != NULL; cache = cache->next_in_arena) {
        if (stays_stopped(cache)) {
            continue;
        }
        lock_acquire_one_of_many(&cache->lock);
        cache->locked = cache->locked || !lock_fork_passes;
        cache->stopped = is_at_rest(cache) || reach_works;
        if (cache->stopped) {
            threads_evict(cache);
        }
    }
}

/* Second half, after the barrier. */
static void end_stop(arena_t *arena, unsigned patience_ms)
{
    for (cache_t *cache = arena->caches; cache != NULL; cache = cache->next_in_arena) {
        if (stays_stopped(cache)) {
            continue;
        }
        cache->stopped = is_at_rest(cache) || (cache->stopped && reach_works &&
                                               wait_until_idle(cache->thread->thread, patience_ms));
        if (cache->stopped) {
            split_end_all(cache);
            lock_acquire(&arena->lock);
            piece_close_locked(cache);
            lock_release(&arena->lock);
        }
    }
    lock_acquire(&arena->lock);
    carve_put_deferred_locked(arena);
    lock_release(&arena->lock);
}

void cachehook_evict(arena_t *arena)
{
    check_debug(lock_is_held(&registry_lock));
    for (const cache_t *cache = arena->caches; cache != NULL; cache = cache->next_in_arena) {
        threads_evict(cache);
    }
}

static bool has_others(const arena_t *arena)
{
    for (const cache_t *cache = arena->caches; cache != NULL; cache = cache->next_in_arena) {
        if (!is_at_rest(cache)) {
            return true;
        }
    }
    return false;
}

static void barrier(void)
{
    if (reach_works && !UNDER_TSAN && !os_barrier_all()) {
        reach_works = false;
    }
}

static void stop(arena_t *arena, unsigned patience_ms)
{
    check_debug(lock_is_held(&registry_lock));
    begin_stop(arena);
    if (has_others(arena) && !lock_fork_passes) {
        barrier();
    }
    end_stop(arena, patience_ms);
}

void cachehook_stop(arena_t *arena)
{
    stop(arena, REVOKE_POLL_MS);
}

void cachehook_resume(arena_t *arena)
{
    for (cache_t *cache = arena->caches; cache != NULL; cache = cache->next_in_arena) {
        if (stays_stopped(cache)) {
            continue;
        }
        cache->stopped = false;
        if (cache->locked && !lock_fork_passes) { /* not locked if it was made between fork handlers */
            cache->locked = false;
            lock_release(&cache->lock);
        }
    }
}

typedef struct {
    const arena_t *arena;
    cache_totals_t *totals;
} counter_t;

static void count_block(void *context, void *block)
{
    const counter_t *counter = context;
    uint32_t kind = pagemap_entry(block) ^ counter->arena->tag; /* unaligned hook memory is not in the map */
    unsigned class = kind <= SLAB_CLASSES ? kind : chunk_class(chunk_of(block));
    counter->totals->bytes += class <= CLASSES ? sizeclass_bytes[class] : 0;
    counter->totals->blocks++;
}

void cachehook_each_block(arena_t *arena, void (*visit)(void *context, void *block), void *context)
{
    for (const cache_t *cache = arena->caches; cache != NULL; cache = cache->next_in_arena) {
        if (cache->stopped) {
            cache_each_block(cache, visit, context);
        }
    }
    depot_t *depot = depot_of(arena);
    if (depot != NULL) {
        lock_acquire(&depot->lock);
        for (unsigned class = 1; class <= CLASSES; class ++) {
            depot_each_block(depot->full[class], class, visit, context);
        }
        lock_release(&depot->lock);
    }
}

void cachehook_count(arena_t *arena, cache_totals_t *totals)
{
    *totals = (cache_totals_t){0};
    for (const cache_t *cache = arena->caches; cache != NULL; cache = cache->next_in_arena) {
        totals->caches++;
        totals->skipped += !cache->stopped;
        totals->allocations += cache->stopped ? cache_allocations(cache) : 0;
    }
    cachehook_each_block(arena, count_block, &(counter_t){arena, totals});
}

/* The first misuse that draining finds is what is reported, when no lock is held. */
static void note_misuse(misuse_t *wrong, void **culprit, misuse_t found, void *const *block)
{
    if (*wrong == MISUSE_NONE && found != MISUSE_NONE) {
        *wrong = found;
        *culprit = *block;
    }
}

/* A full magazine's blocks go home; the magazine too. */
static misuse_t drain_magazine(arena_t *arena, unsigned class, magazine_t *magazine, void **culprit)
{
    size_t count;
    void **blocks = magazine_blocks(magazine_load_full(magazine, class), class, &count);
    bool settle = false; /* who drains a depot does, or grows */
    misuse_t wrong = alloc_drain(arena, blocks, count, &settle, culprit);
    meta_free(magazine);
    return wrong;
}

static misuse_t drain_depot(arena_t *arena, unsigned least, void **culprit)
{
    misuse_t wrong = MISUSE_NONE;
    depot_t *depot = depot_of(arena);
    magazine_t *magazine;
    for (unsigned class = least; depot != NULL && class <= CLASSES; class ++) {
        while ((magazine = depot_take(depot, NULL, class, NULL)) != NULL) {
            void *block = NULL;
            note_misuse(&wrong, culprit, drain_magazine(arena, class, magazine, &block), &block);
        }
    }
    while (depot != NULL && (magazine = depot_take_empty(depot)) != NULL) {
        meta_free(magazine);
    }
    return wrong;
}

misuse_t cachehook_drain_stopped(arena_t *arena, void **culprit)
{
    misuse_t wrong = MISUSE_NONE;
    void *block = NULL;
    for (cache_t *cache = arena->caches; cache != NULL; cache = cache->next_in_arena) {
        if (cache->stopped) {
            note_misuse(&wrong, culprit, cache_drain(cache, 1, &block), &block);
        }
    }
    note_misuse(&wrong, culprit, drain_depot(arena, 1, &block), &block);
    return wrong;
}

/* Of caches at rest, the calling thread's, those of threads that have ended, or all. */
static misuse_t drain_at_rest(arena_t *arena, reach_t reach, void **culprit)
{
    misuse_t wrong = MISUSE_NONE;
    void *block = NULL;
    for (cache_t *cache = arena->caches; cache != NULL; cache = cache->next_in_arena) {
        if (is_at_rest(cache) && (reach == REACH_REST || is_own(cache) == (reach == REACH_OWN))) {
            lock_acquire(&cache->lock);
            misuse_t found = cache_drain(cache, 1, &block);
            note_misuse(&wrong, culprit, found, &block);
            lock_acquire(&arena->lock);
            piece_close_locked(cache);
            lock_release(&arena->lock);
            lock_release(&cache->lock);
        }
    }
    return wrong;
}

misuse_t cachehook_reclaim(arena_t *arena, reach_t reach, void **culprit)
{
    misuse_t wrong = MISUSE_NONE;
    void *block = NULL;
    if (!arena->cacheable) { /* one that logs may have a cache that could not be stopped when the log began */
        return wrong;
    }
    lock_acquire(&registry_lock);
    if (reach >= REACH_IDLE) {
        stop(arena, reach == REACH_ALL ? REVOKE_POLL_MS : 0);
        wrong = cachehook_drain_stopped(arena, culprit);
        cachehook_resume(arena);
    } else {
        wrong = drain_at_rest(arena, reach, culprit);
        note_misuse(&wrong, culprit, drain_depot(arena, 1, &block), &block);
    }
    lock_release(&registry_lock);
    return wrong;
}

/* The caller's cache is one that it may use just now, or none. */
misuse_t cachehook_flow_back(arena_t *arena, size_t least_bytes, size_t keep_bytes, void **culprit)
{
    unsigned least = least_bytes == 0 ? 1 : sizeclass_of(least_bytes) + 1;
    misuse_t wrong = MISUSE_NONE;
    void *block = NULL;
    depot_t *depot = depot_of(arena);
    if (depot != NULL && depot_held_bytes(depot, least) > keep_bytes) {
        wrong = drain_depot(arena, least, culprit);
    }
    cache_t *cache = record_lookup(arena->index);
    if (cache != NULL) {
        lock_acquire(&cache->lock);
        misuse_t found =
            cache_held_bytes(cache, least) > keep_bytes ? cache_drain(cache, least, &block) : MISUSE_NONE;
        lock_release(&cache->lock);
        note_misuse(&wrong, culprit, found, &block);
    }
    return wrong;
}

static bool flow_one_of(arena_t *arena, cache_t *cache, unsigned class, misuse_t *wrong, void **culprit)
{
    depot_t *depot = depot_of(arena);
    magazine_t *magazine = depot == NULL ? NULL : depot_take(depot, NULL, class, NULL);
    if (magazine != NULL) {
        *wrong = drain_magazine(arena, class, magazine, culprit);
        return true;
    }
    if (cache == NULL || (cache->next[class] == NULL && !cache_load_own(cache, class))) {
        return false;
    }
    cache_empty_loaded(cache, class);
    return true;
}

bool cachehook_flow_one(arena_t *arena, size_t usable, misuse_t *wrong, void **culprit)
{
    cache_t *cache = record_lookup(arena->index);
    bool flowed = false;
    *wrong = MISUSE_NONE;
    if (cache != NULL) {
        lock_acquire(&cache->lock);
    }
    for (unsigned class = sizeclass_of(max_size(usable, SLAB_MAX + 1)); class <= CLASSES && !flowed;
         class ++) {
        flowed = flow_one_of(arena, cache, class, wrong, culprit);
    }
    if (cache != NULL) {
        lock_release(&cache->lock);
    }
    return flowed;
}

/* Whether the calling thread has a cache of the arena that it may not use just now: somebody looked into it. */
static bool is_evicted(const arena_t *arena)
{
    thread_record_t *record = thread_self.record;
    const cache_slot_t *slot = record == NULL ? NULL : record_slot(record, arena->index);
    return slot != NULL && (atomic_load_explicit(slot, memory_order_relaxed) & CACHE_EVICTED) != 0;
}

bool cachehook_has_magazine(const arena_t *arena, unsigned class)
{
    if (is_evicted(arena)) {
        thread_restore(arena);
    }
    cache_enter(&thread_self);
    const cache_t *cache = record_lookup(arena->index);
    bool has = cache != NULL && cache_has_magazine(cache, class);
    cache_leave(&thread_self);
    return has;
}

static void discard_depot(arena_t *arena)
{
    depot_t *depot = depot_of(arena);
    if (depot == NULL) {
        return;
    }
    magazine_t *magazine;
    for (unsigned class = 1; class <= CLASSES; class ++) {
        while ((magazine = depot_take(depot, NULL, class, NULL)) != NULL) {
            meta_free(magazine);
        }
    }
    while ((magazine = depot_take_empty(depot)) != NULL) {
        meta_free(magazine);
    }
    meta_free(depot);
    atomic_store_explicit(&arena->depot, NULL, memory_order_release);
}

void cachehook_forget(arena_t *arena, bool keep_own)
{
    check_debug(lock_is_held(&registry_lock));
    for (cache_t *cache = arena->caches, *next; cache != NULL; cache = next) {
        next = cache->next_in_arena;
        threads_evict(cache);
        arena->totals.allocations += cache_allocations(cache); /* no one uses the arena */
        cache_discard(cache);
        if (keep_own && is_own(cache)) {
            cache_init(cache, arena);
        } else {
            threads_unlink_cache_locked(cache);
            threads_recycle_cache_locked(cache);
        }
    }
    discard_depot(arena);
}

/* One barrier for all arenas. */
void cachehook_fork_prepare(void)
{
    for (arena_t *arena = registry_first_locked(); arena != NULL; arena = arena->next_live) {
        begin_stop(arena);
    }
    barrier();
    for (arena_t *arena = registry_first_locked(); arena != NULL; arena = arena->next_live) {
        end_stop(arena, REVOKE_POLL_MS);
    }
}

bool cachehook_fork_each_depot(bool (*act)(lock_t *lock))
{
    bool done = true;
    for (arena_t *arena = registry_first_locked(); arena != NULL && done; arena = arena->next_live) {
        done = depot_of(arena) == NULL || act(&depot_of(arena)->lock);
    }
    return done;
}

void cachehook_fork_parent(void)
{
    for (arena_t *arena = registry_first_locked(); arena != NULL; arena = arena->next_live) {
        cachehook_resume(arena);
    }
}

/*
 * A cache whose thread was caught inside a fast path. Its blocks are abandoned, because one of them may be
 * half way; its piece is closed as the headers tell, which are written in an order that always leads on.
 */
static void abandon(arena_t *arena, cache_t *cache)
{
    lock_acquire(&arena->lock);
    chunk_t *piece = cache->piece;
    if (piece != NULL && !chunk_has_flag(piece, CHUNK_OPEN)) {
        piece = chunk_next(piece); /* carved, but not yet noted */
    }
    bool open = piece != NULL && chunk_class(piece) == CHUNK_PIECE && chunk_has_flag(piece, CHUNK_OPEN);
    memcpy(cache->carved_noted, cache->carved, sizeof cache->carved_noted);
    cache->piece = open ? piece : NULL;
    cache->piece_bytes = open ? chunk_size(piece) : 0;
    piece_close_locked(cache);
    survey_recount_locked(arena);
    lock_release(&arena->lock);
}

/* All threads but the caller's are no more: what they had cached goes home, as far as it can be told. */
static void drain_or_abandon_others(arena_t *arena)
{
    for (cache_t *cache = arena->caches, *next; cache != NULL; cache = next) {
        void *culprit = NULL;
        next = cache->next_in_arena;
        if (cache->locked) {
            cache->locked = false;
            lock_release(&cache->lock); /* the forking thread took it */
        }
        if (is_own(cache)) {
            cache->stopped = false;
            continue;
        }
        arena->totals.allocations += cache_allocations(cache);
        threads_unlink_cache_locked(cache);
        if (cache->stopped) {
            cache_drain(cache, 1, &culprit);
            threads_recycle_cache_locked(cache);
        } else {
            abandon(arena, cache);
        }
    }
}

void cachehook_fork_child(void)
{
    reach_works = reach_works && (UNDER_TSAN || os_barrier_register());
    for (arena_t *arena = registry_first_locked(); arena != NULL; arena = arena->next_live) {
        drain_or_abandon_others(arena);
    }
    threads_forget_others_locked();
}
