/*
 * fork_then_threads.c: the child of a process under load becomes multithreaded itself, in the arenas that it
 * has inherited. Apart from fork_under_load.c because ThreadSanitizer cannot create threads there.
 */
#define _GNU_SOURCE
#include "fork_support.h"

static void *use_and_end(void *number)
{
    rng_t rng = {(uintptr_t)number};

    for (size_t round = 0; round < 3000; round++)
        load_put(rng_below(&rng, LOAD_ARENAS), rng_below(&rng, LOAD_SLOTS), &rng);
    arena_thread_flush();
    return NULL;
}

static int go_on_with_threads(void *again)
{
    use_every_arena(1);
    for (int round = 0; round < 2; round++)
        run_threads(3, use_and_end);
    if (again != NULL)
        must_end_well(status_of_child(go_on_with_threads, NULL, 30));
    use_every_arena(2);
    destroy_every_arena();
    return 0;
}

static void children_create_threads_in_inherited_arenas(void **state)
{
    double until = now_seconds() + test_seconds(2.0);

    (void)state;
    load_begins();
    do
        assert_int_equal(status_of_child(go_on_with_threads, state, 60), 0);
    while (now_seconds() < until);
    load_ends();
}

enum { FORKERS = 3 };

static pthread_barrier_t born;

static void *fork_from_here(void *number)
{
    pthread_barrier_wait(&born);
    for (int round = 0; round < 5; round++)
        must_end_well(status_of_child(go_on_with_threads, NULL, 60));
    pthread_barrier_wait(&born);
    return number;
}

static void several_threads_may_fork_at_once(void **state)
{
    (void)state;
    load_begins();
    must(pthread_barrier_init(&born, NULL, FORKERS) == 0);
    run_threads(FORKERS, fork_from_here);
    pthread_barrier_destroy(&born);
    load_ends();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(children_create_threads_in_inherited_arenas),
        cmocka_unit_test(several_threads_may_fork_at_once),
    };

    alarm((unsigned)(120 + 4 * test_seconds(2.0)));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
