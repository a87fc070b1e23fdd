/*
 * fork_support.h: several arenas under load by threads that never stop, and what a child does with them.
 *
 * Blocks lie in shared slots; who takes one out of its slot (atomically) owns it, so that whatever a child
 * finds in a slot is a live block that it has inherited.
 */
#ifndef ARENA_TESTS_FORK_SUPPORT_H
#define ARENA_TESTS_FORK_SUPPORT_H

#include "../support.h"

#include <sched.h>
#include <stdatomic.h>

enum { LOAD_ARENAS = 6, LOAD_SLOTS = 400, LOAD_THREADS = 4 };

/* The first words of each block in a slot. */
typedef struct {
    size_t bytes;
    uint64_t tag;
} label_t;

static arena_t *load_arenas[LOAD_ARENAS];
static _Atomic(label_t *) load_slots[LOAD_ARENAS][LOAD_SLOTS];
static _Atomic bool load_stop;
static _Atomic size_t load_started; /* threads: a fork while one is being born is the C library's affair */
static pthread_t load_threads[LOAD_THREADS];
static char load_buffer[MIB];
static book_t load_book;

static size_t load_size(rng_t *rng)
{
    return sizeof(label_t) + (rng_below(rng, 50) == 0 ? rng_size(rng, 19) : rng_size(rng, 9));
}

SUPPORT_UNUSED static void load_put(size_t i, size_t slot, rng_t *rng)
{
    size_t bytes = load_size(rng);
    label_t *fresh = arena_alloc(load_arenas[i], bytes);

    if (fresh == NULL) {
        must(errno == ENOMEM && i == 3);
        return;
    }
    *fresh = (label_t){bytes, rng_next(rng)};
    fill(fresh + 1, bytes - sizeof *fresh, fresh->tag);
    label_t *old = atomic_exchange(&load_slots[i][slot], fresh);
    if (old != NULL) {
        must(holds(old + 1, old->bytes - sizeof *old, old->tag));
        arena_free(load_arenas[i], old);
    }
}

static void *load_hammer(void *number)
{
    rng_t rng = {(uintptr_t)number + 1};

    load_started++;
    while (!atomic_load_explicit(&load_stop, memory_order_relaxed)) {
        size_t i = rng_below(&rng, LOAD_ARENAS);
        for (size_t k = 0; k < 50; k++)
            load_put(i, rng_below(&rng, LOAD_SLOTS), &rng);
        if (rng_below(&rng, 200) == 0)
            arena_trim(load_arenas[i], 0);
    }
    return NULL;
}

static void load_begins(void)
{
    const arena_options_t options[LOAD_ARENAS] = {
        {0},
        {.flags = ARENA_NO_CACHE},
        {.source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&load_book)},
        {.source = ARENA_SOURCE_BUFFER, .buffer = load_buffer, .buffer_bytes = sizeof load_buffer},
        {.flags = ARENA_CHECKED, .fit = ARENA_FIT_BEST},
        {.flags = ARENA_NO_SLABS},
    };

    load_stop = false;
    load_started = 0;
    for (size_t i = 0; i < LOAD_ARENAS; i++)
        must((load_arenas[i] = arena_create(&options[i])) != NULL);
    for (size_t i = 0; i < LOAD_THREADS; i++)
        start_thread(&load_threads[i], load_hammer, (void *)(uintptr_t)i);
    while (load_started < LOAD_THREADS)
        sched_yield();
}

static void load_ends(void)
{
    load_stop = true;
    for (size_t i = 0; i < LOAD_THREADS; i++)
        must(pthread_join(load_threads[i], NULL) == 0);
    for (size_t i = 0; i < LOAD_ARENAS; i++) {
        for (size_t slot = 0; slot < LOAD_SLOTS; slot++) {
            label_t *block = atomic_exchange(&load_slots[i][slot], NULL);
            must(block == NULL || holds(block + 1, block->bytes - sizeof *block, block->tag));
            arena_free(load_arenas[i], block);
        }
        arena_stats_t stats = stats_of(load_arenas[i]);
        must(stats.live_blocks == 0 && stats_add_up(&stats));
        must(arena_check(load_arenas[i]) == 0);
        arena_destroy(load_arenas[i]);
    }
    must(load_book.held == 0);
}

/* Every operation in every arena, on inherited blocks and on new ones. */
static void use_every_arena(uint64_t seed)
{
    rng_t rng = {seed};

    for (size_t i = 0; i < LOAD_ARENAS; i++) {
        must(arena_check(load_arenas[i]) == 0);
        for (size_t k = 0; k < 300; k++)
            load_put(i, rng_below(&rng, LOAD_SLOTS), &rng);
        for (size_t slot = 0; slot < LOAD_SLOTS; slot += 2) {
            label_t *block = atomic_exchange(&load_slots[i][slot], NULL);
            must(block == NULL || holds(block + 1, block->bytes - sizeof *block, block->tag));
            must(block == NULL || arena_of(block) == load_arenas[i]);
            arena_free(load_arenas[i], block);
        }
        void *block = arena_realloc(load_arenas[i], arena_calloc(load_arenas[i], 3, 100), 20000);
        must(block != NULL || i == 3);
        arena_free(load_arenas[i], block);
        arena_trim(load_arenas[i], 0);
        arena_stats_t stats = stats_of(load_arenas[i]);
        must(stats_add_up(&stats));
        must(arena_check(load_arenas[i]) == 0);
    }
}

/* And the end of them, and the beginning of others. */
static void destroy_every_arena(void)
{
    for (size_t i = 0; i < LOAD_ARENAS; i++)
        arena_destroy(load_arenas[i]);
    arena_t *fresh = arena_create(NULL);
    must(fresh != NULL);
    for (size_t size = 0; size < MIB; size = size * 3 / 2 + 1)
        must(arena_alloc(fresh, size) != NULL);
    must(arena_check(fresh) == 0);
    arena_destroy(fresh);
    must(stats_of(NULL).arenas == 0);
}

#endif
