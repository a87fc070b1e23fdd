/*
 * fork_handlers.c: another library registers handlers for fork before there is an arena, and lets a thread of its own
 * work in these: before the fork and after it, in the parent. Ours run inside of them, with no lock held outside.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <pthread.h>

static arena_t *arena;
static unsigned before, after, after_in_child;

static void *use_arena(void *unused)
{
    for (int i = 0; i < 100; i++)
        arena_free(arena, arena_alloc(arena, 100));
    return unused;
}

static void wait_for_a_thread(void)
{
    if (arena != NULL)
        run_thread(use_arena, NULL);
}

static void handle_before(void)
{
    before++;
    wait_for_a_thread();
}

static void handle_after(void)
{
    after++;
    wait_for_a_thread();
}

static void handle_in_child(void)
{
    after_in_child++;
    use_arena(NULL);
}

static int answer_in_child(void *unused)
{
    (void)unused;
    use_arena(NULL);
    return after_in_child == 1 ? 0 : 1;
}

static void handlers_of_others_find_no_lock_held(unsigned flags)
{
    before = after = after_in_child = 0;
    arena = arena_create(&(arena_options_t){.flags = flags});
    assert_non_null(arena);
    assert_int_equal(status_of_child(answer_in_child, NULL, 30), 0);
    assert_int_equal(before, 1);
    assert_int_equal(after, 1);
    arena_destroy(arena);
    arena = NULL;
}

static void with_caches(void **state)
{
    (void)state;
    handlers_of_others_find_no_lock_held(0);
}

static void without_caches(void **state)
{
    (void)state;
    handlers_of_others_find_no_lock_held(ARENA_NO_CACHE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_caches),
        cmocka_unit_test(without_caches),
    };

    alarm(60); /* an end to every deadlock */
    must(pthread_atfork(handle_before, handle_after, handle_in_child) == 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
