/*
 * signals.c: signals at a high rate at any point of an allocation. The handlers do not allocate; they save
 * errno, as they must, and touch as much stack as a real one would.
 */
#define _GNU_SOURCE
#include "preload_support.h"

#include <sys/time.h>

static atomic_size_t caught;
static atomic_bool stop;

static void count(int number)
{
    int saved = errno;
    volatile char stack[2000];

    for (size_t i = 0; i < sizeof stack; i += 64)
        stack[i] = (char)number;
    errno = EINTR;
    caught++;
    errno = saved;
}

static void catch_signal(int number, int flags)
{
    struct sigaction action = {.sa_handler = count, .sa_flags = flags};

    must(sigaction(number, &action, NULL) == 0);
}

static void set_timer(__itimer_which_t which, int microseconds)
{
    struct timeval every = {.tv_usec = microseconds};

    must(setitimer(which, &(struct itimerval){every, every}, NULL) == 0);
}

/* errno is the thread's own, and what free promises holds whatever comes between. */
static void *churn_and_watch_errno(void *number)
{
    double end = now_seconds() + 0.7;
    rng_t rng = {(uintptr_t)number};

    churn((uintptr_t)number + 1, 0.7, NULL);
    while (now_seconds() < end + 0.3) {
        void *block = malloc(rng_size(&rng, 15));
        errno = 4321;
        free(block);
        must(errno == 4321);
    }
    return NULL;
}

static void timers_interrupt_four_threads(void **state)
{
    (void)state;
    catch_signal(SIGALRM, SA_RESTART);
    catch_signal(SIGPROF, SA_RESTART);
    set_timer(ITIMER_REAL, 50);
    set_timer(ITIMER_PROF, 1000);
    run_threads(4, churn_and_watch_errno);
    set_timer(ITIMER_REAL, 0);
    set_timer(ITIMER_PROF, 0);
    assert_true(caught > 500);
}

static void *churn_until_stop(void *number)
{
    churn((uintptr_t)number + 1, 60.0, &stop);
    return NULL;
}

static void threads_are_interrupted_one_by_one(void **state)
{
    pthread_t threads[3];
    double end = now_seconds() + 1.0;
    rng_t rng = {1};

    (void)state;
    catch_signal(SIGUSR1, 0);
    for (size_t i = 0; i < 3; i++)
        start_thread(&threads[i], churn_until_stop, (void *)(uintptr_t)i);
    while (now_seconds() < end) {
        must(pthread_kill(threads[rng_below(&rng, 3)], SIGUSR1) == 0);
        free(malloc(rng_size(&rng, 12)));
    }
    stop = true;
    for (size_t i = 0; i < 3; i++)
        must(pthread_join(threads[i], NULL) == 0);
}

/* A fork between two instructions of an allocation, in a program with no second thread to wait for. */
static int be_interrupted_and_fork(void *unused)
{
    (void)unused;
    catch_signal(SIGALRM, SA_RESTART);
    set_timer(ITIMER_REAL, 200);
    for (size_t round = 0; round < 100; round++) {
        pid_t child = fork();
        must(child >= 0);
        if (child == 0) {
            churn(round, 0.001, NULL);
            _exit(0);
        }
        int status;
        churn(round, 0.001, NULL);
        while (waitpid(child, &status, 0) != child)
            must(errno == EINTR);
        must(status == 0);
    }
    set_timer(ITIMER_REAL, 0);
    return 0;
}

static void forks_are_interrupted(void **state)
{
    (void)state;
    must_end_well(status_of_child(be_interrupted_and_fork, NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_interrupt_four_threads),
        cmocka_unit_test(threads_are_interrupted_one_by_one),
        cmocka_unit_test(forks_are_interrupted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
