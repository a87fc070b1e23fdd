/*
 * meta.c: see meta.h. A granule holds objects of one size: first those never given out, by bump, so
 * that untouched pages stay untouched; then a list through the free ones. The granule's header is found
 * from an object's address. Rejected: one bump region for all, which could never shrink again after a
 * burst of slabs.
 */
#include "meta.h"

#include "check.h"
#include "os.h"
#include "util.h"

#include <string.h>

enum { UNIT = 64, SIZES = (int)(16 * 1024 / UNIT) + 1, BATCH = 8 };

typedef struct free_object {
    struct free_object *next;
} free_object_t;

typedef struct pool {
    struct pool *next, *previous; /* pools of this size with room */
    free_object_t *free;
    uint32_t object_bytes, first, bump, used; /* bump: offset of the first object never given out */
} pool_t;

static lock_t lock = LOCK_STATIC(RANK_OS);
/* guarded by lock */
static pool_t *with_room[SIZES];
static size_t mapped_bytes; /* of pools; what of a batch is still to be used is not counted */
static char *batch;         /* granules mapped ahead, untouched */
static size_t batch_left;

static bool has_room(const pool_t *pool)
{
    return pool->free != NULL || pool->bump + pool->object_bytes <= GRANULE;
}

static void link_pool(pool_t *pool)
{
    pool_t **head = &with_room[pool->object_bytes / UNIT];
    pool->previous = NULL;
    pool->next = *head;
    if (pool->next != NULL) {
        pool->next->previous = pool;
    }
    *head = pool;
}

static void unlink_pool(pool_t *pool)
{
    if (pool->next != NULL) {
        pool->next->previous = pool->previous;
    }
    if (pool->previous != NULL) {
        pool->previous->next = pool->next;
    } else {
        with_room[pool->object_bytes / UNIT] = pool->next;
    }
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
        return os_map(GRANULE, GRANULE, (os_map_options_t){0});
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

static pool_t *map_pool(size_t object_bytes)
{
    pool_t *pool = take_granule();
    if (pool == NULL) {
        return NULL;
    }
    size_t alignment = object_bytes & (~object_bytes + 1);
    pool->object_bytes = (uint32_t)object_bytes;
    pool->first = (uint32_t)align_up(sizeof *pool, alignment);
    pool->bump = pool->first;
    return pool;
}

static void *take(pool_t *pool)
{
    void *object = pool->free;
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

void *meta_alloc(size_t bytes)
{
    size_t object_bytes = align_up(max_size(bytes, 1), UNIT);
    check_debug(bytes <= META_MAX_BYTES);
    lock_acquire(&lock);
    pool_t *pool = with_room[object_bytes / UNIT];
    if (pool == NULL) {
        lock_release(&lock); /* no system call under the lock */
        pool = map_pool(object_bytes);
        if (pool == NULL) {
            return NULL;
        }
        lock_acquire(&lock);
        mapped_bytes += GRANULE;
        link_pool(pool);
    }
    void *object = take(pool);
    lock_release(&lock);
    return object;
}

void *meta_calloc(size_t bytes)
{
    void *object = meta_alloc(bytes);
    return object == NULL ? NULL : memset(object, 0, bytes);
}

void meta_free(void *object)
{
    if (object == NULL) {
        return;
    }
    pool_t *pool = (pool_t *)align_down((uintptr_t)object, GRANULE);
    free_object_t *freed = object;
    lock_acquire(&lock);
    bool had_room = has_room(pool);
    freed->next = pool->free;
    pool->free = freed;
    pool->used--;
    if (!had_room) {
        link_pool(pool);
    }
    bool another = with_room[pool->object_bytes / UNIT]->next != NULL;
    bool unmap = pool->used == 0 && another; /* the last one stays: no system call at the edge */
    if (unmap) {
        unlink_pool(pool);
        mapped_bytes -= GRANULE;
    }
    lock_release(&lock);
    if (unmap) {
        os_unmap(pool, GRANULE);
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
