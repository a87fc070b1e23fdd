/*
 * test_tcache_split.c: a class whose slabs have much room: what is freed goes home, and what is allocated comes from the
 * fullest slabs, until that helps no more.
 */
#define _GNU_SOURCE
#include "../../arena/cachehook.h"
#include "../../arena/os.h"
#include "../../tcache/split.h"
#include "tcache_support.h"

#include <setjmp.h>

enum { SIZE = 96, COUNT = 2 * 1024 * 1024 / SIZE, LIVE = COUNT / 4, FEW = LIVE / 20 };

static void *blocks[COUNT];
static rng_t rng;

static unsigned class_here(void)
{
    return sizeclass_of(SIZE);
}

static bool is_split(void)
{
    return cache_is_split(own_cache(), class_here());
}

static const split_t *split(void)
{
    return &own_cache()->split[class_here()];
}

/* Fills slabs, and frees three blocks of four at random. */
static void leave_a_quarter(void)
{
    rng = (rng_t){SIZE};
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = take(SIZE);
    for (size_t i = COUNT; i-- > 1;) {
        size_t j = rng_below(&rng, i + 1);
        void *swapped = blocks[i];
        blocks[i] = blocks[j];
        blocks[j] = swapped;
    }
    for (size_t i = LIVE; i < COUNT; i++)
        arena_free(arena, blocks[i]);
    must(slab_is_sparse(arena, class_here()));
}

static void replace_one_of(size_t count)
{
    size_t i = rng_below(&rng, count);

    arena_free(arena, blocks[i]);
    blocks[i] = take(SIZE);
}

static void replace_until_split(size_t count)
{
    replace_one_of(count);
    for (size_t i = 0; i < 3 * TICK_ALLOCATIONS && !is_split(); i++)
        replace_one_of(count);
    must(is_split());
}

/* Given out again at once, what is freed would keep its slab in use, and each slab a quarter full for ever. */
static void slabs_become_empty_while_blocks_are_replaced(void **state)
{
    (void)state;
    leave_a_quarter();
    size_t slabs = slab_count(arena, class_here());
    for (size_t i = 0; i < 16 * LIVE && slab_count(arena, class_here()) > slabs / 2; i++)
        replace_one_of(LIVE);
    assert_true(slab_count(arena, class_here()) <= slabs / 2);
    for (size_t i = 0; i < 16 * LIVE && own_cache()->ticks >= split()->rests_until; i++)
        replace_one_of(LIVE);
    assert_false(is_split());
    assert_true(own_cache()->ticks < split()->rests_until);
    assert_int_equal(split()->rest, 0); /* it has not failed */
    assert_int_equal(arena_check(arena), 0);
}

/* A queue: what is freed is the oldest. Sizes drift, so that each class grows and shrinks. */
static void so_they_do_behind_a_queue(void **state)
{
    enum { BUDGET = 8 * 1024 * 1024, TURNS = 400000 };
    static struct {
        void *block;
        size_t bytes;
    } queue[65536];
    size_t first = 0, used = 0;

    (void)state;
    rng = (rng_t){1};
    for (size_t i = 0; i < TURNS; i++) {
        size_t mean = (size_t)200 << (i * 4 / TURNS);
        size_t bytes = mean / 2 + rng_below(&rng, mean);
        for (; used + bytes > BUDGET; first++) {
            used -= queue[first % 65536].bytes;
            arena_free(arena, queue[first % 65536].block);
        }
        queue[i % 65536].block = take(bytes);
        queue[i % 65536].bytes = bytes;
        used += bytes;
        must(i - first < 65536);
    }
    assert_true(stats_of(arena).peak_mapped_bytes <= 3 * BUDGET); /* 3.4 with one magazine a class */
}

/* A few that come and go where the others live on: it is as dear each time, and leads to nothing. */
static void what_does_not_help_is_tried_ever_more_seldom(void **state)
{
    size_t rest = 0;
    uint64_t began = 0;

    (void)state;
    leave_a_quarter();
    size_t slabs = slab_count(arena, class_here());
    for (int failures = 0; failures < 2; failures++) {
        for (size_t i = 0; i < 4 * (rest + 2) * TICK_ALLOCATIONS && !is_split(); i++)
            replace_one_of(FEW);
        assert_true(is_split());
        assert_true(own_cache()->ticks >= began + rest);
        for (size_t i = 0; i < 2 * SPLIT_TURNS * LIVE && split()->rest <= rest; i++)
            replace_one_of(FEW);
        assert_false(is_split());
        assert_true(split()->rest >= max_size(2 * rest, SPLIT_REST * SPLIT_TURNS * LIVE / TICK_ALLOCATIONS));
        assert_true(split()->rests_until >= own_cache()->ticks + split()->rest - 1);
        rest = split()->rest;
        began = own_cache()->ticks;
    }
    assert_true(slab_count(arena, class_here()) >= slabs - slabs / SPARSE_SHARE);
    for (size_t i = 0; i < 4 * (rest + 2) * TICK_ALLOCATIONS && split()->rest != 0; i++)
        replace_one_of(LIVE); /* now it does */
    assert_int_equal(split()->rest, 0);
    assert_true(slab_count(arena, class_here()) <= slabs / 2);
}

static void but_at_once_where_the_class_has_grown(void **state)
{
    (void)state;
    leave_a_quarter();
    replace_until_split(FEW);
    for (size_t i = 0; i < 2 * SPLIT_TURNS * LIVE && split()->rest == 0; i++)
        replace_one_of(FEW); /* a decay may end it and it begin again meanwhile */
    must(split()->rest > 4);
    leave_a_quarter();
    replace_until_split(FEW);
}

static void it_takes_slabs_with_much_room(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = take(SIZE);
    must(!slab_is_sparse(arena, class_here()));
    for (size_t i = 0; i < 3 * TICK_ALLOCATIONS; i++) {
        replace_one_of(COUNT);
        must(!is_split());
    }
}

/* Nor need what is only freed be kept from what is allocated. */
static void frees_alone_end_it(void **state)
{
    (void)state;
    leave_a_quarter();
    replace_until_split(LIVE);
    for (size_t i = 0; i < 3 * (size_t)magazine_capacity(class_here()); i++)
        arena_free(arena, blocks[i]);
    assert_false(is_split());
    next_is_what_top_points_to(own_cache());
    assert_int_equal(arena_check(arena), 0);
}

/* All that goes home takes the mutex. */
static void so_do_threads_that_sleep_for_the_mutex(void **state)
{
    (void)state;
    leave_a_quarter();
    replace_until_split(LIVE);
    atomic_store(&arena->lock.sleepers, SPLIT_SLEEPERS - 1); /* as if there were so many */
    for (size_t i = 0; i < 2 * MAGAZINE_SLOTS; i++)
        replace_one_of(LIVE);
    must(is_split());
    atomic_store(&arena->lock.sleepers, SPLIT_SLEEPERS);
    for (size_t i = 0; i < 2 * MAGAZINE_SLOTS; i++)
        replace_one_of(LIVE);
    atomic_store(&arena->lock.sleepers, 0);
    assert_false(is_split());
    assert_true(split()->rest >= SPLIT_PAUSE && split()->rests_until > own_cache()->ticks);
}

/* They fill the fullest slabs as it is. */
static void so_do_allocations_alone_for_a_while(void **state)
{
    (void)state;
    leave_a_quarter();
    replace_until_split(LIVE);
    uint64_t began = own_cache()->ticks;
    for (size_t i = 0; i < 100; i++)
        replace_one_of(LIVE);
    must(is_split());
    for (size_t i = 0; i < 3 * (size_t)magazine_capacity(class_here()); i++)
        take(SIZE);
    assert_false(is_split());
    must(slab_is_sparse(arena, class_here()));
    for (size_t i = 0; i < 2 * SPLIT_PAUSE * TICK_ALLOCATIONS && !is_split(); i++)
        replace_one_of(LIVE);
    assert_true(is_split());
    assert_in_range(own_cache()->ticks - began, SPLIT_PAUSE, SPLIT_PAUSE + 2);
}

/* A tick begins it with nothing to give out: what follows is the first refill, and tells nothing. */
static void not_before_the_first_refill(void **state)
{
    (void)state;
    leave_a_quarter();
    replace_until_split(LIVE);
    for (size_t i = 0; i < 10; i++)
        replace_one_of(LIVE);
    cache_t *cache = own_cache();
    split_end_all(cache);
    cache->fill[class_here()] = (uint8_t)magazine_capacity(class_here());
    cache->decayed_ms = os_now_ms();
    cache->until_tick = 1;
    take(SIZE);
    must(is_split() && *split()->out == NULL);
    take(SIZE);
    assert_true(is_split());
}

/* Nor by small refills, of which one may well see no free. */
static void nor_by_small_refills(void **state)
{
    (void)state;
    leave_a_quarter();
    replace_until_split(LIVE);
    own_cache()->fill[class_here()] = 1;
    for (size_t refills = 0; refills < 3; refills++) {
        while (*split()->out != NULL)
            take(SIZE);
        take(SIZE);
        assert_true(is_split());
    }
}

static size_t held_of(size_t size)
{
    unsigned class = sizeclass_of(size);

    return cache_held_bytes(own_cache(), class) - cache_held_bytes(own_cache(), class + 1);
}

static size_t held(void)
{
    return held_of(SIZE);
}

/* Frees and allocates until the two hold as many as that. */
static void hold(size_t out, size_t in)
{
    size_t next = 0, count;

    replace_until_split(LIVE);
    do {
        replace_one_of(LIVE);
        magazine_blocks(split()->out, class_here(), &count);
    } while (count < out);
    for (; count > out; count--)
        blocks[next++] = take(SIZE); /* and forgets one */
    for (next = LIVE; magazine_blocks(split()->in, class_here(), &count), count != in;)
        arena_free(arena, blocks[--next]);
    must(is_split());
}

/* Whoever stops it finds one magazine, and full ones behind it. */
static void blocks_of_both_are_those_of_one_afterwards(void **state)
{
    static const size_t cases[][2] = {{5, 7}, {0, 7}, {5, 1}, {60, 60}, {1, 63}, {0, 63}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leave_a_quarter();
        hold(cases[i][0], cases[i][1]);
        size_t bytes = (cases[i][0] + cases[i][1]) * class_bytes(SIZE);
        assert_int_equal(held(), bytes);
        split_end_all(own_cache());
        assert_false(is_split());
        assert_int_equal(held(), bytes);
        next_is_what_top_points_to(own_cache());
        assert_int_equal(own_cache()->full_count[class_here()],
                         cases[i][0] + cases[i][1] > magazine_capacity(class_here()));
        assert_int_equal(arena_check(arena), 0);
        arena_reset(arena);
    }
}

static void statistics_count_both(void **state)
{
    (void)state;
    leave_a_quarter();
    hold(5, 7);
    size_t bytes = cache_held_bytes(own_cache(), 1);
    assert_int_equal(stats_of(arena).cached_bytes, bytes);
    take(SIZE); /* the thread finds its cache again */
    assert_false(is_split());
}

/* As what is in any magazine: it would keep its slabs from being empty. */
static void what_stands_still_goes_home(void **state)
{
    (void)state;
    leave_a_quarter();
    hold(5, 7);
    must(usleep((PURGE_DELAY_MS + 10) * 1000) == 0);
    churn(TICK_ALLOCATIONS + 1, 1024);
    assert_false(is_split());
    assert_int_equal(held(), 0);
}

static void *free_few(void *unused)
{
    for (size_t i = 0; i < FEW; i++)
        arena_free(arena, blocks[i]);
    return unused;
}

/* Allocations that two magazines serve count as others do: what other classes hold goes home, in time. */
static void what_other_classes_hold_goes_home_meanwhile(void **state)
{
    enum { OTHER = 512, SOME = 10 };
    static void *others[SOME];
    size_t turns = 0, turns_split = 0;

    (void)state;
    arena_free(arena, take(OTHER)); /* so that these have a slab, or a tick would move them there */
    for (size_t i = 0; i < SOME; i++)
        others[i] = take(OTHER);
    for (size_t i = 0; i < SOME; i++)
        arena_free(arena, others[i]);
    leave_a_quarter();
    replace_until_split(FEW);
    must(held_of(OTHER) != 0);
    for (double end = now_seconds() + 3 * PURGE_DELAY_MS / 1e3; now_seconds() < end;) {
        run_thread(free_few, NULL); /* most are freed by others: so few come home that nothing ends it */
        for (size_t i = 0; i < FEW; i++) {
            blocks[i] = take(SIZE);
            if (i % 32 == 0)
                replace_one_of(i + 1);
        }
        must(usleep(1000) == 0);
        turns++;
        turns_split += is_split();
    }
    must(2 * turns_split > turns);
    assert_int_equal(held_of(OTHER), 0);
}

/* Nor does such a tick take it for a class that has no slabs yet. */
static void a_tick_takes_one_block_of_the_two(void **state)
{
    (void)state;
    leave_a_quarter();
    hold(5, 7);
    cache_t *cache = own_cache();
    uint64_t ticks = cache->ticks;
    cache->graduated = 0;
    cache->decayed_ms = os_now_ms();
    cache->until_tick = 1;
    take(SIZE);
    assert_int_equal(cache->ticks, ticks + 1);
    assert_int_equal(cache->until_tick, TICK_ALLOCATIONS);
    assert_true(is_split());
    assert_int_equal(held(), 11 * class_bytes(SIZE));
}

static void a_reset_forgets_both(void **state)
{
    (void)state;
    leave_a_quarter();
    hold(5, 7);
    arena_reset(arena);
    arena_free(arena, take(8));
    assert_false(is_split());
    assert_null(own_cache()->split);
    assert_int_equal(held(), 0);
    churn(2 * TICK_ALLOCATIONS, SIZE);
    assert_int_equal(arena_check(arena), 0);
    assert_int_equal(stats_of(arena).live_blocks, 0);
}

static void a_flush_and_a_trim_take_both_home(void **state)
{
    (void)state;
    leave_a_quarter();
    hold(5, 7);
    arena_thread_flush();
    assert_int_equal(stats_of(arena).cached_bytes, 0);
    replace_until_split(LIVE);
    arena_trim(arena, 0);
    assert_int_equal(stats_of(arena).cached_bytes, 0);
    assert_int_equal(arena_check(arena), 0);
}

/* arena_good_size tells what a request gets, before and after. */
static void a_medium_class_is_as_large_as_before(void **state)
{
    enum { MEDIUM = 1100, MANY = 16384 };

    (void)state;
    earn(MEDIUM);
    size_t good = arena_good_size(arena, MEDIUM);
    for (size_t i = 0; i < MANY; i++)
        blocks[i] = take(MEDIUM);
    for (size_t i = 0; i < MANY; i++)
        if (i % 4 != 0)
            arena_free(arena, blocks[i]);
    cache_t *cache = own_cache();
    for (size_t i = 0; i < 3 * TICK_ALLOCATIONS && !cache_is_split(cache, sizeclass_of(MEDIUM)); i++)
        arena_free(arena, take(MEDIUM));
    assert_true(cache_is_split(cache, sizeclass_of(MEDIUM)));
    cache->missed[sizeclass_of(MEDIUM)] = 0; /* as after a decay */
    assert_int_equal(arena_good_size(arena, MEDIUM), good);
    assert_int_equal(arena_usable_size(arena, take(MEDIUM)), good);
}

static jmp_buf back;
static const char *seen;

static void leave(void *context, const char *message, const void *block)
{
    (void)context;
    (void)block;
    seen = strstr(message, "double free");
    longjmp(back, 1);
}

static void a_block_freed_twice_in_a_row_is_found(void **state)
{
    (void)state;
    leave_a_quarter();
    replace_until_split(LIVE);
    arena_free(arena, blocks[0]);
    must(is_split());
    arena_set_error_handler(leave, NULL);
    if (setjmp(back) == 0) {
        arena_free(arena, blocks[0]);
        fail_msg("a double free returned");
    }
    arena_set_error_handler(NULL, NULL);
    assert_non_null(seen);
    assert_int_equal(arena_check(arena), 0);
}

static void *replace_in_thread(void *context)
{
    (void)context;
    replace_until_split(LIVE);
    return NULL;
}

/* What it leaves serves another thread, or goes home. */
static void a_thread_may_end_with_it(void **state)
{
    pthread_t thread;

    (void)state;
    leave_a_quarter();
    start_thread(&thread, replace_in_thread, NULL);
    must(pthread_join(thread, NULL) == 0);
    assert_int_equal(arena_check(arena), 0);
    assert_int_equal(stats_of(arena).live_blocks, LIVE);
    arena_trim(arena, 0);
    assert_int_equal(stats_of(arena).cached_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_arena(slabs_become_empty_while_blocks_are_replaced),
        in_arena(so_they_do_behind_a_queue),
        in_arena(what_does_not_help_is_tried_ever_more_seldom),
        in_arena(but_at_once_where_the_class_has_grown),
        in_arena(it_takes_slabs_with_much_room),
        in_arena(frees_alone_end_it),
        in_arena(so_do_threads_that_sleep_for_the_mutex),
        in_arena(so_do_allocations_alone_for_a_while),
        in_arena(not_before_the_first_refill),
        in_arena(nor_by_small_refills),
        in_arena(blocks_of_both_are_those_of_one_afterwards),
        in_arena(statistics_count_both),
        in_arena(what_stands_still_goes_home),
        in_arena(what_other_classes_hold_goes_home_meanwhile),
        in_arena(a_tick_takes_one_block_of_the_two),
        in_arena(a_reset_forgets_both),
        in_arena(a_flush_and_a_trim_take_both_home),
        in_arena(a_medium_class_is_as_large_as_before),
        in_arena(a_block_freed_twice_in_a_row_is_found),
        in_arena(a_thread_may_end_with_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
