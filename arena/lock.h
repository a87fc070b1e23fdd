/*
 * lock.h: the mutex of this library: a pthread mutex that spins a little before it sleeps, with a
 * rank that debug builds check.
 *
 * Lock order, outermost first: a thread that holds a lock of one rank may only take locks of later
 * ranks; several of one rank only under the registry lock, or, of logs, in the order that the enum says.
 * The thread that forks holds every lock (fork.c) and passes through all of them meanwhile, because
 * another library's fork handler may allocate.
 */
#ifndef ARENA_LOCK_H
#define ARENA_LOCK_H

#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

typedef enum {
    RANK_FORK,
    RANK_REGISTRY, /* arenas, threads, which cache is whose */
    RANK_CACHE,    /* one cache, off the fast path */
    RANK_GROW,     /* system calls of one arena */
    RANK_ARENA,    /* what one arena holds */
    RANK_DEPOT,
    RANK_LOG,   /* the list of logs, then a buffer, then its file, which is written under it */
    RANK_RANGE, /* one range arena; the kernel is called under it, too */
    RANK_OS,    /* metadata, stock */
    RANK_COUNT
} lock_rank_t;

typedef struct {
    /* immutable after creation */
    uint8_t rank; /* a lock_rank_t: the two locks of an arena in a small buffer take room there */
    bool off;     /* ARENA_SINGLE_THREAD: calls never overlap */
    /* guarded by itself */
    bool held_for_fork;
#if CHECK_LEVEL >= 1
    bool held;
#endif
    _Atomic uint16_t sleepers; /* relaxed: threads that wait in the kernel */
#if CHECK_LEVEL >= 1
    pthread_t owner;
#endif
    uint64_t waits;     /* times a thread found it taken */
    uint64_t waited_ns; /* in all, of each at most WAIT_MOST_NS */
    pthread_mutex_t mutex;
} lock_t;

#define LOCK_STATIC(lock_rank)                                           \
    {                                                                    \
        .rank = (uint8_t)(lock_rank), .mutex = PTHREAD_MUTEX_INITIALIZER \
    }

/* True in the thread that is between our fork handlers. */
extern HIDDEN _Thread_local bool lock_fork_passes;

HIDDEN void lock_init(lock_t *lock, lock_rank_t rank, bool off);
HIDDEN void lock_acquire(lock_t *lock);

/* The same by trying again and again: for a thread that takes several locks of one rank, in no order, under
 * an outer lock that makes it the only one to do so. */
HIDDEN void lock_acquire_one_of_many(lock_t *lock);
HIDDEN bool lock_try_acquire(lock_t *lock);
HIDDEN void lock_release(lock_t *lock);

/* For a process that ends: takes the lock if it is free, whatever its rank, and for good. */
HIDDEN bool lock_seize(lock_t *lock);

/* Around a call of the user's hooks, which may use other arenas: for the ranks, the lock counts as not held. */
HIDDEN void lock_enter_hook(lock_t *lock);
HIDDEN void lock_leave_hook(lock_t *lock);

/* fork.c only. They ignore lock_fork_passes; the last two pass over locks that the first did not take, because
 * they came to be in between. False: it is taken just now. */
HIDDEN bool lock_try_acquire_for_fork(lock_t *lock);
HIDDEN void lock_release_for_fork(lock_t *lock);
HIDDEN void lock_reinit_in_child(lock_t *lock);

/* check.c's, for fork.c: check.h lies below this file. */
HIDDEN lock_t *check_lock(void);

/* For asserts: false only if the calling thread certainly does not hold it. */
HIDDEN bool lock_is_held(const lock_t *lock);

/* Threads that sleep until they get it: a hint. */
INLINE unsigned lock_sleepers(const lock_t *lock)
{
    return atomic_load_explicit(&lock->sleepers, memory_order_relaxed);
}

INLINE void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#endif
