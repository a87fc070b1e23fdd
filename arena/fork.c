/* fork.c: see fork.h. */
#include "fork.h"

#include "cachehook.h"
#include "lock.h"
#include "meta.h"
#include "registry.h"
#include "stock.h"

/* Every lock but those of caches (cachehook), in rank order: all grow locks, then all arenas', ... */
static void each_lock(void (*act)(lock_t *lock))
{
    for (arena_t *arena = registry_first_locked(); arena != NULL; arena = arena->next_live) {
        if (!arena->grow.off) {
            act(&arena->grow);
        }
    }
    for (arena_t *arena = registry_first_locked(); arena != NULL; arena = arena->next_live) {
        if (!arena->lock.off) {
            act(&arena->lock);
        }
    }
    cachehook_fork_lock_depots(act);
    act(meta_lock());
    act(stock_lock());
}

static void prepare(void)
{
    lock_acquire_for_fork(&registry_lock);
    cachehook_fork_prepare();
    each_lock(lock_acquire_for_fork);
    lock_fork_passes = true;
}

static void parent(void)
{
    lock_fork_passes = false;
    each_lock(lock_release_for_fork);
    cachehook_fork_parent();
    lock_release_for_fork(&registry_lock);
}

static void child(void)
{
    each_lock(lock_reinit_in_child);
    lock_fork_passes = false;
    cachehook_fork_child();
    for (arena_t *arena = registry_first_locked(); arena != NULL; arena = arena->next_live) {
        arena->pins = 0; /* those who pinned are no more */
    }
    lock_reinit_in_child(&registry_lock);
}

void fork_init(void)
{
    pthread_atfork(prepare, parent, child);
}
