/* os.c: Linux. A system without sbrk, mremap or membarrier answers NULL or false and the rest copes. */
#include "os.h"

#include "util.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__)
#include <linux/futex.h>
#include <linux/membarrier.h>
#endif

size_t os_page_bytes(void)
{
    static _Atomic size_t known; /* relaxed: every thread would compute the same */
    size_t bytes = atomic_load_explicit(&known, memory_order_relaxed);
    if (bytes == 0) {
        bytes = (size_t)sysconf(_SC_PAGESIZE);
        atomic_store_explicit(&known, bytes, memory_order_relaxed);
    }
    return bytes;
}

static void *map_at(void *hint, size_t bytes, os_map_options_t options)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#if defined(MAP_POPULATE)
    flags |= options.prefault && !options.huge_pages ? MAP_POPULATE : 0;
#endif
    void *start = mmap(hint, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

/* Maps too much and cuts both ends off; or, `keep_ends`, lets them be. *lowest: where the mapping then begins. */
static char *map_and_cut(size_t bytes, size_t alignment, os_map_options_t options, bool keep_ends,
                         char **lowest)
{
    size_t whole = bytes + alignment;
    char *mapped = whole < bytes ? NULL : map_at(NULL, whole, options);
    if (mapped == NULL) {
        return NULL;
    }
    size_t head = align_up((uintptr_t)mapped, alignment) - (uintptr_t)mapped;
    if (keep_ends) {
        *lowest = mapped;
        return mapped + head;
    }
    if ((head != 0 && munmap(mapped, head) != 0) ||
        munmap(mapped + head + bytes, whole - head - bytes) != 0) {
        munmap(mapped, whole);
        return NULL;
    }
    return mapped + head;
}

/* Where the next mapping is tried, all relaxed, because they are hints. The kernel places mappings downwards: just
 * below the last one is aligned and mostly free. But what was unmapped last comes first: otherwise who maps and
 * unmaps in turn would wander down through all addresses, and leave a leaf of the page map every 4 GiB. */
static _Atomic uintptr_t last_start;
static _Atomic uintptr_t hole_end;
static _Atomic size_t hole_bytes;

static void note_hole(uintptr_t end, size_t bytes)
{
    atomic_store_explicit(&hole_end, end, memory_order_relaxed);
    atomic_store_explicit(&hole_bytes, bytes, memory_order_relaxed);
}

static void join_hole(uintptr_t start, size_t bytes)
{
    uintptr_t end = atomic_load_explicit(&hole_end, memory_order_relaxed);
    size_t room = atomic_load_explicit(&hole_bytes, memory_order_relaxed);
    if (start + bytes == end - room) {
        bytes += room;
    } else if (start == end) {
        start -= room;
        bytes += room;
    }
    bool lowest = start == atomic_load_explicit(&last_start, memory_order_relaxed);
    if (lowest) { /* the way up again */
        atomic_store_explicit(&last_start, start + bytes, memory_order_relaxed);
    }
    note_hole(start + bytes, lowest ? 0 : bytes);
}

/* An address in the hole, which is a hole no more, or just below the last mapping; NULL: no idea. *in_hole: which. */
static char *choose_place(size_t bytes, size_t alignment, bool *in_hole)
{
    uintptr_t end = atomic_load_explicit(&hole_end, memory_order_relaxed);
    size_t room = atomic_load_explicit(&hole_bytes, memory_order_relaxed);
    uintptr_t start = end > bytes ? align_down(end - bytes, alignment) : 0;
    *in_hole = start != 0 && end - start <= room;
    if (*in_hole) {
        note_hole(start, room - (end - start));
        return (char *)start;
    }
    end = atomic_load_explicit(&last_start, memory_order_relaxed);
    return end > bytes + alignment ? (char *)align_down(end - bytes, alignment) : NULL;
}

void *os_map(size_t bytes, size_t alignment, os_map_options_t options)
{
    int saved = errno;
    bool in_hole;
    bytes = align_up(bytes, os_page_bytes());
    char *place = choose_place(bytes, alignment, &in_hole);
    char *start = NULL;
    char *lowest = NULL;
    if (place != NULL) {
        start = map_at(place, bytes, options);
        in_hole &= start == place;
        if (start != NULL && !is_aligned(start, alignment)) {
            munmap(start, bytes);
            start = map_and_cut(bytes, alignment, options, false, &lowest);
        }
    } else if (bytes != 0) { /* the first: a process that does little should make few calls */
        bool first = atomic_load_explicit(&last_start, memory_order_relaxed) == 0;
        start = map_and_cut(bytes, alignment, options, first && alignment == GRANULE, &lowest);
    }
    if (start == NULL) {
        errno = saved;
        return NULL;
    }
    if (!in_hole) {
        atomic_store_explicit(&last_start, (uintptr_t)(lowest != NULL ? lowest : start),
                              memory_order_relaxed);
    }
#if defined(MADV_HUGEPAGE)
    if (options.huge_pages) {
        madvise(start, bytes, MADV_HUGEPAGE);
    }
#endif
#if defined(MADV_POPULATE_WRITE)
    if (options.prefault && options.huge_pages) {
        madvise(start, bytes, MADV_POPULATE_WRITE);
    }
#endif
    errno = saved;
    return start;
}

bool os_unmap(void *start, size_t bytes)
{
    int saved = errno;
    bytes = align_up(bytes, os_page_bytes());
    bool done = munmap(start, bytes) == 0;
    if (done) {
        join_hole((uintptr_t)start, bytes);
    }
    errno = saved;
    return done;
}

bool os_purge(void *start, size_t bytes)
{
    int saved = errno;
    bool done = madvise(start, bytes, MADV_DONTNEED) == 0;
    errno = saved;
    return done;
}

bool os_resize(void *start, size_t bytes, size_t new_bytes)
{
#if defined(MREMAP_MAYMOVE)
    int saved = errno;
    bool done = mremap(start, bytes, new_bytes, 0) != MAP_FAILED;
    errno = saved;
    return done;
#else
    (void)start, (void)bytes, (void)new_bytes;
    return false;
#endif
}

bool os_move(void *start, size_t bytes, void *target, size_t new_bytes)
{
#if defined(MREMAP_MAYMOVE)
    int saved = errno;
    bool done = mremap(start, bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, target) != MAP_FAILED;
    errno = saved;
    return done;
#else
    (void)start, (void)bytes, (void)target, (void)new_bytes;
    return false;
#endif
}

void *os_break(void)
{
    void *now = sbrk(0);
    return now == (void *)-1 ? NULL : now;
}

void *os_break_move(intptr_t bytes)
{
    int saved = errno;
    void *old = sbrk(bytes);
    errno = saved;
    return old == (void *)-1 ? NULL : old;
}

size_t os_resident(void *start, size_t bytes)
{
    enum { BATCH = 1024 };
    unsigned char states[BATCH];
    size_t page = os_page_bytes();
    uintptr_t from = align_down((uintptr_t)start, page);
    uintptr_t end = align_up((uintptr_t)start + bytes, page);
    size_t resident = 0;
    int saved = errno;
    while (from < end) {
        size_t length = min_size(end - from, BATCH * page);
        if (mincore((void *)from, length, states) != 0) {
            break;
        }
        for (size_t i = 0; i < length / page; i++) {
            resident += (states[i] & 1) != 0 ? page : 0;
        }
        from += length;
    }
    errno = saved;
    return min_size(resident, bytes);
}

uint64_t os_now_ms(void)
{
#if defined(CLOCK_MONOTONIC_COARSE)
    const clockid_t clock = CLOCK_MONOTONIC_COARSE;
#else
    const clockid_t clock = CLOCK_MONOTONIC;
#endif
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t os_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t os_process_id(void)
{
    return (uint64_t)getpid();
}

uint64_t os_thread_id(void)
{
#if defined(SYS_gettid)
    return (uint64_t)syscall(SYS_gettid);
#else
    return (uint64_t)(uintptr_t)pthread_self();
#endif
}

static bool barrier_forbidden; /* written before there is a second thread */

void os_barrier_forbid(void)
{
    barrier_forbidden = true;
}

bool os_barrier_register(void)
{
    if (barrier_forbidden) {
        return false;
    }
#if defined(__linux__) && defined(SYS_membarrier)
    int saved = errno;
    bool done = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
    errno = saved;
    return done;
#else
    return false;
#endif
}

bool os_barrier_all(void)
{
#if defined(__linux__) && defined(SYS_membarrier)
    int saved = errno;
    bool done = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
    errno = saved;
    return done;
#else
    return false;
#endif
}

void os_sleep_us(unsigned microseconds)
{
    int saved = errno;
    struct timespec pause = {.tv_sec = 0, .tv_nsec = (long)microseconds * 1000};
#if defined(__linux__) && defined(SYS_futex)
    uint32_t never = 0; /* by futex, as mutexes wait: a sandbox that lets malloc live knows no other sleep */
    syscall(SYS_futex, &never, FUTEX_WAIT_PRIVATE, 0, &pause, NULL, 0);
#else
    nanosleep(&pause, NULL);
#endif
    errno = saved;
}
