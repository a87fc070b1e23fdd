/* domain.c: see domain.h. Arenas are published by compare-and-swap, so that no lock of ours is in a fork's way. */
#include "domain.h"

#include "../arena/os.h"
#include "../arena/registry.h"
#include "../arena/watch.h"
#include "../tcache/tcache.h"
#include "settings.h"

#include <errno.h>
#include <sched.h>

enum {
    ARENAS_MAX = 64,
    LOOK_NS = 10000000,  /* between two looks at how crowded an arena is */
    WAITING_TO_MOVE = 2, /* threads wait for an arena's mutex for one in so many parts of the time */
    FOREIGN_TO_JOIN = TICK_ALLOCATIONS / 4,
    PATIENCE_MAX = 1 << 20
};

_Thread_local foreign_t domain_foreign;

/* Stored once, with release; read with acquire. */
static _Atomic(arena_t *) arenas[ARENAS_MAX];
/* relaxed: which arena the next new thread gets */
static _Atomic unsigned next_thread;
/* relaxed: how long threads had waited for each arena when last looked at, and when that was */
static _Atomic uint64_t waited_seen[ARENAS_MAX], looked_ns[ARENAS_MAX];

arena_t *domain_arena(unsigned i)
{
    return i < ARENAS_MAX ? atomic_load_explicit(&arenas[i], memory_order_acquire) : NULL;
}

static unsigned count_arenas(void)
{
    unsigned count = 0;
    while (domain_arena(count) != NULL) {
        count++;
    }
    return count;
}

static arena_options_t options_of(unsigned i)
{
    unsigned flags = (settings.checked ? ARENA_CHECKED : 0) | (settings.no_cache ? ARENA_NO_CACHE : 0) |
                     (settings.no_slabs ? ARENA_NO_SLABS : 0) | (settings.huge_pages ? ARENA_HUGE_PAGES : 0);
    return (arena_options_t){.name = "malloc",
                             .source = i == 0 ? ARENA_SOURCE_SBRK : ARENA_SOURCE_MMAP,
                             .fit = settings.fit,
                             .flags = flags,
                             .limit_bytes = settings.limit_bytes,
                             .trim_threshold_bytes = settings.trim_threshold_bytes,
                             .purge_delay_ms = (unsigned)settings.purge_delay_ms};
}

/* The i-th, made if need be. Two threads may make it at once; one of both then gives its own up. */
static arena_t *make(unsigned i)
{
    arena_options_t options = options_of(i);
    arena_t *made = arena_create(&options);
    if (made == NULL && errno == EBUSY) { /* another thread, in this moment, made the one with the break */
        options.source = ARENA_SOURCE_MMAP;
        made = arena_create(&options);
    }
    if (made == NULL) {
        return NULL;
    }
    made->spills = true;
    made->modest = true;
    watch_switch(made, WATCH_SCRIBBLE, settings.scribble);
    if (settings.log != NULL && !arena_log_open(made, settings.log)) {
        settings_complain("ARENA_LOG", ": cannot be opened");
        settings.log = NULL;
    }
    arena_t *there = NULL;
    if (!atomic_compare_exchange_strong(&arenas[i], &there, made)) {
        arena_destroy(made);
        return there;
    }
    return made;
}

/* An exact limit is one arena's, and so is a log. */
static unsigned most_arenas(void)
{
    cpu_set_t cpus;
    size_t most = settings.limit_bytes != 0 || settings.log != NULL ? 1 : settings.arenas;
    if (most == 0) {
        most = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? (size_t)CPU_COUNT(&cpus) : 1;
    }
    return (unsigned)min_size(most, ARENAS_MAX);
}

/*
 * The process's first arena. What the C library allocates on the way (for a fork handler beyond its static
 * ones) fails instead of waiting for itself.
 */
static arena_t *first(void)
{
    static _Thread_local bool making;
    int saved = errno;
    arena_t *arena = NULL;
    if (!making) {
        making = true;
        settings_read();
        if (!settings.membarrier) {
            os_barrier_forbid();
        }
        arena = make(0);
        making = false;
    }
    errno = arena == NULL ? ENOMEM : saved;
    return arena;
}

arena_t *domain_home(void)
{
    arena_t *home = thread_home();
    if (home == NULL) {
        unsigned count = count_arenas();
        unsigned turn = atomic_fetch_add_explicit(&next_thread, 1, memory_order_relaxed);
        home = count == 0 ? first() : domain_arena(turn % count);
        if (home != NULL) {
            thread_settle(home); /* it may have a cache of it, for blocks that it freed */
        }
    }
    return home;
}

arena_t *domain_owner(const void *block)
{
    uint32_t entry = pagemap_entry(block);
    return entry == 0 ? NULL : registry_arena(entry >> 8);
}

static uint64_t waited_for(arena_t *arena)
{
    lock_acquire(&arena->lock);
    uint64_t waited = arena->lock.waited_ns;
    lock_release(&arena->lock);
    return waited;
}

/* The index of the calling thread's home among `count`; `count` if it has none. */
static unsigned own_index(unsigned count)
{
    unsigned own = 0;
    while (own < count && domain_arena(own) != thread_home()) {
        own++;
    }
    return own;
}

/* Of the others, the arena where fewest threads are at home; *settled: how many. NULL: there is no other. */
static arena_t *emptiest(unsigned count, unsigned own, unsigned *settled)
{
    arena_t *found = NULL;
    for (unsigned step = 1; step < count; step++) {
        arena_t *other = domain_arena((own + step) % count);
        unsigned threads = thread_count_settled(other);
        if (found == NULL || threads < *settled) {
            found = other;
            *settled = threads;
        }
    }
    return found;
}

void domain_spread(bool if_it_helps)
{
    unsigned count = count_arenas();
    unsigned own = own_index(count);
    if (own == count) {
        return;
    }
    unsigned settled = 0;
    arena_t *there = emptiest(count, own, &settled);
    bool makes = (there == NULL || settled != 0) && count < most_arenas();
    settled = makes ? 0 : settled;
    if ((there != NULL || makes) && (!if_it_helps || settled + 1 < thread_count_settled(thread_home()))) {
        there = makes ? make(count) : there;
        if (there != NULL) {
            thread_settle(there);
        }
    }
}

/*
 * Threads that pass blocks to and fro do best in one arena: what a thread frees it can give out again, where with two
 * each has to send home what the other lacks. All move to that of their arenas which is the first, so that they meet. If
 * they wait for each other there and move apart again, the next time takes twice as long.
 */
static bool join(unsigned own)
{
    bool many = domain_foreign.frees >= FOREIGN_TO_JOIN;
    domain_foreign.frees = 0;
    domain_foreign.looks = many ? domain_foreign.looks + 1 : 0;
    if (domain_foreign.looks <= domain_foreign.patience) {
        return false;
    }
    unsigned i = 0;
    while (i < own && domain_arena(i)->index != domain_foreign.index) {
        i++;
    }
    if (i == own) {
        return false;
    }
    domain_foreign.looks = 0;
    domain_foreign.patience = (uint32_t)min_size(2 * domain_foreign.patience + 1, PATIENCE_MAX);
    thread_settle(domain_arena(i));
    return true;
}

/*
 * Whether threads, taken together, waited for the arena's mutex for so much of the time since the last look that another
 * arena would be worth its memory, and worth sending home what threads free of each other's.
 */
static bool is_crowded(unsigned own)
{
    uint64_t now = os_now_ns(), then = atomic_load_explicit(&looked_ns[own], memory_order_relaxed);
    if (now - then < LOOK_NS) {
        return false;
    }
    uint64_t waited = waited_for(domain_arena(own));
    uint64_t seen = atomic_exchange_explicit(&waited_seen[own], waited, memory_order_relaxed);
    then = atomic_exchange_explicit(&looked_ns[own], now, memory_order_relaxed);
    return waited > seen && then != 0 && (waited - seen) * WAITING_TO_MOVE >= now - then;
}

void domain_look(void)
{
    int saved = errno;
    unsigned own = own_index(count_arenas());
    if (domain_arena(own) != NULL && !join(own) && is_crowded(own)) {
        domain_spread(true);
    }
    errno = saved;
}
