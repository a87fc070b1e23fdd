/*
 * test_lock.c: the library's mutex, and the order of its ranks: a debug build ends the process at the first lock that
 * is taken out of order, and names both ranks; a release build has nothing of that.
 */
#define _GNU_SOURCE
#include "../../arena/lock.h"

#include "../support.h"

static lock_t lock_of(lock_rank_t rank)
{
    lock_t lock;

    lock_init(&lock, rank, false);
    return lock;
}

typedef struct {
    lock_rank_t first, second;
    bool release_first; /* before the second is taken */
    bool second_is_off;
    int output;
} order_t;

static int take_in_order(void *context)
{
    order_t *order = context;
    lock_t first = lock_of(order->first), second;

    lock_init(&second, order->second, order->second_is_off);
    must(dup2(order->output, STDERR_FILENO) == STDERR_FILENO);
    lock_acquire(&first);
    if (order->release_first)
        lock_release(&first);
    lock_acquire(&second);
    lock_release(&second);
    if (!order->release_first)
        lock_release(&first);
    return 0;
}

/* The child's wait status; what it wrote to stderr is in `text`. */
static int status_of(order_t order, char *text, size_t room)
{
    int ends[2];

    must(pipe(ends) == 0);
    order.output = ends[1];
    int status = status_of_child(take_in_order, &order, 10);
    close(ends[1]);
    ssize_t length = read(ends[0], text, room - 1);
    must(length >= 0);
    text[length] = 0;
    close(ends[0]);
    return status;
}

static const char *const names[] = {"fork",  "registry", "cache", "grow", "arena",
                                    "depot", "log",      "range", "os"};

static void every_inversion_of_two_ranks_ends_the_process_and_names_both(void **state)
{
    (void)state;
    for (lock_rank_t held = 0; held < RANK_COUNT; held++) {
        for (lock_rank_t wanted = 0; wanted < held; wanted++) {
            char text[256], expected[256];
            int status = status_of((order_t){.first = held, .second = wanted}, text, sizeof text);
            snprintf(expected, sizeof expected, "libarena: lock order: %s taken under %s\n", names[wanted],
                     names[held]);
            if (CHECK_DEBUG) {
                assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
                assert_string_equal(text, expected);
            } else {
                assert_int_equal(status, 0);
                assert_string_equal(text, "");
            }
        }
    }
}

static void ranks_in_their_order_are_taken_quietly(void **state)
{
    char text[256];

    (void)state;
    for (lock_rank_t held = 0; held < RANK_COUNT; held++) {
        for (lock_rank_t wanted = held; wanted < RANK_COUNT; wanted++) {
            assert_int_equal(status_of((order_t){.first = held, .second = wanted}, text, sizeof text), 0);
            assert_string_equal(text, "");
        }
    }
}

static void a_lock_that_was_released_orders_nothing(void **state)
{
    char text[256];
    order_t order = {.first = RANK_OS, .second = RANK_REGISTRY, .release_first = true};

    (void)state;
    assert_int_equal(status_of(order, text, sizeof text), 0);
}

static void a_lock_that_is_off_orders_nothing(void **state)
{
    char text[256];
    order_t order = {.first = RANK_OS, .second = RANK_REGISTRY, .second_is_off = true};

    (void)state;
    assert_int_equal(status_of(order, text, sizeof text), 0);
}

/* What a release build does not check it does not store either. */
static void a_release_build_has_no_room_for_owners(void **state)
{
    size_t bare = sizeof(struct {
        lock_rank_t rank;
        bool off;
        uint64_t waits, waited_ns;
        pthread_mutex_t mutex;
    });

    (void)state;
    assert_int_equal(sizeof(lock_t) > bare, CHECK_DEBUG);
}

/* --- waiting --- */

static lock_t wanted;
static _Atomic unsigned tries;

int __real_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    tries += mutex == &wanted.mutex;
    return __real_pthread_mutex_trylock(mutex);
}

static void *want(void *unused)
{
    lock_acquire(&wanted);
    lock_release(&wanted);
    return unused;
}

/* How often a thread looks at a lock that is taken before it sleeps, as the one behind `sleepers` others. */
static unsigned tries_behind(uint16_t sleepers)
{
    pthread_t thread;

    wanted = lock_of(RANK_OS);
    lock_acquire(&wanted);
    wanted.sleepers = sleepers;
    tries = 0;
    must(pthread_create(&thread, NULL, want, NULL) == 0);
    while (wanted.sleepers == sleepers)
        must(usleep(100) == 0);
    unsigned before_sleep = tries;
    lock_release(&wanted);
    must(pthread_join(thread, NULL) == 0);
    assert_int_equal(wanted.sleepers, sleepers);
    return before_sleep;
}

static void a_thread_spins_before_it_sleeps_but_not_where_many_sleep(void **state)
{
    (void)state;
    assert_int_equal(tries_behind(0), 1 + LOCK_SPINS);
    assert_int_equal(tries_behind(LOCK_SLEEPERS - 1), 1 + LOCK_SPINS);
    assert_int_equal(tries_behind(LOCK_SLEEPERS), 1);
}

/* --- holding --- */

static lock_t shared;
static size_t counted;

static void *count(void *unused)
{
    for (int i = 0; i < 20000 / SLOWNESS; i++) {
        lock_acquire(&shared);
        counted = counted + 1; /* a race would lose some */
        lock_release(&shared);
    }
    return unused;
}

static void *count_one_of_many(void *unused)
{
    for (int i = 0; i < 5000 / SLOWNESS; i++) {
        lock_acquire_one_of_many(&shared);
        counted = counted + 1;
        lock_release(&shared);
    }
    return unused;
}

static void it_excludes_other_threads(void **state)
{
    (void)state;
    shared = lock_of(RANK_ARENA);
    counted = 0;
    run_threads(3, count);
    assert_int_equal(counted, 3 * (20000 / SLOWNESS));
    run_threads(3, count_one_of_many);
    assert_int_equal(counted, 3 * (20000 / SLOWNESS) + 3 * (5000 / SLOWNESS));
}

static void *wait_for_it(void *unused)
{
    lock_acquire(&shared);
    lock_release(&shared);
    return unused;
}

static void a_wait_is_counted(void **state)
{
    pthread_t thread;

    (void)state;
    shared = lock_of(RANK_ARENA);
    lock_acquire(&shared);
    lock_release(&shared);
    assert_int_equal(shared.waits, 0);
    lock_acquire(&shared);
    must(pthread_create(&thread, NULL, wait_for_it, NULL) == 0);
    usleep(50000);
    lock_release(&shared);
    must(pthread_join(thread, NULL) == 0);
    assert_int_equal(shared.waits, 1);
    assert_true(shared.waited_ns > 0 && shared.waited_ns <= WAIT_MOST_NS);
}

static void it_is_known_who_holds_it(void **state)
{
    (void)state;
    shared = lock_of(RANK_ARENA);
    assert_int_equal(lock_is_held(&shared), !CHECK_DEBUG); /* "false only if certainly not" */
    lock_acquire(&shared);
    assert_true(lock_is_held(&shared));
    lock_release(&shared);
    assert_int_equal(lock_is_held(&shared), !CHECK_DEBUG);
}

static void *ask_whether_held(void *answer)
{
    *(bool *)answer = lock_is_held(&shared);
    return NULL;
}

static void another_threads_lock_is_not_ones_own(void **state)
{
    bool answer = true;

    (void)state;
    shared = lock_of(RANK_ARENA);
    lock_acquire(&shared);
    run_thread(ask_whether_held, &answer);
    lock_release(&shared);
    assert_int_equal(answer, !CHECK_DEBUG);
}

static void a_lock_that_is_off_excludes_nobody(void **state)
{
    lock_t lock;

    (void)state;
    lock_init(&lock, RANK_ARENA, true);
    lock_acquire(&lock);
    lock_acquire(&lock); /* a mutex would wait for ever */
    assert_true(lock_is_held(&lock));
    lock_release(&lock);
    lock_release(&lock);
}

/* --- fork --- */

static void the_thread_that_forks_passes_through(void **state)
{
    (void)state;
    shared = lock_of(RANK_ARENA);
    assert_true(lock_try_acquire_for_fork(&shared));
    lock_fork_passes = true;
    lock_acquire(&shared);
    assert_true(lock_is_held(&shared));
    lock_release(&shared);
    lock_fork_passes = false;
    assert_int_not_equal(pthread_mutex_trylock(&shared.mutex), 0); /* still the handler's */
    lock_release_for_fork(&shared);
    assert_int_equal(pthread_mutex_trylock(&shared.mutex), 0);
    pthread_mutex_unlock(&shared.mutex);
}

static int use_after_fork(void *unused)
{
    (void)unused;
    lock_reinit_in_child(&shared);
    lock_acquire(&shared);
    lock_release(&shared);
    return 0;
}

static void a_child_makes_it_anew(void **state)
{
    (void)state;
    shared = lock_of(RANK_ARENA);
    assert_true(lock_try_acquire_for_fork(&shared));
    assert_int_equal(status_of_child(use_after_fork, NULL, 10), 0);
    lock_release_for_fork(&shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_inversion_of_two_ranks_ends_the_process_and_names_both),
        cmocka_unit_test(ranks_in_their_order_are_taken_quietly),
        cmocka_unit_test(a_lock_that_was_released_orders_nothing),
        cmocka_unit_test(a_lock_that_is_off_orders_nothing),
        cmocka_unit_test(a_release_build_has_no_room_for_owners),
        cmocka_unit_test(a_thread_spins_before_it_sleeps_but_not_where_many_sleep),
        cmocka_unit_test(it_excludes_other_threads),
        cmocka_unit_test(a_wait_is_counted),
        cmocka_unit_test(it_is_known_who_holds_it),
        cmocka_unit_test(another_threads_lock_is_not_ones_own),
        cmocka_unit_test(a_lock_that_is_off_excludes_nobody),
        cmocka_unit_test(the_thread_that_forks_passes_through),
        cmocka_unit_test(a_child_makes_it_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
