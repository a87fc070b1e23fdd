/*
 * tcache_many_arenas.c: threads that use more arenas than they may have caches of, each in bursts, with blocks that others
 * free, while arenas are destroyed and made anew, and others trim, count, check and fork: who has a cache of what changes
 * all the time, and nothing is lost, nor given twice.
 */
#define _GNU_SOURCE
#include "../../arena/registry.h"
#include "../../tcache/surplus.h"
#include "../support.h"

#include <stdatomic.h>

enum {
    USERS = 4,
    ARENAS = 3 * CACHES_LEAST,
    SLOTS = 24,
    BURST = 24,
    LEAST = 2 * sizeof(uint64_t),
    MOST = 4000
};

/* Used by many at once; made anew by one alone. */
typedef struct {
    pthread_rwlock_t lock;
    arena_t *arena;
    _Atomic(char *) slots[SLOTS];
} shop_t;

static shop_t shops[ARENAS];
static uint64_t seed;
static double until;
static _Atomic bool stop;
static _Atomic size_t bursts, uncached, earned, renewals, looks, forks;

static char *make(arena_t *arena, rng_t *rng)
{
    uint64_t tag = rng_next(rng);
    size_t bytes = LEAST + rng_below(rng, rng_below(rng, 8) == 0 ? MOST : MOST / 16);
    char *block = arena_alloc(arena, bytes);

    must(block != NULL);
    memcpy(block, &bytes, sizeof bytes);
    memcpy(block + sizeof bytes, &tag, sizeof tag);
    fill(block + LEAST, bytes - LEAST, tag);
    return block;
}

static void drop(arena_t *arena, char *block)
{
    size_t bytes;
    uint64_t tag;

    if (block == NULL)
        return;
    memcpy(&bytes, block, sizeof bytes);
    memcpy(&tag, block + sizeof bytes, sizeof tag);
    must(bytes >= LEAST && bytes <= LEAST + MOST);
    must(holds(block + LEAST, bytes - LEAST, tag));
    memset(block, 0, LEAST);
    arena_free(arena, block);
}

static void drop_all(shop_t *shop)
{
    for (size_t i = 0; i < SLOTS; i++)
        drop(shop->arena, atomic_exchange(&shop->slots[i], NULL));
}

/* Whether the calling thread has surplus of the arena now, and whether it had before. */
static void note(const arena_t *arena, bool *had)
{
    lock_acquire(&registry_lock);
    const cache_slot_t *slot = record_slot(thread_self.record, arena->index);
    bool has = slot != NULL && (atomic_load_explicit(slot, memory_order_relaxed) & CACHE_SURPLUS) != 0;
    bool cached = record_cache_locked(thread_self.record, arena->index) != NULL;
    lock_release(&registry_lock);
    uncached += has;
    earned += *had && cached;
    *had = has;
}

static void burst(shop_t *shop, rng_t *rng, bool *had)
{
    must(pthread_rwlock_rdlock(&shop->lock) == 0);
    for (size_t i = 0; i < BURST; i++)
        drop(shop->arena, atomic_exchange(&shop->slots[rng_below(rng, SLOTS)], make(shop->arena, rng)));
    note(shop->arena, had);
    must(pthread_rwlock_unlock(&shop->lock) == 0);
    bursts++;
}

static void renew(shop_t *shop, rng_t *rng)
{
    must(pthread_rwlock_wrlock(&shop->lock) == 0);
    if (rng_below(rng, 2) == 0) {
        for (size_t i = 0; i < SLOTS; i++)
            atomic_store(&shop->slots[i], NULL);
        arena_destroy(shop->arena);
        must((shop->arena = arena_create(NULL)) != NULL);
    } else {
        drop_all(shop);
        arena_stats_t stats = stats_of(shop->arena);
        must(stats.skipped_caches != 0 || (stats.live_blocks == 0 && stats.allocations == stats.frees));
        must(stats_add_up(&stats));
    }
    must(pthread_rwlock_unlock(&shop->lock) == 0);
    renewals++;
}

/* Mostly any; for a while one alone, which so earns its cache. */
static void *use(void *number)
{
    rng_t rng = {seed + (uintptr_t)number};
    bool had[ARENAS] = {false};

    while (now_seconds() < until) {
        size_t favourite = rng_below(&rng, ARENAS);
        for (size_t i = 0; i < 2 * ARENAS; i++) {
            size_t any = rng_below(&rng, ARENAS);
            burst(&shops[any], &rng, &had[any]);
        }
        for (size_t i = 0; i < 20; i++)
            burst(&shops[favourite], &rng, &had[favourite]);
        if (rng_below(&rng, 4) == 0)
            renew(&shops[favourite], &rng);
        if (rng_below(&rng, 64) == 0)
            arena_thread_flush();
    }
    return NULL;
}

/* The child, in which the others' shops may be locked for ever. */
static int child_uses(void *unused)
{
    rng_t rng = {seed};

    (void)unused;
    for (size_t i = 0; i < ARENAS; i++) {
        if (pthread_rwlock_trywrlock(&shops[i].lock) == 0) {
            drop(shops[i].arena, make(shops[i].arena, &rng));
            drop_all(&shops[i]);
            must(arena_check(shops[i].arena) == 0);
        }
    }
    return 0;
}

static void *look(void *unused)
{
    rng_t rng = {seed + 1000};

    while (!atomic_load(&stop)) {
        shop_t *shop = &shops[rng_below(&rng, ARENAS)];
        must(pthread_rwlock_rdlock(&shop->lock) == 0);
        arena_stats_t stats;
        switch (rng_below(&rng, 4)) {
        case 0:
            arena_trim(shop->arena, 0);
            break;
        case 1:
            stats = stats_of(shop->arena);
            must(stats_add_up(&stats));
            break;
        default:
            must(arena_check(shop->arena) == 0);
        }
        must(pthread_rwlock_unlock(&shop->lock) == 0);
        if (looks++ % 64 == 0 && !UNDER_TSAN) { /* which cannot follow a thread that holds 64 locks */
            must_end_well(status_of_child(child_uses, NULL, 60));
            forks++;
        }
        usleep((useconds_t)rng_below(&rng, 3000));
    }
    return unused;
}

static void nothing_is_lost_nor_given_twice(void **state)
{
    pthread_t users[USERS], looker;

    (void)state;
    for (size_t i = 0; i < ARENAS; i++)
        must(pthread_rwlock_init(&shops[i].lock, NULL) == 0 && (shops[i].arena = arena_create(NULL)) != NULL);
    until = now_seconds() + test_seconds(2.0);
    for (uintptr_t i = 0; i < USERS; i++)
        start_thread(&users[i], use, (void *)i);
    start_thread(&looker, look, NULL);
    for (size_t i = 0; i < USERS; i++)
        must(pthread_join(users[i], NULL) == 0);
    atomic_store(&stop, true);
    must(pthread_join(looker, NULL) == 0);
    print_message("%zu bursts, %zu without a cache, %zu earned one, %zu renewals, %zu looks, %zu forks\n",
                  bursts, uncached, earned, renewals, looks, forks);
    assert_true(uncached != 0);
    for (size_t i = 0; i < ARENAS; i++) {
        drop_all(&shops[i]);
        assert_int_equal(stats_of(shops[i].arena).live_blocks, 0);
        assert_int_equal(arena_check(shops[i].arena), 0);
        arena_destroy(shops[i].arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost_nor_given_twice)};

    seed = test_seed(29);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
