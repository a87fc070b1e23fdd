/*
 * producer_consumer.c: blocks that one thread allocates and another frees, for as long as one likes: nothing
 * is lost, nothing is given out twice, and memory stays bounded by what is alive.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <sched.h>
#include <stdatomic.h>

enum { PAIRS = 2, RING = 1024, LEAST = 512 };

typedef struct {
    _Alignas(64) _Atomic size_t head; /* next to be written; the producer's */
    _Alignas(64) _Atomic size_t tail; /* next to be read; the consumer's */
    size_t *blocks[RING];
} ring_t;

static arena_t *arena;
static ring_t rings[PAIRS];
static size_t largest;
static double until;
static _Atomic size_t transfers;

static void push(ring_t *ring, size_t *block)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

    while (head - atomic_load_explicit(&ring->tail, memory_order_acquire) == RING)
        sched_yield();
    ring->blocks[head % RING] = block;
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

static size_t *pull(ring_t *ring)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

    while (atomic_load_explicit(&ring->head, memory_order_acquire) == tail)
        sched_yield();
    size_t *block = ring->blocks[tail % RING];
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return block;
}

/* NULL ends the stream. The first word of a block is its size. LEAST, because the time may be others'. */
static void produce(ring_t *ring, rng_t *rng)
{
    size_t sent = 0;

    while (sent < LEAST || sent % 64 != 0 || now_seconds() < until) {
        size_t bytes = sizeof(size_t) + rng_below(rng, largest);
        size_t *block = arena_alloc(arena, bytes);
        must(block != NULL);
        *block = bytes;
        fill(block + 1, bytes - sizeof *block, bytes);
        push(ring, block);
        sent++;
    }
    push(ring, NULL);
    transfers += sent;
}

static void consume(ring_t *ring)
{
    size_t *block;

    while ((block = pull(ring)) != NULL) {
        must(holds(block + 1, *block - sizeof *block, *block));
        arena_free_sized(arena, block, *block);
    }
}

static void *produce_or_consume(void *number)
{
    size_t i = (uintptr_t)number;
    rng_t rng = {i};

    if (i % 2 == 0)
        produce(&rings[i / 2], &rng);
    else
        consume(&rings[i / 2]);
    return NULL;
}

static void stays_bounded(size_t bytes, size_t bound, unsigned flags)
{
    largest = bytes;
    transfers = 0;
    until = now_seconds() + test_seconds(0.5);
    must((arena = arena_create(&(arena_options_t){.flags = flags})) != NULL);
    run_threads(2 * PAIRS, produce_or_consume);
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.allocations, transfers);
    assert_int_equal(stats.frees, transfers);
    assert_true(stats.live_blocks == 0 && stats_add_up(&stats));
    printf("%zu transfers, %zu KiB at most\n", (size_t)transfers, stats.peak_mapped_bytes / KIB);
    assert_true(stats.peak_mapped_bytes <= bound);
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

static void small_blocks_stay_bounded(void **state)
{
    (void)state;
    stays_bounded(100, 8 * MIB, 0);
    stays_bounded(100, 8 * MIB, ARENA_NO_CACHE);
}

static void medium_blocks_stay_bounded(void **state)
{
    (void)state;
    stays_bounded(8000, PAIRS * RING * 8000 * 2 + 16 * MIB, 0);
    stays_bounded(8000, PAIRS * RING * 8000 * 2 + 16 * MIB, ARENA_NO_SLABS);
}

static void blocks_beyond_the_classes_stay_bounded(void **state)
{
    (void)state;
    stays_bounded(100000, PAIRS * RING * 100000 * 2 + 16 * MIB, 0);
}

/* --- blocks swapped among threads --- */

enum { SLOTS = 256 };

static _Atomic(char *) slots[SLOTS];

static void *swap_blocks(void *number)
{
    rng_t rng = {(uintptr_t)number};
    size_t done = 0;

    while (now_seconds() < until)
        for (size_t k = 0; k < 100; k++, done++) {
            size_t slot = rng_below(&rng, SLOTS), bytes = 16 + slot * 7;
            char *block = arena_alloc(arena, bytes);
            must(block != NULL);
            fill(block, bytes, slot);
            block = atomic_exchange(&slots[slot], block);
            must(block == NULL || holds(block, bytes, slot));
            arena_free(arena, block);
        }
    transfers += done;
    return NULL;
}

static void swapped_blocks_stay_bounded(void **state)
{
    (void)state;
    transfers = 0;
    until = now_seconds() + test_seconds(0.5);
    must((arena = arena_create(NULL)) != NULL);
    run_threads(8, swap_blocks);
    for (size_t i = 0; i < SLOTS; i++)
        arena_free(arena, atomic_exchange(&slots[i], NULL));
    arena_stats_t stats = stats_of(arena);
    assert_int_equal(stats.allocations, transfers);
    assert_true(stats.live_blocks == 0 && stats_add_up(&stats));
    assert_true(stats.peak_mapped_bytes <= 24 * MIB);
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_blocks_stay_bounded),
        cmocka_unit_test(medium_blocks_stay_bounded),
        cmocka_unit_test(blocks_beyond_the_classes_stay_bounded),
        cmocka_unit_test(swapped_blocks_stay_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
