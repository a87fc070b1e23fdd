/*
 * meta.c: see meta.h. A granule holds objects of one size: first those never given out, by bump, so
 * that untouched pages stay untouched; then a list through the free ones. The granule's header is found
 * from an object's address. Rejected: one bump region for all, which could never shrink again after a
 * burst of slabs. But the first granule is such a region, so that a process with a few objects of each of a dozen
 * sizes touches a few pages and not a dozen: a table in its header says how large each object is.
 */
#include "meta.h"

#include "check.h"
#include "list.h"
#include "os.h"
#include "util.h"

#include <string.h>

enum { UNIT = 64, SIZES = (int)(META_MAX_BYTES / UNIT) + 1, BATCH = 8 };

typedef struct free_object {
    struct free_object *next;
} free_object_t;

typedef struct pool {
    struct pool *next, *previous; /* pools of this size with room */
    free_object_t *free;
    uint32_t object_bytes, first, bump, used; /* bump: offset of the first object never given out */
} pool_t;

/* The first granule. `units`: of an object, by where it begins; less one, so that a byte holds it. */
typedef struct {
    uint32_t bump;
    uint8_t units[GRANULE / UNIT];
} shared_t;

/* Objects to be had of one size. */
typedef struct {
    pool_t *with_room;
    free_object_t *free; /* in the shared granule */
} size_list_t;

static lock_t lock = LOCK_STATIC(RANK_OS);
/* guarded by lock */
static size_list_t sizes[SIZES];
static shared_t *shared;    /* set once */
static size_t mapped_bytes; /* of pools; what of a batch is still to be used is not counted */
static char *batch;         /* granules mapped ahead, untouched */
static size_t batch_left;
/* relaxed: when the kernel last had no granule */
static _Atomic uint64_t refused_ms;

static bool has_room(const pool_t *pool)
{
    return pool->free != NULL || pool->bump + pool->object_bytes <= GRANULE;
}

static void link_pool(pool_t *pool)
{
    LIST_PUSH(sizes[pool->object_bytes / UNIT].with_room, pool, next, previous);
}

static void unlink_pool(pool_t *pool)
{
    LIST_UNLINK(sizes[pool->object_bytes / UNIT].with_room, pool, next, previous);
}

/* A granule of zeros; several are mapped at a time. */
static void *take_granule(void)
{
    char *start = NULL;
    lock_acquire(&lock);
    if (batch_left != 0) {
        start = batch + --batch_left * GRANULE;
    }
    lock_release(&lock);
    if (start != NULL) {
        return start;
    }
    start = os_map(BATCH * GRANULE, GRANULE, (os_map_options_t){0}); /* no system call under the lock */
    if (start == NULL) {
        start = os_map(GRANULE, GRANULE, (os_map_options_t){0});
        atomic_store_explicit(&refused_ms, start == NULL ? os_now_ms() : 0, memory_order_relaxed);
        return start;
    }
    lock_acquire(&lock);
    bool lost = batch_left != 0; /* to another thread, meanwhile */
    if (!lost) {
        batch = start;
        batch_left = BATCH - 1;
    }
    lock_release(&lock);
    if (lost) {
        os_unmap(start, (BATCH - 1) * GRANULE);
    }
    return start + (BATCH - 1) * GRANULE;
}

/* The largest power of two that divides it. */
static size_t alignment_of(size_t object_bytes)
{
    return object_bytes & (~object_bytes + 1);
}

static void format_pool(pool_t *pool, size_t object_bytes)
{
    pool->object_bytes = (uint32_t)object_bytes;
    pool->first = (uint32_t)align_up(sizeof *pool, alignment_of(object_bytes));
    pool->bump = pool->first;
    link_pool(pool);
}

/* *fresh: the object was never given out, and is zero. NULL: none of this size is left. */
static void *take_from_pool(size_list_t *size, bool *fresh)
{
    pool_t *pool = size->with_room;
    if (pool == NULL) {
        return NULL;
    }
    void *object = pool->free;
    *fresh = object == NULL;
    if (object != NULL) {
        pool->free = pool->free->next;
    } else {
        object = at(pool, pool->bump);
        pool->bump += pool->object_bytes;
    }
    pool->used++;
    if (!has_room(pool)) {
        unlink_pool(pool);
    }
    return object;
}

static void *take_from_shared(size_list_t *size, size_t object_bytes, bool *fresh)
{
    free_object_t *object = size->free;
    if (object != NULL) {
        size->free = object->next;
        return object;
    }
    size_t start = shared == NULL ? GRANULE : align_up(shared->bump, alignment_of(object_bytes));
    if (start + object_bytes > GRANULE) {
        return NULL;
    }
    *fresh = true;
    shared->units[start / UNIT] = (uint8_t)(object_bytes / UNIT - 1);
    shared->bump = (uint32_t)(start + object_bytes);
    return at(shared, start);
}

static void *take(size_t object_bytes, bool *fresh)
{
    size_list_t *size = &sizes[object_bytes / UNIT];
    void *object = take_from_shared(size, object_bytes, fresh);
    return object != NULL ? object : take_from_pool(size, fresh);
}

/* One more granule, the first of all as the shared one. */
static void add_granule(void *granule, size_t object_bytes)
{
    mapped_bytes += GRANULE;
    if (shared == NULL) {
        shared = granule;
        shared->bump = (uint32_t)align_up(sizeof *shared, UNIT);
    } else {
        format_pool(granule, object_bytes);
    }
}

static bool was_just_refused(void)
{
    return os_now_ms() - atomic_load_explicit(&refused_ms, memory_order_relaxed) <= RETRY_PAUSE_MS;
}

static void *allocate(size_t bytes, bool needed, bool *fresh)
{
    size_t object_bytes = align_up(max_size(bytes, 1), UNIT);
    check_debug(bytes <= META_MAX_BYTES);
    *fresh = false;
    lock_acquire(&lock);
    void *object = take(object_bytes, fresh);
    while (object == NULL) {
        lock_release(&lock); /* no system call under the lock */
        void *granule = needed || !was_just_refused() ? take_granule() : NULL;
        if (granule == NULL) {
            return NULL;
        }
        lock_acquire(&lock);
        add_granule(granule, object_bytes);
        object = take(object_bytes, fresh);
    }
    lock_release(&lock);
    return object;
}

void *meta_alloc(size_t bytes)
{
    bool fresh;
    return allocate(bytes, true, &fresh);
}

void *meta_try_alloc(size_t bytes)
{
    bool fresh;
    return allocate(bytes, false, &fresh);
}

static void *allocate_cleared(size_t bytes, bool needed)
{
    bool fresh;
    void *object = allocate(bytes, needed, &fresh);
    return object == NULL || fresh ? object : memset(object, 0, bytes);
}

void *meta_calloc(size_t bytes)
{
    return allocate_cleared(bytes, true);
}

void *meta_try_calloc(size_t bytes)
{
    return allocate_cleared(bytes, false);
}

static void put_into_shared(free_object_t *freed)
{
    size_list_t *size = &sizes[(size_t)shared->units[distance(shared, freed) / UNIT] + 1];
    freed->next = size->free;
    size->free = freed;
}

/* True: the pool is empty, and no longer ours. */
static bool put_into_pool(pool_t *pool, free_object_t *freed)
{
    bool had_room = has_room(pool);
    freed->next = pool->free;
    pool->free = freed;
    pool->used--;
    if (!had_room) {
        link_pool(pool);
    }
    bool another = sizes[pool->object_bytes / UNIT].with_room->next != NULL;
    bool unmap = pool->used == 0 && another; /* the last one stays: no system call at the edge */
    if (unmap) {
        unlink_pool(pool);
        mapped_bytes -= GRANULE;
    }
    return unmap;
}

void meta_free(void *object)
{
    if (object == NULL) {
        return;
    }
    void *granule = (void *)align_down((uintptr_t)object, GRANULE);
    bool unmap = false;
    lock_acquire(&lock);
    if (granule == shared) {
        put_into_shared(object);
    } else {
        unmap = put_into_pool(granule, object);
    }
    lock_release(&lock);
    if (unmap) {
        os_unmap(granule, GRANULE);
    }
}

size_t meta_mapped_bytes(void)
{
    lock_acquire(&lock);
    size_t bytes = mapped_bytes;
    lock_release(&lock);
    return bytes;
}

lock_t *meta_lock(void)
{
    return &lock;
}
