/*
 * thread.c: a thread's record and its caches: made at first use, found again after a miss in the table,
 * given up at thread exit. How many there are of them is surplus.c's concern.
 */
#include "../arena/alloc.h"
#include "../arena/cachehook.h"
#include "../arena/flow.h"
#include "../arena/list.h"
#include "../arena/meta.h"
#include "../arena/os.h"
#include "../arena/registry.h"
#include "cache.h"
#include "depot.h"
#include "orphan.h"
#include "piece.h"
#include "surplus.h"
#include "threads.h"

#include <pthread.h>

enum { RETIRED_MAX = 64, RETIRED_SPARES = 4 };

/* NULL is no arena's handle, and neither is 1. */
cache_t cache_none = {.arena = (arena_t *)1,
                      .tag = UINT64_MAX,
                      .top = {[0 ... CLASSES] = &magazine_dummy.slot[MAGAZINE_SLOTS]}};

_Thread_local thread_t thread_self = {.table = {[0 ... TABLE_SLOTS - 1] = &cache_none}};

/* guarded by the registry lock */
static thread_record_t *records;
static pthread_key_t exit_key;
static bool exit_key_works;

static void free_many(thread_record_t *record)
{
    if (record->many != NULL) {
        os_unmap(record->many, record->many_count * sizeof *record->many);
    }
}

/* Registers the calling thread; false: no memory, or it is exiting. */
static bool register_self_locked(thread_t *self)
{
    if (self->gone || !exit_key_works) {
        return false;
    }
    if (self->record != NULL) {
        return true;
    }
    thread_record_t *record = meta_calloc(sizeof *record);
    self->gone = true; /* the C library may allocate here, by us, and must not come back to this */
    bool known = record != NULL && pthread_setspecific(exit_key, record) == 0;
    self->gone = false;
    if (!known) {
        meta_free(record);
        return false;
    }
    record->thread = self;
    self->record = record;
    LIST_PUSH(records, record, next, previous);
    return true;
}

/* A cache's own. */
static cache_slot_t *slot_of(const cache_t *cache)
{
    return is_orphan(cache) ? orphan_slot_locked(cache) : record_slot(cache->thread, cache->arena->index);
}

/* False: no memory. */
static bool make_slot_locked(thread_record_t *record, size_t index)
{
    if (record_slot(record, index) != NULL) {
        return true;
    }
    size_t bytes = max_size(record->many_count * sizeof *record->many, os_page_bytes());
    while (bytes / sizeof *record->many <= index - CACHES_FEW) {
        bytes *= 2;
    }
    cache_slot_t *many = os_map(bytes, os_page_bytes(), (os_map_options_t){0});
    if (many == NULL) {
        return false;
    }
    for (size_t i = 0; i < record->many_count; i++) {
        uintptr_t cache = atomic_load_explicit(&record->many[i], memory_order_relaxed);
        if (cache != 0) { /* else the page may stay untouched */
            atomic_init(&many[i], cache);
        }
    }
    free_many(record);
    record->many = many;
    record->many_count = bytes / sizeof *many;
    return true;
}

void threads_unlink_cache_locked(cache_t *cache)
{
    atomic_store_explicit(slot_of(cache), 0, memory_order_relaxed);
    cache->thread->caches--;
    LIST_UNLINK(cache->arena->caches, cache, next_in_arena, previous_in_arena);
    cache->arena->cache_count -= !is_orphan(cache);
}

static void evict_from(_Atomic(cache_t *) *slot, const cache_t *cache)
{
    if (atomic_load_explicit(slot, memory_order_relaxed) == cache) {
        atomic_store_explicit(slot, &cache_none, memory_order_relaxed);
    }
}

void threads_evict(const cache_t *cache)
{
    evict_from(table_slot(cache->thread->thread, cache->arena), cache);
    evict_from(table_slot(cache->thread->thread, NULL), cache);
    atomic_store_explicit(slot_of(cache), (uintptr_t)cache | CACHE_EVICTED, memory_order_relaxed);
}

/* The calling thread's, or one that is no more. */
static void free_retired_locked(thread_record_t *record, unsigned keep)
{
    while (record->retired_count > keep) {
        cache_t *cache = record->retired;
        record->retired = cache->next_in_arena;
        record->retired_count--;
        cache_free_spares(cache, 0);
        meta_free(cache->split);
        meta_free(cache);
    }
}

/*
 * Back to the thread that it came from and to no other: that thread may have loaded it from a slot that two
 * arenas share, and be about to compare its arena. It alone may see it become another arena's, or unmap it.
 */
void threads_recycle_cache_locked(cache_t *cache)
{
    thread_record_t *record = cache->thread;
    if (record->retired_count >= RETIRED_SPARES) {
        cache_free_spares(cache, 0);
    }
    record->retired_count++;
    cache->next_in_arena = record->retired;
    record->retired = cache;
    if (record->thread == &thread_self) {
        free_retired_locked(record, RETIRED_MAX);
    } else if (record == &orphanage) {
        free_retired_locked(record, 0); /* that thread is no more */
    }
}

static void free_record_locked(thread_record_t *record)
{
    free_retired_locked(record, 0);
    free_many(record);
    meta_free(record);
}

/* Takes the cache away from its thread, which is the caller or no more; returns what the arena has mapped. */
static size_t withdraw_locked(cache_t *cache)
{
    arena_t *arena = cache->arena;
    threads_evict(cache);
    lock_acquire(&arena->lock);
    piece_close_locked(cache);
    if (arena->cache_count == !is_orphan(cache) && arena->granules != NULL) {
        arena->granules->retaken_bytes = 0; /* nobody is left to take it once more */
    }
    size_t mapped = arena->totals.mapped_bytes;
    lock_release(&arena->lock);
    return mapped;
}

/* The cache's blocks go home, then it is nobody's. Its thread is the caller, or no more. */
static void give_up_cache_locked(cache_t *cache)
{
    arena_t *arena = cache->arena;
    void *culprit = NULL;
    lock_acquire(&cache->lock);
    withdraw_locked(cache);
    lock_acquire(&arena->lock);
    arena->totals.allocations += cache_allocations(cache);
    lock_release(&arena->lock);
    misuse_t wrong = cache_drain(cache, 1, &culprit);
    lock_release(&cache->lock);
    threads_unlink_cache_locked(cache);
    threads_recycle_cache_locked(cache);
    if (wrong != MISUSE_NONE) {
        lock_release(&registry_lock);
        misuse(wrong, arena, culprit);
    }
}

static cache_t *new_cache(thread_record_t *record)
{
    cache_t *cache = record->retired;
    if (cache != NULL) {
        record->retired = cache->next_in_arena;
        record->retired_count--;
        free_retired_locked(record, RETIRED_MAX);
        return cache;
    }
    cache = meta_calloc(sizeof *cache);
    if (cache == NULL) {
        return NULL;
    }
    lock_init(&cache->lock, RANK_CACHE, false);
    cache->until_tick = TICK_ALLOCATIONS;
    for (unsigned class = 0; class <= CLASSES; class ++) {
        cache_set_top(cache, class, magazine_top_of_dummy());
    }
    return cache;
}

/* Looks at some of the caller's caches, if there are many; gives those up that are too many. */
static void review_locked(thread_record_t *record, unsigned looks)
{
    record->crowded = record->caches >= CACHES_LEAST;
    for (; looks != 0 && record->caches >= CACHES_LEAST && !lock_fork_passes; looks--) {
        cache_t *victim = surplus_look_locked(record);
        if (victim != NULL) {
            give_up_cache_locked(victim);
        }
    }
}

/* That of a thread that ended, or a new one. NULL: no memory, or too many: not this time. */
static cache_t *create_locked(thread_record_t *record, arena_t *arena)
{
    bool surplus = surplus_begins_locked(record, arena);
    review_locked(record, 1);
    if (!make_slot_locked(record, arena->index) || (surplus && !surplus_earns_locked(record, arena))) {
        return NULL;
    }
    cache_t *cache = lock_fork_passes ? NULL : orphan_take_locked(arena); /* all caches are stopped then */
    if (cache == NULL) {
        cache = new_cache(record);
        if (cache == NULL) {
            return NULL;
        }
        cache_init(cache, arena);
        LIST_PUSH(arena->caches, cache, next_in_arena, previous_in_arena);
    }
    cache->thread = record;
    record->caches++;
    arena->cache_count++;
    unsigned *most = &arena->granules->cache_most;
    *most = arena->cache_count > *most ? arena->cache_count : *most;
    return cache;
}

/* The calling thread may use it from now on. No revoker is at it: it would hold the registry lock. */
static void permit_locked(cache_t *cache)
{
    atomic_store_explicit(slot_of(cache), (uintptr_t)cache, memory_order_relaxed);
    atomic_store_explicit(table_slot(&thread_self, cache->arena), cache, memory_order_relaxed);
    if (thread_home() == cache->arena) {
        atomic_store_explicit(table_slot(&thread_self, NULL), cache, memory_order_relaxed);
    }
}

cache_t *thread_cache(arena_t *arena)
{
    thread_t *self = &thread_self;
    cache_t *cache = record_lookup(arena->index);
    if (cache != NULL) {
        return cache; /* its own, and the arena is in use: it cannot go away */
    }
    if (self->gone || !atomic_load_explicit(&arena->alive, memory_order_relaxed) ||
        thread_has_surplus(arena)) {
        return NULL;
    }
    lock_acquire(&registry_lock);
    if (atomic_load_explicit(&arena->cached, memory_order_relaxed) && register_self_locked(self)) {
        cache = record_cache_locked(self->record, arena->index);
        cache = cache != NULL ? cache : create_locked(self->record, arena);
    }
    if (cache != NULL) {
        permit_locked(cache);
    }
    lock_release(&registry_lock);
    return cache;
}

bool thread_begins(void)
{
    thread_t *self = &thread_self;
    if (LIKELY(self->record != NULL) || self->first_frees == FIRST_FREES) {
        return false;
    }
    self->first_frees++;
    return true;
}

bool thread_has_surplus(const arena_t *arena)
{
    thread_record_t *record = thread_self.record;
    cache_slot_t *slot = record == NULL ? NULL : record_slot(record, arena->index);
    return slot != NULL && surplus_counts(slot);
}

void thread_review(unsigned looks)
{
    thread_record_t *record = thread_self.record;
    if (record == NULL || LIKELY(!record->crowded)) {
        return;
    }
    lock_acquire(&registry_lock);
    review_locked(record, looks);
    lock_release(&registry_lock);
}

void thread_restore(const arena_t *arena)
{
    if (table_lookup(arena)->arena != arena && !lock_fork_passes) {
        lock_acquire(&registry_lock);
        bool may = atomic_load_explicit(&arena->cached, memory_order_relaxed) && thread_self.record != NULL;
        cache_t *cache = may ? record_cache_locked(thread_self.record, arena->index) : NULL;
        if (cache != NULL) {
            permit_locked(cache);
        }
        lock_release(&registry_lock);
    }
}

void thread_settle(arena_t *arena)
{
    thread_t *self = &thread_self;
    arena_t *old = thread_home();
    atomic_store_explicit(&self->home, arena, memory_order_relaxed);
    cache_t *left = NULL;
    lock_acquire(&registry_lock);
    if (self->record != NULL && old != arena && !lock_fork_passes) { /* else all caches are stopped */
        left = old == NULL ? NULL : record_cache_locked(self->record, old->index);
        if (left != NULL) {
            give_up_cache_locked(left);
        }
        cache_t *cache = record_cache_locked(self->record, arena->index);
        if (cache != NULL) {
            permit_locked(cache);
        }
    }
    lock_release(&registry_lock);
    if (left != NULL) {
        alloc_settle(old);
    }
}

unsigned thread_count_settled(const arena_t *arena)
{
    unsigned count = 0;
    lock_acquire(&registry_lock);
    for (const thread_record_t *record = records; record != NULL; record = record->next) {
        count += atomic_load_explicit(&record->thread->home, memory_order_relaxed) == arena;
    }
    lock_release(&registry_lock);
    return count;
}

/*
 * Releases the registry lock for a moment: too much free memory goes back to the kernel, or to hooks. After many threads
 * have ended, what was left for others to take, and is not taken, goes home first.
 */
static void settle_locked(arena_t *arena, bool after_threads)
{
    arena->pins++;
    lock_release(&registry_lock);
    if (after_threads) {
        flow_after_threads(arena);
    }
    alloc_settle(arena);
    lock_acquire(&registry_lock);
    arena->pins--;
}

/* What they held may be purged by a tick of their arena: the caller may be inside one of its hooks. */
static void drop_orphans_locked(void)
{
    cache_t *cache;
    while ((cache = orphan_find_old_locked(os_now_ms())) != NULL) {
        give_up_cache_locked(cache);
    }
}

void thread_drop_orphans(void)
{
    if (!lock_fork_passes) {
        lock_acquire(&registry_lock);
        drop_orphans_locked();
        lock_release(&registry_lock);
    }
}

/*
 * The calling thread ends: its cache waits for another thread, if that may be. A misuse that is found here is reported by
 * who takes it over, or gives it up.
 */
static bool leave_cache_locked(cache_t *cache)
{
    bool kept = false;
    lock_acquire(&cache->lock);
    if (cachehook_allowed(cache->arena)) {
        size_t mapped = withdraw_locked(cache);
        cache_pack(cache);
        kept = orphan_keep_locked(cache, mapped);
    }
    lock_release(&cache->lock);
    return kept;
}

/* Whether half of the arena's threads have ended since that was last so, and no others took over what they left. */
static bool many_ended_locked(arena_t *arena)
{
    unsigned *most = &arena->granules->cache_most;
    bool many = arena->cache_count <= *most / 2 && orphan_many_wait_locked();
    *most = many ? arena->cache_count : *most;
    return many;
}

static void give_up_all_locked(thread_record_t *record, bool ends)
{
    for (size_t index = 0; record->caches != 0; index = record_next_index(record, index)) {
        cache_t *cache = record_cache_locked(record, index);
        if (cache != NULL) {
            arena_t *arena = cache->arena;
            if (!ends || !leave_cache_locked(cache)) {
                give_up_cache_locked(cache);
            }
            settle_locked(arena, ends && many_ended_locked(arena));
        }
    }
}

/* pthread_key destructor. What other destructors free afterwards takes the arena's mutex. */
static void thread_exit(void *argument)
{
    thread_record_t *record = argument;
    lock_acquire(&registry_lock);
    drop_orphans_locked();
    give_up_all_locked(record, true);
    LIST_UNLINK(records, record, next, previous);
    record->thread->gone = true;
    record->thread->record = NULL;
    free_record_locked(record);
    lock_release(&registry_lock);
}

void arena_thread_flush(void)
{
    thread_t *self = &thread_self;
    if (lock_fork_passes) {
        return; /* all caches are stopped; see fork.c */
    }
    lock_acquire(&registry_lock);
    if (self->record != NULL) {
        give_up_all_locked(self->record, false);
    }
    lock_release(&registry_lock);
}

void threads_forget_others_locked(void)
{
    thread_record_t *own = thread_self.record;
    for (thread_record_t *record = records, *next; record != NULL; record = next) {
        next = record->next;
        if (record != own) {
            free_record_locked(record);
        }
    }
    records = own;
    if (own != NULL) {
        own->next = own->previous = NULL;
    }
}

void threads_init(void)
{
    exit_key_works = pthread_key_create(&exit_key, thread_exit) == 0;
}

/*
 * dlclose, or the process ends: threads that live on must not come back to thread_exit, which may be no more. They have no
 * caches any more, and get none. Not while there are arenas: their caches' threads have to be seen to end.
 */
AT_UNLOAD static void forget_exits(void)
{
    if (!lock_try_acquire(&registry_lock)) {
        return; /* held by who called exit, from a signal's handler, or by a thread that stays: all ends anyway */
    }
    if (exit_key_works && registry_first_locked() == NULL) {
        exit_key_works = false;
        pthread_key_delete(exit_key);
    }
    lock_release(&registry_lock);
}
