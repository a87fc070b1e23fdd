/*
 * thread.c: a thread's record and its caches: made at first use, found again after a miss in the table,
 * given up at thread exit. A thread has at most CACHES_MAX caches. Beyond that, of the uses of arenas without one,
 * one in SURPLUS_TURNS makes a cache, in place of the next bucket's; the others take the arena's mutex, which is far
 * cheaper than a new cache.
 */
#include "../arena/alloc.h"
#include "../arena/cachehook.h"
#include "../arena/meta.h"
#include "../arena/os.h"
#include "../arena/registry.h"
#include "depot.h"
#include "piece.h"
#include "tcache.h"
#include "threads.h"

#include <pthread.h>
#include <string.h>

enum { CACHES_MAX = 1024, SURPLUS_TURNS = 64, RETIRED_MAX = 64, RETIRED_SPARES = 4 };

/* NULL is no arena's handle, and neither is 1. */
cache_t cache_none = {.arena = (arena_t *)1,
                      .tag = UINT64_MAX,
                      .top = {[0 ... CLASSES] = &magazine_dummy.slot[MAGAZINE_SLOTS]}};

_Thread_local thread_t thread_self = {.table = {[0 ... TABLE_SLOTS - 1] = &cache_none}};

/* guarded by the registry lock */
thread_record_t *threads_first;
static pthread_key_t exit_key;
static bool exit_key_works;

static void link_record(thread_record_t *record)
{
    record->previous = NULL;
    record->next = threads_first;
    if (record->next != NULL) {
        record->next->previous = record;
    }
    threads_first = record;
}

static void unlink_record(thread_record_t *record)
{
    if (record->next != NULL) {
        record->next->previous = record->previous;
    }
    if (record->previous != NULL) {
        record->previous->next = record->next;
    } else {
        threads_first = record->next;
    }
}

/* Registers the calling thread; false: no memory, or it is exiting. */
static bool register_self_locked(thread_t *self)
{
    if (self->record != NULL) {
        return true;
    }
    if (self->gone || !exit_key_works) {
        return false;
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
    link_record(record);
    return true;
}

static unsigned bucket_of(const arena_t *arena)
{
    return arena->index % CACHE_HASH;
}

void threads_unlink_cache_locked(cache_t *cache)
{
    cache_t **link = &cache->thread->hash[bucket_of(cache->arena)];
    while (*link != cache) {
        link = &(*link)->next_in_hash;
    }
    *link = cache->next_in_hash;
    cache->thread->caches--;
    if (cache->next_in_arena != NULL) {
        cache->next_in_arena->previous_in_arena = cache->previous_in_arena;
    }
    if (cache->previous_in_arena != NULL) {
        cache->previous_in_arena->next_in_arena = cache->next_in_arena;
    } else {
        cache->arena->caches = cache->next_in_arena;
    }
    cache->arena->cache_count--;
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
}

/* The calling thread's, or one that is no more. */
static void free_retired_locked(thread_record_t *record, unsigned keep)
{
    while (record->retired_count > keep) {
        cache_t *cache = record->retired;
        record->retired = cache->next_in_arena;
        record->retired_count--;
        cache_free_spares(cache, 0);
        meta_free(cache);
    }
}

/* The cache's blocks go home, then it is nobody's. Its thread is the caller, or ends. */
static void give_up_cache_locked(cache_t *cache)
{
    arena_t *arena = cache->arena;
    void *culprit = NULL;
    lock_acquire(&cache->lock);
    threads_evict(cache);
    lock_acquire(&arena->lock);
    piece_close_locked(cache);
    arena->totals.allocations += cache_allocations(cache);
    lock_release(&arena->lock);
    misuse_t wrong = cache_drain(cache, &culprit);
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

static void make_room_locked(thread_record_t *record)
{
    while (record->caches >= CACHES_MAX) {
        cache_t *victim = record->hash[record->next_victim++ % CACHE_HASH];
        if (victim != NULL) {
            give_up_cache_locked(victim);
        }
    }
}

/* NULL: no memory, or too many: not this time. */
static cache_t *create_locked(thread_record_t *record, arena_t *arena)
{
    if (record->caches >= CACHES_MAX && (lock_fork_passes || ++record->surplus % SURPLUS_TURNS != 0)) {
        return NULL;
    }
    make_room_locked(record);
    cache_t *cache = new_cache(record);
    if (cache == NULL) {
        return NULL;
    }
    cache_init(cache, arena);
    cache->thread = record;
    cache->next_in_hash = record->hash[bucket_of(arena)];
    record->hash[bucket_of(arena)] = cache;
    record->caches++;
    cache->previous_in_arena = NULL;
    cache->next_in_arena = arena->caches;
    if (cache->next_in_arena != NULL) {
        cache->next_in_arena->previous_in_arena = cache;
    }
    arena->caches = cache;
    arena->cache_count++;
    return cache;
}

static cache_t *find_locked(const thread_record_t *record, const arena_t *arena)
{
    cache_t *cache = record->hash[bucket_of(arena)];
    while (cache != NULL && cache->arena != arena) {
        cache = cache->next_in_hash;
    }
    return cache;
}

cache_t *thread_cache(arena_t *arena)
{
    thread_t *self = &thread_self;
    cache_t *cache = table_lookup(arena);
    if (cache->arena == arena) {
        return cache; /* its own, and the arena is in use: it cannot go away */
    }
    if (self->gone || !atomic_load_explicit(&arena->alive, memory_order_relaxed)) {
        return NULL;
    }
    cache = NULL;
    lock_acquire(&registry_lock);
    if (atomic_load_explicit(&arena->cached, memory_order_relaxed) && register_self_locked(self)) {
        cache = find_locked(self->record, arena);
        cache = cache != NULL ? cache : create_locked(self->record, arena);
    }
    if (cache != NULL) { /* no revoker is at it: it would hold the registry lock */
        atomic_store_explicit(table_slot(self, arena), cache, memory_order_relaxed);
        if (thread_home() == arena) {
            atomic_store_explicit(table_slot(self, NULL), cache, memory_order_relaxed);
        }
    }
    lock_release(&registry_lock);
    return cache;
}

void thread_settle(arena_t *arena)
{
    thread_t *self = &thread_self;
    arena_t *old = thread_home();
    atomic_store_explicit(&self->home, arena, memory_order_relaxed);
    lock_acquire(&registry_lock);
    if (self->record != NULL && old != arena && !lock_fork_passes) { /* else all caches are stopped */
        cache_t *left = old == NULL ? NULL : find_locked(self->record, old);
        if (left != NULL) {
            give_up_cache_locked(left);
        }
        cache_t *cache = find_locked(self->record, arena);
        if (cache != NULL) {
            atomic_store_explicit(table_slot(self, NULL), cache, memory_order_relaxed);
        }
    }
    lock_release(&registry_lock);
}

unsigned thread_count_settled(const arena_t *arena)
{
    unsigned count = 0;
    lock_acquire(&registry_lock);
    for (const thread_record_t *record = threads_first; record != NULL; record = record->next) {
        count += atomic_load_explicit(&record->thread->home, memory_order_relaxed) == arena;
    }
    lock_release(&registry_lock);
    return count;
}

/* Releases the registry lock for moments: too much free memory goes back to the kernel, or to hooks. */
static void give_up_all_locked(thread_record_t *record)
{
    for (unsigned bucket = 0; bucket < CACHE_HASH; bucket++) {
        while (record->hash[bucket] != NULL) {
            arena_t *arena = record->hash[bucket]->arena;
            give_up_cache_locked(record->hash[bucket]);
            arena->pins++;
            lock_release(&registry_lock);
            alloc_settle(arena);
            lock_acquire(&registry_lock);
            arena->pins--;
        }
    }
}

/* pthread_key destructor. What other destructors free afterwards takes the arena's mutex. */
static void thread_exit(void *argument)
{
    thread_record_t *record = argument;
    lock_acquire(&registry_lock);
    give_up_all_locked(record);
    unlink_record(record);
    record->thread->gone = true;
    record->thread->record = NULL;
    free_retired_locked(record, 0);
    lock_release(&registry_lock);
    meta_free(record);
}

void arena_thread_flush(void)
{
    thread_t *self = &thread_self;
    if (lock_fork_passes) {
        return; /* all caches are stopped; see fork.c */
    }
    lock_acquire(&registry_lock);
    if (self->record != NULL) {
        give_up_all_locked(self->record);
    }
    lock_release(&registry_lock);
}

void threads_forget_others_locked(void)
{
    thread_record_t *own = thread_self.record;
    for (thread_record_t *record = threads_first, *next; record != NULL; record = next) {
        next = record->next;
        if (record != own) {
            free_retired_locked(record, 0);
            meta_free(record);
        }
    }
    threads_first = own;
    if (own != NULL) {
        own->next = own->previous = NULL;
    }
}

void threads_init(void)
{
    exit_key_works = pthread_key_create(&exit_key, thread_exit) == 0;
}
