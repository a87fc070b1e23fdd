/*
 * test_tcache_ends.c: many threads that end one after the other while none begins: when the chunks beside their pieces
 * merge, and what is kept of what they had cached and given back. The test leads each thread, one step at a time.
 */
#define _GNU_SOURCE
#include "../../arena/os.h"
#include "../../arena/run.h"
#include "../../tcache/depot.h"
#include "tcache_support.h"

#include <semaphore.h>

enum { LED = 40, FEW = 7 /* below orphan.c's ORPHANS_MANY */ };

typedef struct {
    pthread_t thread;
    sem_t go, done;
    void (*step)(size_t number); /* NULL: the end */
    size_t number;
} led_t;

static led_t led[LED];

static void *follow(void *context)
{
    led_t *self = context;

    for (;;) {
        must(sem_wait(&self->go) == 0);
        if (self->step == NULL)
            return NULL;
        self->step(self->number);
        must(sem_post(&self->done) == 0);
    }
}

static void start(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        led[i].number = i;
        must(sem_init(&led[i].go, 0, 0) == 0 && sem_init(&led[i].done, 0, 0) == 0);
        must(pthread_create(&led[i].thread, NULL, follow, &led[i]) == 0);
    }
}

static void lead(size_t count, void (*step)(size_t number))
{
    for (size_t i = 0; i < count; i++) {
        led[i].step = step;
        must(sem_post(&led[i].go) == 0 && sem_wait(&led[i].done) == 0);
    }
}

/* What others left is not too old for it, however long the test takes. */
static void end(size_t i)
{
    for (cache_t *cache = arena->caches; cache != NULL; cache = cache->next_in_arena)
        cache->decayed_ms = os_now_ms();
    led[i].step = NULL;
    must(sem_post(&led[i].go) == 0 && pthread_join(led[i].thread, NULL) == 0);
    must(sem_destroy(&led[i].go) == 0 && sem_destroy(&led[i].done) == 0);
}

/* --- chunks beside open pieces --- */

static void *first_blocks[LED];

static void take_the_first_of_a_piece(size_t number)
{
    first_blocks[number] = take(100);
}

static size_t count_deferred(void)
{
    size_t count = 0;

    for (const chunk_t *chunk = arena->deferred; chunk != NULL; chunk = chunk->next)
        count++;
    return count;
}

/* Each end looking at what waits for all others made a thousand threads' ends a million looks. */
static void what_waits_beside_pieces_is_looked_at_when_half_of_them_are_closed(void **state)
{
    static const size_t left[] = {7, 7, 7, 7, 3, 3, 1, 0};

    (void)state;
    start(8);
    lead(8, take_the_first_of_a_piece);
    arena_free_batch(arena, first_blocks, 8);
    arena_thread_flush(); /* home, beside a piece each */
    assert_int_equal(count_deferred(), 8);
    size_t waits[8];
    for (size_t i = 0; i < 8; i++) {
        end(i);
        waits[i] = count_deferred();
    }
    assert_memory_equal(waits, left, sizeof left);
    assert_int_equal(arena->totals.chunk_blocks, 0);
    assert_int_equal(arena_check(arena), 0);
}

/* --- what is kept for threads to come --- */

enum { BLOCKS = 2000 };
static void *held[LED][BLOCKS];

/* Some 1 MiB of many classes, each of which a slab serves. */
static void fill_slabs(size_t number)
{
    rng_t rng = {number + 1};

    for (size_t i = 0; i < BLOCKS; i++)
        held[number][i] = take(1 + rng_below(&rng, SMALL_MAX));
}

static void free_in_disorder(size_t number)
{
    rng_t rng = {number + 1};

    for (size_t left = BLOCKS; left != 0; left--) {
        size_t i = rng_below(&rng, left);
        arena_free(arena, held[number][i]);
        held[number][i] = held[number][left - 1];
    }
}

/* All fill, all free, all end. */
static void live_and_end(size_t count)
{
    start(count);
    lead(count, fill_slabs);
    lead(count, free_in_disorder);
    arena->granules->retaken_bytes = 64 * MIB;
    for (size_t i = 0; i < count; i++)
        end(i);
}

static void a_few_threads_leave_what_they_cached_to_those_to_come(void **state)
{
    (void)state;
    churn(1, 64); /* a living thread's cache */
    live_and_end(FEW);
    assert_int_equal(arena->granules->retaken_bytes, 64 * MIB);
    assert_true(arena->totals.slab_free_usable > PINNED_LEAST_BYTES);
    assert_true(stats_of(arena).cached_bytes != 0);
}

static void where_many_end_what_they_cached_does_not_keep_slabs(void **state)
{
    (void)state;
    churn(1, 64);
    live_and_end(LED);
    assert_true(arena->granules->retaken_bytes <= 4 * MIB);
    print_message("%zu KiB of room in slabs\n", arena->totals.slab_free_usable / KIB);
    assert_true(arena->totals.slab_free_usable <= 3 * PINNED_LEAST_BYTES);
    assert_int_equal(arena_check(arena), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_roomy_arena(what_waits_beside_pieces_is_looked_at_when_half_of_them_are_closed),
        in_roomy_arena(a_few_threads_leave_what_they_cached_to_those_to_come),
        in_roomy_arena(where_many_end_what_they_cached_does_not_keep_slabs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
