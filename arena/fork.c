/* fork.c: see fork.h. */
#include "fork.h"

#include "cachehook.h"
#include "lock.h"
#include "log.h"
#include "meta.h"
#include "os.h"
#include "range.h"
#include "registry.h"
#include "stock.h"

/* Every lock but the registry's, those of caches and those of depots (cachehook); stops at the first false. */
static bool each_lock(bool (*act)(lock_t *lock))
{
    bool done = true;
    for (arena_t *arena = registry_first_locked(); arena != NULL && done; arena = arena->next_live) {
        done = arena->grow.off || act(&arena->grow);
    }
    for (arena_t *arena = registry_first_locked(); arena != NULL && done; arena = arena->next_live) {
        done = arena->lock.off || act(&arena->lock);
    }
    return done && cachehook_fork_each_depot(act) && range_each_lock(act) && act(meta_lock()) &&
           act(stock_lock()) && act(check_lock());
}

static bool release(lock_t *lock)
{
    lock_release_for_fork(lock);
    return true;
}

static bool reinit(lock_t *lock)
{
    lock_reinit_in_child(lock);
    return true;
}

/*
 * By trying, from the start again whenever one is taken: a thread in a user's hook holds its arena's grow
 * lock and may wait for the registry, because the hook uses another arena.
 */
static void prepare(void)
{
    for (;;) {
        lock_acquire(&registry_lock);
        cachehook_fork_prepare();
        if (each_lock(lock_try_acquire_for_fork)) {
            break;
        }
        each_lock(release);
        cachehook_fork_parent();
        lock_release(&registry_lock);
        os_sleep_us(50);
    }
    lock_fork_passes = true;
}

static void parent(void)
{
    lock_fork_passes = false;
    each_lock(release);
    cachehook_fork_parent();
    lock_release(&registry_lock);
}

static void child(void)
{
    each_lock(reinit);
    lock_fork_passes = false;
    log_fork_child();
    cachehook_fork_child();
    for (arena_t *arena = registry_first_locked(); arena != NULL; arena = arena->next_live) {
        arena->pins = 0; /* those who pinned are no more */
    }
    lock_release(&registry_lock);
}

void fork_init_locked(void)
{
    static bool done; /* guarded by the registry lock */
    if (!done) {
        done = true;
        pthread_atfork(prepare, parent, child);
    }
}

/*
 * As the library is loaded, that is before most others register theirs: so their handlers before the fork run while
 * no lock of ours is held, those after it when ours are free again. An arena that an earlier constructor creates
 * registers them itself.
 */
AT_LOAD static void register_at_load(void)
{
    lock_acquire(&registry_lock);
    fork_init_locked();
    lock_release(&registry_lock);
}
