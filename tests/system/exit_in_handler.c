/*
 * exit_in_handler.c: exit in a signal's handler, which programs do though POSIX does not allow it, comes to an end
 * wherever in this library the signal found its thread.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <sys/time.h>

enum { CHILDREN = 200 };

static void end(int signal_number)
{
    (void)signal_number;
    exit(0);
}

/* Much of the time under the registry's lock. */
static int create_and_destroy(void *microseconds)
{
    const struct itimerval soon = {.it_value.tv_usec = (suseconds_t)(uintptr_t)microseconds};

    alarm(0); /* the timer's signal is the same */
    must(signal(SIGALRM, end) != SIG_ERR && setitimer(ITIMER_REAL, &soon, NULL) == 0);
    for (double until = now_seconds() + 20; now_seconds() < until;) {
        arena_t *arena = arena_create(NULL);
        arena_free(arena, arena_alloc(arena, 100));
        arena_destroy(arena);
    }
    return 1;
}

static void it_ends(void **state)
{
    (void)state;
#if defined(CHECK_LEVEL) && CHECK_LEVEL >= 1
    skip(); /* the order of locks is checked, and the handler's thread may hold one that comes later */
#endif
    for (uintptr_t i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        must(child >= 0);
        if (child == 0)
            _exit(create_and_destroy((void *)(500 + 13 * i)));
        int status = -1;
        pid_t ended = 0;
        for (int waited = 0; ended == 0 && waited < 2000; waited++) {
            ended = waitpid(child, &status, WNOHANG);
            usleep(ended == 0 ? 1000 : 0);
        }
        if (ended == 0) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            fail_msg("child %d hangs", (int)i);
        }
        assert_int_equal(status, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_ends)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
