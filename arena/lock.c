/* lock.c: see lock.h. Debug builds keep a count of held locks by rank in each thread. */
#include "lock.h"

#include "check.h"

#include <time.h>

_Thread_local bool lock_fork_passes;

#if CHECK_LEVEL >= 1
static _Thread_local unsigned held_of_rank[RANK_COUNT];

static void note_acquire(lock_t *lock)
{
    for (int later = (int)lock->rank + 1; later < RANK_COUNT; later++) {
        if (held_of_rank[later] != 0 && !lock->off) {
            check_lock_inversion((int)lock->rank, later);
        }
    }
    held_of_rank[lock->rank]++;
    lock->owner = pthread_self();
    lock->held = true;
}

static void note_release(lock_t *lock)
{
    check_debug(lock->held);
    lock->held = false;
    held_of_rank[lock->rank]--;
}

static bool certainly_not_held(const lock_t *lock)
{
    return !lock->held || !pthread_equal(lock->owner, pthread_self());
}
#else
static void note_acquire(lock_t *lock)
{
    (void)lock;
}

static void note_release(lock_t *lock)
{
    (void)lock;
}

static bool certainly_not_held(const lock_t *lock)
{
    (void)lock;
    return false;
}
#endif

void lock_init(lock_t *lock, lock_rank_t rank, bool off)
{
    *lock = (lock_t){.rank = (uint8_t)rank, .off = off};
    pthread_mutex_init(&lock->mutex, NULL);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool spin(lock_t *lock)
{
    for (int tries = 0; tries < LOCK_SPINS; tries++) {
        for (int pause = 0; pause < LOCK_PAUSES; pause++) {
            cpu_relax();
        }
        if (pthread_mutex_trylock(&lock->mutex) == 0) {
            return true;
        }
    }
    return false;
}

/*
 * A holder runs a short section without system calls, so it is likely to leave while we spin, and a sleep costs tens of
 * microseconds. Each try takes the lock's cache line away from the holder, who needs it to let go: so they are few. But
 * where many sleep the holder has most likely lost its CPU, and who spins keeps it from getting one. Not where only a few
 * do: to spin keeps threads one behind the other that else would each fill memory at the same time. (Not inlined: it would
 * push six registers there.)
 */
static NOINLINE void acquire_contended(lock_t *lock)
{
    uint64_t start = now_ns();
    if (atomic_load_explicit(&lock->sleepers, memory_order_relaxed) >= LOCK_SLEEPERS || !spin(lock)) {
        atomic_fetch_add_explicit(&lock->sleepers, 1, memory_order_relaxed);
        pthread_mutex_lock(&lock->mutex);
        atomic_fetch_sub_explicit(&lock->sleepers, 1, memory_order_relaxed);
    }
    uint64_t waited = now_ns() - start;
    lock->waits++;
    lock->waited_ns += waited < WAIT_MOST_NS ? waited : WAIT_MOST_NS;
}

void lock_acquire(lock_t *lock)
{
    if (UNLIKELY(lock->off || lock_fork_passes)) {
        return;
    }
    if (UNLIKELY(pthread_mutex_trylock(&lock->mutex) != 0)) {
        acquire_contended(lock);
    }
    note_acquire(lock);
}

static bool acquire_within_1_ms(lock_t *lock)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_mutex_timedlock(&lock->mutex, &until) == 0;
}

void lock_acquire_one_of_many(lock_t *lock)
{
    if (lock->off || lock_fork_passes) {
        return;
    }
    for (int tries = 0; pthread_mutex_trylock(&lock->mutex) != 0; tries++) {
        if (tries < LOCK_SPINS) {
            cpu_relax();
        } else if (acquire_within_1_ms(lock)) {
            break;
        }
    }
    note_acquire(lock);
}

bool lock_try_acquire(lock_t *lock)
{
    if (lock->off || lock_fork_passes) {
        return true;
    }
    if (pthread_mutex_trylock(&lock->mutex) != 0) {
        return false;
    }
    note_acquire(lock);
    return true;
}

void lock_release(lock_t *lock)
{
    if (UNLIKELY(lock->off || lock_fork_passes)) {
        return;
    }
    note_release(lock);
    pthread_mutex_unlock(&lock->mutex);
}

bool lock_seize(lock_t *lock)
{
    return pthread_mutex_trylock(&lock->mutex) == 0;
}

void lock_enter_hook(lock_t *lock)
{
    if (!lock->off && !lock_fork_passes) {
        note_release(lock);
    }
}

void lock_leave_hook(lock_t *lock)
{
    if (!lock->off && !lock_fork_passes) {
        note_acquire(lock);
    }
}

bool lock_try_acquire_for_fork(lock_t *lock)
{
    if (pthread_mutex_trylock(&lock->mutex) != 0) {
        return false;
    }
    note_acquire(lock);
    lock->held_for_fork = true;
    return true;
}

void lock_release_for_fork(lock_t *lock)
{
    if (lock->held_for_fork) {
        lock->held_for_fork = false;
        note_release(lock);
        pthread_mutex_unlock(&lock->mutex);
    }
}

/* Released, as the forking thread lives on here; made anew, as those who waited do not. */
void lock_reinit_in_child(lock_t *lock)
{
    lock_release_for_fork(lock);
    pthread_mutex_init(&lock->mutex, NULL);
    atomic_store_explicit(&lock->sleepers, 0, memory_order_relaxed);
}

bool lock_is_held(const lock_t *lock)
{
    return lock->off || lock_fork_passes || !certainly_not_held(lock);
}
