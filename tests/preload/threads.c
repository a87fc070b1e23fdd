/*
 * threads.c: threads that end in every way while others allocate: by return, by pthread_exit, cancelled, with
 * the process; destructors of thread-specific data that allocate and free after the library's own ran.
 */
#define _GNU_SOURCE
#include "preload_support.h"

#include <limits.h>

static void *churn_for_ever(void *number)
{
    churn((uintptr_t)number, 3600.0, NULL);
    return NULL;
}

static void start_churning(size_t count)
{
    pthread_t thread;

    for (size_t i = 0; i < count; i++)
        start_thread(&thread, churn_for_ever, (void *)(uintptr_t)(i + 1));
}

static void allocate_at_exit(void)
{
    for (size_t i = 0; i < 1000; i++)
        free(malloc(i * 10));
}

static int exit_among_threads(void *unused)
{
    (void)unused;
    atexit(allocate_at_exit);
    start_churning(4);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    exit(0);
}

static void exit_while_others_allocate(void **state)
{
    (void)state;
    for (size_t round = 0; round < 12; round++)
        must_end_well(status_of_child(exit_among_threads, NULL, 60));
}

static void *exit_from_here(void *unused)
{
    (void)unused;
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    exit(0);
}

static int exit_from_a_thread(void *unused)
{
    pthread_t thread;

    (void)unused;
    atexit(allocate_at_exit);
    start_churning(3);
    start_thread(&thread, exit_from_here, NULL);
    churn_for_ever((void *)(uintptr_t)77);
    return 1;
}

static void exit_from_a_thread_while_main_allocates(void **state)
{
    (void)state;
    for (size_t round = 0; round < 6; round++)
        must_end_well(status_of_child(exit_from_a_thread, NULL, 60));
}

static void *outlive_main(void *unused)
{
    (void)unused;
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    churn(5, 0.05, NULL);
    return NULL;
}

static int main_thread_ends_first(void *unused)
{
    pthread_t thread;

    (void)unused;
    for (size_t i = 0; i < 3; i++)
        start_thread(&thread, outlive_main, NULL);
    pthread_exit(NULL);
}

static void threads_go_on_after_the_main_thread(void **state)
{
    (void)state;
    must_end_well(status_of_child(main_thread_ends_first, NULL, 60));
}

/* --- cancelling --- */

static void free_on_cancel(void *block)
{
    free(block);
    free(malloc(100));
}

static void *wait_to_be_cancelled(void *number)
{
    rng_t rng = {(uintptr_t)number};

    for (;;) {
        char *block = malloc(rng_size(&rng, 14) + 1);
        must(block != NULL);
        pthread_cleanup_push(free_on_cancel, block);
        block[0] = 1;
        free(strdup("between two points of cancellation"));
        pthread_testcancel();
        pthread_cleanup_pop(1);
    }
    return NULL;
}

static void cancelled_threads_leave_the_heap_whole(void **state)
{
    (void)state;
    for (size_t round = 0; round < 200; round++) {
        pthread_t threads[4];
        void *result;
        for (size_t i = 0; i < 4; i++)
            start_thread(&threads[i], wait_to_be_cancelled, (void *)(uintptr_t)(4 * round + i));
        if (round % 2 == 0)
            sched_yield();
        for (size_t i = 0; i < 4; i++)
            must(pthread_cancel(threads[i]) == 0);
        for (size_t i = 0; i < 4; i++) {
            must(pthread_join(threads[i], &result) == 0);
            must(result == PTHREAD_CANCELED);
        }
    }
    churn(6, 0.1, NULL);
}

/* malloc is no point of cancellation: a thread that is cancelled allocates on to its own next point. */
static void *allocate_while_cancelled(void *unused)
{
    void *blocks[100];

    (void)unused;
    pthread_cancel(pthread_self());
    for (size_t i = 0; i < 100; i++)
        must((blocks[i] = malloc(i * 3000)) != NULL);
    for (size_t i = 0; i < 100; i++)
        free(blocks[i]);
    malloc_trim(0);
    pthread_testcancel();
    must(false);
    return NULL;
}

static void malloc_is_no_point_of_cancellation(void **state)
{
    pthread_t thread;
    void *result;

    (void)state;
    for (size_t round = 0; round < 50; round++) {
        start_thread(&thread, allocate_while_cancelled, NULL);
        must(pthread_join(thread, &result) == 0);
        must(result == PTHREAD_CANCELED);
    }
}

/* --- thread-specific data --- */

enum { KEYS = 20 };

static pthread_key_t keys[KEYS];
static atomic_size_t destroyed;

/* Runs up to PTHREAD_DESTRUCTOR_ITERATIONS times a thread, so before and after any other key's. */
static void allocate_in_destructor(void *value)
{
    size_t *rounds = value;
    size_t left = *rounds - 1, index = rounds[1];

    free(value);
    for (size_t i = 0; i < 200; i++)
        free(malloc(i * 20));
    destroyed++;
    if (left == 0)
        return;
    size_t *next = malloc(2 * sizeof *next);
    must(next != NULL);
    next[0] = left;
    next[1] = index;
    must(pthread_setspecific(keys[index], next) == 0);
}

static void *live_with_keys(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < KEYS; i++) {
        size_t *value = malloc(2 * sizeof *value);
        must(value != NULL);
        value[0] = PTHREAD_DESTRUCTOR_ITERATIONS;
        value[1] = i;
        must(pthread_setspecific(keys[i], value) == 0);
    }
    churn(9, 0.0, NULL);
    return NULL;
}

static void destructors_of_threads_allocate_and_free(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++)
        must(pthread_key_create(&keys[i], allocate_in_destructor) == 0);
    size_t resident = 0;
    for (size_t round = 0; round < 100; round++) {
        run_threads(8, live_with_keys);
        if (round == 20)
            resident = statm_bytes(1);
    }
    assert_int_equal(destroyed, 100 * 8 * KEYS * PTHREAD_DESTRUCTOR_ITERATIONS);
    assert_true(statm_bytes(1) <= resident + 4 * MIB);
}

/* --- blocks that outlive their thread --- */

enum { BLOCKS = 2000 };

static void *allocate_and_end(void *unused)
{
    char **blocks = malloc(BLOCKS * sizeof *blocks);

    (void)unused;
    must(blocks != NULL);
    for (size_t i = 0; i < BLOCKS; i++) {
        must((blocks[i] = malloc(i)) != NULL);
        fill(blocks[i], i, i);
    }
    return blocks;
}

static void blocks_outlive_their_thread(void **state)
{
    (void)state;
    for (size_t round = 0; round < 20; round++) {
        pthread_t thread;
        void *result;
        start_thread(&thread, allocate_and_end, NULL);
        must(pthread_join(thread, &result) == 0);
        char **blocks = result;
        for (size_t i = 0; i < BLOCKS; i++) {
            must(holds(blocks[i], i, i));
            free(blocks[i]);
        }
        free(blocks);
    }
}

static void *free_one(void *block)
{
    free(block);
    free(malloc(64));
    return NULL;
}

static void threads_on_the_smallest_stack_allocate(void **state)
{
    pthread_attr_t smallest;

    (void)state;
    must(pthread_attr_init(&smallest) == 0);
    must(pthread_attr_setstacksize(&smallest, (size_t)PTHREAD_STACK_MIN) == 0);
    for (size_t i = 0; i < 500; i++) {
        pthread_t thread;
        must(pthread_create(&thread, &smallest, free_one, malloc(i * 100)) == 0);
        must(pthread_join(thread, NULL) == 0);
    }
    pthread_attr_destroy(&smallest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_while_others_allocate),
        cmocka_unit_test(exit_from_a_thread_while_main_allocates),
        cmocka_unit_test(threads_go_on_after_the_main_thread),
        cmocka_unit_test(cancelled_threads_leave_the_heap_whole),
        cmocka_unit_test(malloc_is_no_point_of_cancellation),
        cmocka_unit_test(destructors_of_threads_allocate_and_free),
        cmocka_unit_test(blocks_outlive_their_thread),
        cmocka_unit_test(threads_on_the_smallest_stack_allocate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
