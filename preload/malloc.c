/*
 * malloc.c: the C library's allocation functions, by glibc's contracts, over the domain's arenas.
 *
 * A hit is as in tcache/fast.c, but for the look-up: the cache of the thread's home is in slot 0, and where there
 * is none cache_none stands, whose bins are empty and whose tag matches nothing. So the first call
 * of a thread takes the miss that is there anyway.
 */
#include "../arena/alloc.h"
#include "../arena/os.h"
#include "../arena/resize.h"
#include "../tcache/hit.h"
#include "domain.h"
#include "names.h"
#include "report.h"

#include <errno.h>
#include <string.h>

enum { LEAST = 16 }; /* of the alignments: ARENA_LEAST_CLASS has that size */

/* Inside; leaves. The thread has no cache of a home yet, or not any more. */
static NOINLINE void *alloc_homeless(size_t request)
{
    cache_leave(&thread_self);
    arena_t *home = domain_home();
    return home == NULL ? NULL : arena_alloc(home, request);
}

static NOINLINE void *malloc_empty(cache_t *cache, size_t class, size_t request)
{
    return cache != &cache_none ? cache_alloc_empty(cache, class, request) : alloc_homeless(request);
}

static NOINLINE void *malloc_tick(cache_t *cache, unsigned class)
{
    void *block = cache_alloc_tick(cache, class);
    domain_look();
    return block;
}

static NOINLINE void *malloc_large(size_t request)
{
    arena_t *home = domain_home();
    return home == NULL ? NULL : alloc_public(home, request);
}

INLINE void *alloc_of_class(size_t class, size_t request)
{
    cache_enter(&thread_self);
    return hit_alloc(table_home(), class, request, malloc_empty, malloc_tick);
}

/* A request above SLAB_MAX: the class takes a bit scan. */
static NOINLINE HIT void *malloc_wide(size_t request)
{
    return LIKELY(request <= CLASS_MAX) ? alloc_of_class(sizeclass_of_wide(request), request)
                                        : malloc_large(request);
}

static NOINLINE HIT void *malloc_medium(size_t request)
{
    return request <= SLAB_MAX ? alloc_of_class(sizeclass_of_medium(request), request) : malloc_wide(request);
}

HIT void *malloc(size_t request)
{
    return LIKELY(request <= SMALL_MAX) ? alloc_of_class(sizeclass_small[request], request)
                                        : malloc_medium(request);
}

/* The arena to ask about a block that somebody passed us: its own, or one that will report it. */
static arena_t *arena_to_ask(const void *block)
{
    arena_t *owner = domain_owner(block);
    return owner != NULL ? owner : domain_home();
}

/* Inside; leaves. NULL, a block of another arena, one that no magazine holds, or no block. */
static NOINLINE void free_other(void *block)
{
    if (block == NULL) { /* in many programs one of three */
        cache_leave(&thread_self);
        return;
    }
    uint32_t entry = pagemap_entry_marked(block);
    cache_t *cache = entry == 0 ? NULL : record_lookup(entry >> 8);
    if (cache != NULL) {
        if (cache != table_home()) {
            domain_note_foreign(entry >> 8);
        }
        hit_free_any(cache, block, entry);
        return;
    }
    cache_leave(&thread_self);
    arena_t *owner = arena_to_ask(block);
    if (owner != NULL) {
        arena_free(owner, block); /* which reports what is not its own */
    }
}

HIT void free(void *block)
{
    uint32_t entry = pagemap_entry_marked(block);
    cache_enter(&thread_self);
    cache_t *cache = table_home();
    uint64_t kind = entry ^ cache->tag;
    if (UNLIKELY(kind > SLAB_CLASSES)) {
        if (LIKELY(kind == KIND_CHUNKS)) {
            cache_free_chunk(cache, block);
            return;
        }
        free_other(block);
        return;
    }
    hit_free(cache, kind, block);
}

static void *fail(int error)
{
    errno = error;
    return NULL;
}

void *calloc(size_t count, size_t size)
{
    size_t bytes;
    if (UNLIKELY(multiply_overflows(count, size, &bytes))) {
        return fail(ENOMEM);
    }
    /* So much may be zero already. No cache: perhaps because there is a log, which is to say "calloc". */
    if (UNLIKELY(bytes >= FILL_ONE_BYTES || table_home() == &cache_none)) {
        arena_t *home = domain_home();
        return home == NULL ? NULL : arena_calloc(home, 1, bytes);
    }
    void *block = malloc(bytes);
    return block == NULL ? NULL : memset(block, 0, bytes);
}

/* From one small class to another, as resize_block does it. */
static NOINLINE void *realloc_small(void *block, size_t usable, size_t request)
{
    if (sizeclass_bytes[sizeclass_small[request]] == usable) {
        return block;
    }
    int saved = errno;
    void *moved = malloc(request);
    if (moved == NULL && request < usable) {
        errno = saved; /* shrinking never fails */
        return block;
    }
    if (moved == NULL) {
        return NULL;
    }
    memcpy(moved, block, min_size(usable, request));
    free(block);
    return moved;
}

static NOINLINE void *realloc_other(void *block, size_t request)
{
    if (request == 0) {
        free(block);
        return NULL;
    }
    arena_t *owner = arena_to_ask(block);
    return owner == NULL ? NULL : arena_realloc(owner, block, request);
}

/* A chunk in the home whose header says `usable`, if it is to be trusted. */
static NOINLINE void *realloc_chunk(void *block, size_t usable, size_t request)
{
    return carve_validate(block) == MISUSE_NONE ? resize_block(thread_home(), block, usable, request)
                                                : realloc_other(block, request);
}

/* Most calls, of who appends, change nothing. A granule with names goes slow. */
void *realloc(void *block, size_t request)
{
    if (UNLIKELY(block == NULL)) {
        return malloc(request);
    }
    uint64_t kind = pagemap_entry_marked(block) ^ table_home()->tag;
    size_t usable = hit_usable(kind, block);
    if (LIKELY(request <= usable && request >= usable - usable / 4 && request != 0)) {
        return block;
    }
    bool in_slab = kind <= SLAB_CLASSES;
    if (usable != 0 && request - 1 < SMALL_MAX && (in_slab || usable <= SMALL_MAX)) {
        return realloc_small(block, usable, request);
    }
    return !in_slab && usable != 0 && request - 1 < CLASS_MAX ? realloc_chunk(block, usable, request)
                                                              : realloc_other(block, request);
}

void *reallocarray(void *block, size_t count, size_t size)
{
    size_t bytes;
    return multiply_overflows(count, size, &bytes) ? fail(ENOMEM) : realloc(block, bytes);
}

static NOINLINE void *alloc_aligned_other(size_t alignment, size_t request)
{
    if (alignment <= LEAST && table_home() != &cache_none) {
        return malloc(request);
    }
    arena_t *home = domain_home(); /* no cache: perhaps because there is a log, as above */
    return home == NULL ? NULL : arena_aligned_alloc(home, max_size(alignment, LEAST), request);
}

/* Inside; leaves. */
static NOINLINE void *aligned_empty(cache_t *cache, size_t class, size_t request)
{
    (void)cache;
    (void)class;
    (void)request;
    cache_leave(&thread_self);
    return NULL;
}

/* A slab of a class that the alignment divides has such blocks only, once old chunks are gone. */
static NOINLINE void *alloc_aligned_miss(size_t alignment, size_t request)
{
    unsigned class = sizeclass_of_aligned(request, alignment);
    if (class != 0 && class <= SMALL_CLASSES && (table_home()->graduated >> class & 1) != 0) {
        void *block = malloc(sizeclass_bytes[class]);
        if (is_aligned(block, alignment)) {
            return block;
        }
        free(block);
    }
    return alloc_aligned_other(alignment, request);
}

/* The alignment is a power of two. What the class would give out next is taken if it is aligned. */
INLINE void *alloc_aligned(size_t alignment, size_t request)
{
    unsigned class = sizeclass_of_aligned(request, alignment);
    cache_enter(&thread_self);
    cache_t *cache = table_home();
    if (LIKELY(cache->next[class] != NULL && is_aligned(cache->next[class], alignment))) {
        return hit_alloc(cache, class, request, aligned_empty, malloc_tick);
    }
    cache_leave(&thread_self);
    return alloc_aligned_miss(alignment, request);
}

/* glibc rounds a bad alignment up to a power of two. */
static NOINLINE void *memalign_rounded(size_t alignment, size_t request)
{
    if (alignment > SIZE_MAX / 2 + 1) {
        return fail(EINVAL);
    }
    return alloc_aligned_other(alignment <= LEAST ? LEAST : (size_t)1 << (floor_log2(alignment - 1) + 1),
                               request);
}

void *memalign(size_t alignment, size_t request)
{
    return LIKELY(is_power_of_two(alignment)) ? alloc_aligned(alignment, request)
                                              : memalign_rounded(alignment, request);
}

void *aligned_alloc(size_t alignment, size_t request)
{
    return memalign(alignment, request);
}

int posix_memalign(void **result, size_t alignment, size_t request)
{
    if (alignment % sizeof(void *) != 0 || !is_power_of_two(alignment)) {
        return EINVAL;
    }
    int saved = errno;
    void *block = alloc_aligned(alignment, request);
    errno = saved;
    if (block == NULL) {
        return ENOMEM;
    }
    *result = block;
    return 0;
}

void *valloc(size_t request)
{
    return alloc_aligned(os_page_bytes(), request);
}

void *pvalloc(size_t request)
{
    size_t page = os_page_bytes();
    if (request > SIZE_MAX - page) {
        return fail(ENOMEM);
    }
    return alloc_aligned(page, align_up(max_size(request, 1), page));
}

static NOINLINE size_t usable_other(void *block)
{
    arena_t *owner = block == NULL ? NULL : arena_to_ask(block);
    return owner == NULL ? 0 : arena_usable_size(owner, block);
}

/* Some programs ask after each malloc and before each free. */
size_t malloc_usable_size(void *block)
{
    size_t usable = hit_usable(pagemap_entry(block) ^ table_home()->tag, block);
    return LIKELY(usable != 0) ? usable : usable_other(block);
}

void cfree(void *block)
{
    free(block);
}

/* Here and not in report.c, which no archive's member would be taken for. */
__attribute__((destructor)) static void at_exit(void)
{
    report_at_exit();
}

/* C23: `size` as it was asked for. What the block cannot have been is reported. */
void free_sized(void *block, size_t size)
{
    arena_t *owner = block == NULL ? NULL : arena_to_ask(block);
    if (owner != NULL) {
        arena_free_sized(owner, block, size);
    }
}

void free_aligned_sized(void *block, size_t alignment, size_t size)
{
    (void)alignment;
    free_sized(block, size);
}

void *__libc_malloc(size_t request)
{
    return malloc(request);
}

void __libc_free(void *block)
{
    free(block);
}

void *__libc_calloc(size_t count, size_t size)
{
    return calloc(count, size);
}

void *__libc_realloc(void *block, size_t request)
{
    return realloc(block, request);
}

void *__libc_memalign(size_t alignment, size_t request)
{
    return memalign(alignment, request);
}

void *__libc_valloc(size_t request)
{
    return valloc(request);
}

void *__libc_pvalloc(size_t request)
{
    return pvalloc(request);
}

int __posix_memalign(void **result, size_t alignment, size_t request)
{
    return posix_memalign(result, alignment, request);
}
