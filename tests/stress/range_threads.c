/*
 * range_threads.c: threads allocate, resize, free each other's blocks, walk and check range arenas of every source at
 * once, and fork beside it: the child goes on with all of them.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <stdatomic.h>

enum { THREADS = 4, SLOTS = 200, RANGES = 4 };

static arena_range_t *ranges[RANGES];
static double until;

/* A block in a slot is nobody's until it is exchanged out. */
static _Atomic uint64_t slots[RANGES][SLOTS];

static bool has_memory(size_t which)
{
    return which != 0;
}

/* The first and last byte say where it is. */
static void sign(size_t which, uint64_t address, uint64_t bytes)
{
    if (has_memory(which)) {
        unsigned char *block = (unsigned char *)(uintptr_t)address;
        block[0] = block[bytes - 1] = (unsigned char)(address >> 3);
    }
}

static void give(size_t which, uint64_t address)
{
    if (address == ARENA_RANGE_NONE)
        return;
    uint64_t bytes = arena_range_size(ranges[which], address);
    must(bytes > 0);
    if (has_memory(which)) {
        const unsigned char *block = (const unsigned char *)(uintptr_t)address;
        must(block[0] == (unsigned char)(address >> 3) && block[bytes - 1] == block[0]);
    }
    arena_range_free(ranges[which], address);
}

static int count_visits(void *context, const arena_range_block_t *block)
{
    must(block->bytes > 0);
    ++*(size_t *)context;
    return 0;
}

static void operate(rng_t *rng)
{
    size_t which = rng_below(rng, RANGES), slot = rng_below(rng, SLOTS), visits = 0;
    uint64_t bytes = 1 + rng_size(rng, 10);
    uint64_t mine = arena_range_alloc(ranges[which], bytes);

    must(mine != ARENA_RANGE_NONE || which == 0);
    if (mine != ARENA_RANGE_NONE && rng_below(rng, 4) == 0)
        arena_range_resize(ranges[which], mine, 1 + rng_size(rng, 10));
    if (mine != ARENA_RANGE_NONE)
        sign(which, mine, arena_range_size(ranges[which], mine));
    give(which, atomic_exchange(&slots[which][slot], mine));
    if (rng_below(rng, 500) == 0)
        must(arena_range_check(ranges[which]) == 0);
    if (rng_below(rng, 500) == 0)
        must(arena_range_walk(ranges[which], count_visits, &visits) == 0);
    if (rng_below(rng, 500) == 0)
        arena_range_trim(ranges[which]);
}

static void *work(void *argument)
{
    rng_t rng = {(uint64_t)(uintptr_t)argument + 1};

    while (now_seconds() < until) {
        for (size_t i = 0; i < 100; i++)
            operate(&rng);
    }
    return NULL;
}

static int go_on(void *unused)
{
    rng_t rng = {(uint64_t)getpid()};

    (void)unused;
    for (size_t i = 0; i < 500; i++)
        operate(&rng);
    for (size_t i = 0; i < RANGES; i++)
        must(arena_range_check(ranges[i]) == 0);
    return 0;
}

static void *fork_now_and_then(void *unused)
{
    (void)unused;
    while (now_seconds() < until) {
        must_end_well(status_of_child(go_on, NULL, 20));
        usleep(20000);
    }
    return NULL;
}

static void *start(void *argument)
{
    return (uintptr_t)argument == THREADS ? fork_now_and_then(NULL) : work(argument);
}

int main(void)
{
    const arena_range_options_t options[RANGES] = {
        {.bytes = 64 * KIB, .name = "given"},
        {.source = ARENA_RANGE_MMAP, .name = "mmap", .flags = ARENA_RANGE_LIFO},
        {.source = ARENA_RANGE_MMAP,
         .name = "pages",
         .flags = ARENA_RANGE_WITHIN_PAGES,
         .fit = ARENA_FIT_FIRST},
        {.source = ARENA_RANGE_SBRK, .name = "break", .flags = ARENA_RANGE_INSIDE | ARENA_RANGE_LIFO},
    };

    for (size_t i = 0; i < RANGES; i++) {
        must((ranges[i] = arena_range_create(&options[i])) != NULL);
        for (size_t j = 0; j < SLOTS; j++)
            atomic_init(&slots[i][j], ARENA_RANGE_NONE);
    }
    until = now_seconds() + test_seconds(2.0);
    run_threads(THREADS + 1, start);
    for (size_t i = 0; i < RANGES; i++) {
        for (size_t j = 0; j < SLOTS; j++)
            give(i, atomic_load(&slots[i][j]));
        arena_range_stats_t stats;
        arena_range_stats(ranges[i], &stats, sizeof stats);
        must(stats.live_blocks == 0 && arena_range_check(ranges[i]) == 0);
        printf("%s: %llu allocations\n", options[i].name, (unsigned long long)stats.allocations);
        arena_range_destroy(ranges[i]);
    }
    return 0;
}
