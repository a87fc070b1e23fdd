/*
 * fork_under_load.c: a process whose threads are inside the allocator forks again and again; each child, and
 * a child of the child, goes on with every arena that it has inherited, then destroys them all. Whatever
 * hangs is ended by SIGALRM and so fails.
 */
#define _GNU_SOURCE
#include "fork_support.h"

static int go_on_and_fork_again(void *context)
{
    bool again = *(bool *)context;

    use_every_arena((uint64_t)getpid());
    if (again) {
        must_end_well(status_of_child(go_on_and_fork_again, &(bool){false}, 20));
        use_every_arena((uint64_t)getpid());
    }
    destroy_every_arena();
    return 0;
}

static void children_and_their_children_use_every_arena(void **state)
{
    double until = now_seconds() + test_seconds(2.0);
    size_t forks = 0;

    (void)state;
    load_begins();
    while (forks < 4 || now_seconds() < until) {
        assert_int_equal(status_of_child(go_on_and_fork_again, &(bool){forks % 4 == 0}, 20), 0);
        forks++;
    }
    load_ends();
    printf("%zu forks\n", forks);
}

static int destroy_at_once(void *unused)
{
    (void)unused;
    destroy_every_arena();
    return 0;
}

static int walk_all(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < LOAD_ARENAS; i++)
        must(arena_check(load_arenas[i]) == 0);
    arena_trim(NULL, 0);
    for (size_t i = 0; i < LOAD_ARENAS; i++) {
        must(arena_check(load_arenas[i]) == 0);
        arena_reset(load_arenas[i]);
        must(arena_alloc(load_arenas[i], 100) != NULL);
        must(stats_of(load_arenas[i]).live_blocks == 1);
    }
    return 0;
}

static void a_child_may_destroy_check_trim_or_reset_first_of_all(void **state)
{
    double until = now_seconds() + test_seconds(1.0);

    (void)state;
    load_begins();
    do {
        assert_int_equal(status_of_child(destroy_at_once, NULL, 20), 0);
        assert_int_equal(status_of_child(walk_all, NULL, 20), 0);
    } while (now_seconds() < until);
    load_ends();
}

/* --- the application's own handlers, registered before and after the library's --- */

static _Atomic bool handlers_armed;
static _Atomic size_t handler_calls;

static void allocate_in_handler(void)
{
    void *blocks[LOAD_ARENAS][8];

    if (!handlers_armed)
        return;
    handler_calls++;
    for (size_t i = 0; i < LOAD_ARENAS; i++)
        for (size_t k = 0; k < 8; k++) {
            blocks[i][k] = arena_alloc(load_arenas[i], (size_t)16 << (2 * k));
            must(blocks[i][k] != NULL || i == 3);
        }
    for (size_t i = 0; i < LOAD_ARENAS; i++)
        arena_free_batch(load_arenas[i], blocks[i], 8);
}

/* Before any other constructor, and so before the library can have registered its own. */
__attribute__((constructor(101))) static void register_early(void)
{
    pthread_atfork(allocate_in_handler, allocate_in_handler, allocate_in_handler);
}

static void handlers_of_the_application_may_allocate(void **state)
{
    static bool registered;
    double until = now_seconds() + test_seconds(1.0);

    (void)state;
    load_begins();
    if (!registered)
        must(pthread_atfork(allocate_in_handler, allocate_in_handler, allocate_in_handler) == 0);
    registered = true;
    handlers_armed = true;
    do {
        size_t before = handler_calls;
        assert_int_equal(status_of_child(go_on_and_fork_again, &(bool){true}, 20), 0);
        assert_int_equal(handler_calls, before + 4);
    } while (now_seconds() < until);
    handlers_armed = false;
    load_ends();
}

static void a_fork_before_the_first_arena_is_harmless(void **state)
{
    (void)state;
    /* Runs first: nothing of the library has been used yet. */
    for (size_t i = 0; i < LOAD_ARENAS; i++)
        load_arenas[i] = NULL;
    assert_int_equal(status_of_child(destroy_at_once, NULL, 20), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fork_before_the_first_arena_is_harmless),
        cmocka_unit_test(children_and_their_children_use_every_arena),
        cmocka_unit_test(a_child_may_destroy_check_trim_or_reset_first_of_all),
        cmocka_unit_test(handlers_of_the_application_may_allocate),
    };

    alarm((unsigned)(60 + 4 * test_seconds(4.0)));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
