/*
 * hooks.c: an arena over memory of our own, here a static pool of 32 MiB handed out in granules. The
 * same three functions could serve a memfd, huge pages or device memory.
 *
 * introduces: ARENA_SOURCE_HOOKS, arena_hooks_t, arena_trim(), arena_check()
 */
#include "arena.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRANULE = 65536, GRANULES = 512, BLOCKS = 4000 };

static alignas(GRANULE) unsigned char pool_bytes[(size_t)GRANULES * GRANULE];

/* Needs no lock: an arena calls its hooks one at a time, and this pool serves one arena. */
typedef struct {
    bool used[GRANULES];
    bool dirty[GRANULES]; /* was handed out before: may not read as zero */
    unsigned maps, refused, unmaps, purges;
} pool_t;

/* Whether `count` granules from `first` on are free, and their address is a multiple of `alignment`. */
static bool fits(const pool_t *pool, size_t first, size_t count, size_t alignment)
{
    if ((uintptr_t)(pool_bytes + first * GRANULE) % alignment != 0)
        return false;
    for (size_t i = first; i < first + count; i++) {
        if (pool->used[i])
            return false;
    }
    return true;
}

static void *pool_map(void *context, size_t bytes, size_t alignment, bool *zeroed)
{
    pool_t *pool = context;
    size_t count = bytes / GRANULE + (bytes % GRANULE != 0);
    for (size_t first = 0; count <= GRANULES && first <= GRANULES - count; first++) {
        if (!fits(pool, first, count, alignment))
            continue;
        *zeroed = true;
        for (size_t i = first; i < first + count; i++) {
            *zeroed = *zeroed && !pool->dirty[i];
            pool->used[i] = pool->dirty[i] = true;
        }
        pool->maps++;
        return pool_bytes + first * GRANULE;
    }
    pool->refused++;
    return NULL; /* the allocation fails with ENOMEM unless less will do */
}

/* Takes whole granules only; the arena keeps what we refuse. */
static bool pool_unmap(void *context, void *start, size_t bytes)
{
    pool_t *pool = context;
    size_t offset = (size_t)((unsigned char *)start - pool_bytes);
    if (offset % GRANULE != 0)
        return false;
    for (size_t i = offset / GRANULE; i * GRANULE < offset + bytes; i++) {
        pool->used[i] = false;
    }
    pool->unmaps++;
    return true;
}

/* Free pages between live blocks. Real memory would go back to its owner here, contents and all. */
static void pool_purge(void *context, void *start, size_t bytes)
{
    pool_t *pool = context;
    memset(start, 0xdd, bytes);
    pool->purges++;
}

static size_t granules_used(const pool_t *pool)
{
    size_t used = 0;
    for (size_t i = 0; i < GRANULES; i++) {
        used += pool->used[i];
    }
    return used;
}

static void report(const char *when, const pool_t *pool)
{
    printf("%-22s %4zu granules in use; so far %u maps, %u refused, %u unmaps, %u purges\n", when,
           granules_used(pool), pool->maps, pool->refused, pool->unmaps, pool->purges);
}

/* Fills the arena, frees seven blocks of eight, trims; false on a failed allocation or a broken heap. */
static bool use_arena(arena_t *arena, const pool_t *pool)
{
    static unsigned char *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t request = 1 + i * 7919 % 6000;
        blocks[i] = arena_alloc(arena, request);
        if (blocks[i] == NULL)
            return false;
        memset(blocks[i], (int)(i & 0xff), request);
    }
    report("4,000 blocks:", pool);
    for (size_t i = 0; i < BLOCKS; i++) {
        if (i % 8 != 0)
            arena_free(arena, blocks[i]);
    }
    arena_trim(arena, 0);
    report("an eighth, trimmed:", pool);
    for (size_t i = 0; i < BLOCKS; i += 8) {
        if (blocks[i][i * 7919 % 6000] != (i & 0xff))
            return false;
        arena_free(arena, blocks[i]);
    }
    arena_trim(arena, 0);
    report("none, trimmed:", pool);
    return arena_check(arena) == 0;
}

int main(void)
{
    static pool_t pool;
    arena_options_t options = {
        .name = "hooks",
        .source = ARENA_SOURCE_HOOKS,
        .hooks = {.map = pool_map, .unmap = pool_unmap, .purge = pool_purge, .context = &pool},
    };
    arena_t *arena = arena_create(&options);
    if (arena == NULL) {
        perror("hooks: arena_create");
        return EXIT_FAILURE;
    }
    bool good = use_arena(arena, &pool);
    if (!good)
        perror("hooks: the arena failed");
    arena_destroy(arena);
    report("destroyed:", &pool);
    if (granules_used(&pool) != 0) {
        fprintf(stderr, "hooks: destroyed arena kept granules\n");
        good = false;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
