/*
 * shim.c: malloc's names over one default arena, just enough to measure ours as plain malloc beside its
 * peers. The preload library proper is another thing: this one knows no options and no diagnostics.
 *
 * The arena is made by the first allocation, which comes before any constructor of ours. The engine calls
 * no malloc; if the C library calls it on the way, that call fails instead of waiting for itself.
 */
#include <arena.h>

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#pragma GCC visibility push(default)
void *malloc(size_t request);
void free(void *block);
void *calloc(size_t count, size_t request);
void *realloc(void *block, size_t request);
void *reallocarray(void *block, size_t count, size_t request);
void *aligned_alloc(size_t alignment, size_t request);
void *memalign(size_t alignment, size_t request);
int posix_memalign(void **result, size_t alignment, size_t request);
void *valloc(size_t request);
void *pvalloc(size_t request);
size_t malloc_usable_size(void *block);
int malloc_trim(size_t pad);
#pragma GCC visibility pop

enum { ARENA_UNMADE, ARENA_BEING_MADE };

static arena_t *_Atomic default_arena;
static atomic_int default_state = ARENA_UNMADE;
static _Thread_local int making;

static __attribute__((noinline)) arena_t *arena_make(void)
{
    arena_t *arena = NULL;
    if (making)
        return NULL;
    int expected = ARENA_UNMADE;
    while (!atomic_compare_exchange_strong(&default_state, &expected, ARENA_BEING_MADE)) {
        expected = ARENA_UNMADE;
        sched_yield();
    }
    making = 1;
    arena = atomic_load_explicit(&default_arena, memory_order_relaxed);
    if (arena == NULL) {
        arena = arena_create(NULL);
        atomic_store_explicit(&default_arena, arena, memory_order_release);
    }
    making = 0;
    atomic_store_explicit(&default_state, ARENA_UNMADE, memory_order_release);
    return arena;
}

static inline arena_t *arena_default(void)
{
    arena_t *arena = atomic_load_explicit(&default_arena, memory_order_acquire);
    return __builtin_expect(arena != NULL, 1) ? arena : arena_make();
}

void *malloc(size_t request)
{
    return arena_alloc(arena_default(), request);
}

/* A block came from the arena, so that there is one; without, the block is NULL. */
void free(void *block)
{
    arena_free(atomic_load_explicit(&default_arena, memory_order_acquire), block);
}

void *calloc(size_t count, size_t request)
{
    return arena_calloc(arena_default(), count, request);
}

void *realloc(void *block, size_t request)
{
    if (block != NULL && request == 0) {
        free(block);
        return NULL;
    }
    return arena_realloc(arena_default(), block, request);
}

void *reallocarray(void *block, size_t count, size_t request)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, request, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(block, bytes);
}

void *aligned_alloc(size_t alignment, size_t request)
{
    return arena_aligned_alloc(arena_default(), alignment, request);
}

void *memalign(size_t alignment, size_t request)
{
    return arena_aligned_alloc(arena_default(), alignment, request);
}

int posix_memalign(void **result, size_t alignment, size_t request)
{
    int before = errno;
    if (alignment % sizeof(void *) != 0)
        return EINVAL;
    void *block = arena_aligned_alloc(arena_default(), alignment, request);
    int error = errno;
    errno = before;
    if (block == NULL)
        return error;
    *result = block;
    return 0;
}

void *valloc(size_t request)
{
    return arena_aligned_alloc(arena_default(), (size_t)sysconf(_SC_PAGESIZE), request);
}

void *pvalloc(size_t request)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (request > SIZE_MAX - page) {
        errno = ENOMEM;
        return NULL;
    }
    return arena_aligned_alloc(arena_default(), page, (request + page - 1) / page * page);
}

size_t malloc_usable_size(void *block)
{
    return arena_usable_size(atomic_load_explicit(&default_arena, memory_order_acquire), block);
}

int malloc_trim(size_t pad)
{
    return arena_trim(NULL, pad) > 0;
}
