/*
 * tcache_split.c: classes whose slabs have much room, in many threads that replace, queue up, hand on, flush and end, while
 * others trim, count, walk, check and fork: two magazines a class, or one again, lose nothing and give nothing twice.
 */
#define _GNU_SOURCE
#include "../../tcache/split.h"
#include "../support.h"

#include <stdatomic.h>

enum { OWNERS = 3, MOST = 12288 / (SLOWNESS == 1 ? 1 : 2), TURNS = 2000, PASSED = 4096 };

static uint64_t seed;
static arena_t *arena;
static double until;
static _Atomic bool stop;
static _Atomic size_t rounds, splits, looks, forks;
static _Atomic(char *) passed[PASSED]; /* from any owner to any other */

/* Of several classes, small ones and one that has to be earned; the first words of a block say what it holds. */
static const size_t sizes[] = {48, 96, 160, 480, 1100};
enum { SIZES = sizeof sizes / sizeof *sizes, LEAST = 2 * sizeof(uint64_t) };

static void describe(char *block, size_t bytes, uint64_t tag)
{
    memcpy(block, &bytes, sizeof bytes);
    memcpy(block + sizeof bytes, &tag, sizeof tag);
    fill(block + LEAST, bytes - LEAST, tag);
}

static char *make(size_t bytes, uint64_t tag)
{
    char *block = arena_alloc(arena, bytes);

    must(block != NULL);
    describe(block, bytes, tag);
    return block;
}

static void drop(char *block)
{
    uint64_t tag;
    size_t bytes;

    if (block == NULL)
        return;
    memcpy(&bytes, block, sizeof bytes);
    memcpy(&tag, block + sizeof bytes, sizeof tag);
    must(bytes >= LEAST && bytes <= 2 * sizes[SIZES - 1]);
    must(holds(block + LEAST, bytes - LEAST, tag));
    memset(block, 0, LEAST);
    arena_free(arena, block);
}

/* Whether a class of the calling thread's is split; it alone may look. */
static bool see(void)
{
    cache_enter(&thread_self);
    const cache_t *cache = record_lookup(arena->index);
    bool split = cache != NULL && cache->split_classes != 0;
    cache_leave(&thread_self);
    return split;
}

static void hand_on(char **block, rng_t *rng)
{
    drop(atomic_exchange(&passed[rng_below(rng, PASSED)], *block));
    *block = NULL;
}

/* Fills slabs, leaves an eighth at random, and replaces that for a while. */
static void use(rng_t *rng, uint64_t tag)
{
    static _Thread_local char *blocks[MOST];
    size_t bytes = sizes[rng_below(rng, SIZES)];
    size_t count = min_size(MOST, 2 * MIB / bytes);
    size_t live = count / 8;

    for (size_t i = 0; i < count; i++)
        blocks[i] = make(bytes, tag + i);
    for (size_t i = count; i-- > live;) {
        size_t j = rng_below(rng, i + 1);
        char *dropped = blocks[j];
        blocks[j] = blocks[i];
        drop(dropped);
    }
    for (size_t i = 0; i < TURNS; i++) {
        size_t j = rng_below(rng, live);
        switch (rng_below(rng, 64)) {
        case 0:
            hand_on(&blocks[j], rng);
            break;
        case 1: /* many in a row */
            for (size_t k = j; k < live && k < j + 130; k++) {
                drop(blocks[k]);
                blocks[k] = NULL;
            }
            break;
        case 2:
            if (blocks[j] != NULL) {
                must((blocks[j] = arena_realloc(arena, blocks[j], bytes + bytes / 2)) != NULL);
                describe(blocks[j], bytes + bytes / 2, tag + j);
            }
            break;
        case 3:
            drop(blocks[j]);
            must((blocks[j] = arena_aligned_alloc(arena, 32, bytes)) != NULL);
            describe(blocks[j], bytes, tag + j);
            break;
        default:
            drop(blocks[j]);
            blocks[j] = make(bytes, tag + j);
        }
        if (i % 64 == 0 && see())
            splits++;
    }
    if (rng_below(rng, 8) == 0)
        arena_thread_flush();
    for (size_t i = 0; i < live; i++)
        drop(blocks[i]);
}

static void *come_and_go(void *number)
{
    rng_t rng = {seed + (uintptr_t)number};

    for (size_t round = 0; round < 2; round++) {
        use(&rng, rng_next(&rng));
        rounds++;
    }
    return NULL;
}

/* Threads that end after two rounds, with classes split, and others that take over what they left. */
static void *own(void *number)
{
    for (uintptr_t turn = 0; turn == 0 || now_seconds() < until; turn++)
        run_thread(come_and_go, (void *)((uintptr_t)number * 1000 + turn));
    return NULL;
}

static int count_live(void *context, const arena_block_t *block)
{
    *(size_t *)context += block->state == ARENA_BLOCK_LIVE;
    return 0;
}

/* The child may use what it inherited. */
static void fork_and_use(void)
{
    pid_t child = fork();

    must(child >= 0);
    if (child == 0) {
        alarm(60);
        char *blocks[300];
        for (size_t i = 0; i < 300; i++)
            blocks[i] = make(96, i);
        for (size_t i = 0; i < 300; i++)
            drop(blocks[i]);
        for (size_t i = 0; i < PASSED; i++)
            drop(atomic_exchange(&passed[i], NULL));
        _exit(arena_check(arena) != 0);
    }
    int status = 0;
    must(waitpid(child, &status, 0) == child && status == 0);
    forks++;
}

static void *look(void *number)
{
    rng_t rng = {seed + 1000000 + (uintptr_t)number};

    while (!atomic_load(&stop)) {
        arena_stats_t stats;
        size_t live = 0;
        switch (rng_below(&rng, 6)) {
        case 0:
            arena_trim(arena, 0);
            break;
        case 1:
            must(arena_walk(arena, count_live, &live) == 0);
            break;
        case 2:
            stats = stats_of(arena);
            must(stats_add_up(&stats));
            break;
        case 3:
            fork_and_use();
            break;
        default:
            must(arena_check(arena) == 0);
        }
        looks++;
        usleep((useconds_t)rng_below(&rng, 10000));
    }
    return NULL;
}

static void nothing_is_lost_nor_given_twice(void **state)
{
    pthread_t owners[OWNERS], looker;

    (void)state;
    must((arena = arena_create(NULL)) != NULL);
    until = now_seconds() + test_seconds(2.0);
    for (uintptr_t i = 0; i < OWNERS; i++)
        start_thread(&owners[i], own, (void *)i);
    start_thread(&looker, look, NULL);
    for (size_t i = 0; i < OWNERS; i++)
        must(pthread_join(owners[i], NULL) == 0);
    atomic_store(&stop, true);
    must(pthread_join(looker, NULL) == 0);
    for (size_t i = 0; i < PASSED; i++)
        drop(atomic_exchange(&passed[i], NULL));
    print_message("%zu rounds, %zu times split, %zu looks, %zu forks\n", rounds, splits, looks, forks);
    assert_true(splits != 0);
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.live_blocks, 0);
    assert_int_equal(stats.allocations, stats.frees);
    assert_true(stats_add_up(&stats));
    arena_trim(arena, 0);
    assert_int_equal(stats_of(arena).cached_bytes, 0);
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost_nor_given_twice)};

    seed = test_seed(23);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
