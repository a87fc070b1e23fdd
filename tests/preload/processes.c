/*
 * processes.c: fork, vfork, posix_spawn, system and popen in a program whose threads allocate all the time;
 * the child allocates, frees what the parent made, starts threads, forks again and executes programs.
 */
#define _GNU_SOURCE
#include "preload_support.h"

#include <fcntl.h>
#include <spawn.h>

extern char **environ;

static atomic_bool stop;
static pthread_t churning[4];
static char *from_parent[200];

static void *churn_until_stop(void *number)
{
    churn((uintptr_t)number, 3600.0, &stop);
    return NULL;
}

static int start(void **state)
{
    (void)state;
    stop = false;
    for (size_t i = 0; i < 4; i++)
        start_thread(&churning[i], churn_until_stop, (void *)(uintptr_t)(i + 1));
    return 0;
}

static int finish(void **state)
{
    (void)state;
    stop = true;
    for (size_t i = 0; i < 4; i++)
        must(pthread_join(churning[i], NULL) == 0);
    return 0;
}

static void make_blocks(void)
{
    for (size_t i = 0; i < 200; i++) {
        must((from_parent[i] = malloc(i * 50)) != NULL);
        fill(from_parent[i], i * 50, i);
    }
}

static void free_blocks(void)
{
    for (size_t i = 0; i < 200; i++) {
        must(holds(from_parent[i], i * 50, i));
        free(from_parent[i]);
    }
}

static void *churn_shortly(void *number)
{
    churn((uintptr_t)number + 50, 0.002, NULL);
    return NULL;
}

static int live_in_the_child(void *context)
{
    const size_t *round = context;

    free_blocks();
    churn(*round, 0.005, NULL);
    if (*round % 4 == 0)
        run_threads(3, churn_shortly);
    if (*round % 8 == 0) {
        size_t next = 1;
        make_blocks();
        must_end_well(status_of_child(live_in_the_child, &next, 60));
    }
    malloc_trim(0);
    return 0;
}

static void forked_children_allocate(void **state)
{
    (void)state;
    for (size_t round = 0; round < 60; round++) {
        make_blocks();
        must_end_well(status_of_child(live_in_the_child, &round, 60));
        free_blocks();
    }
}

static void *fork_in_a_thread(void *number)
{
    for (size_t round = 0; round < 10; round++) {
        pid_t child = fork();
        must(child >= 0);
        if (child == 0) {
            child_begins(60);
            churn((uintptr_t)number, 0.002, NULL);
            _exit(0);
        }
        int status;
        must(waitpid(child, &status, 0) == child);
        must_end_well(status);
    }
    return NULL;
}

static void several_threads_fork_at_once(void **state)
{
    (void)state;
    run_threads(4, fork_in_a_thread);
}

static char *from_prepare;

static void prepare(void)
{
    must((from_prepare = malloc(1000)) != NULL);
    free(malloc(100000));
}

static void release(void)
{
    free(from_prepare);
    free(malloc(5000));
}

static void handlers_of_fork_allocate(void **state)
{
    (void)state;
    must(pthread_atfork(prepare, release, release) == 0);
    for (size_t round = 1; round < 30; round += 2) {
        make_blocks();
        must_end_well(status_of_child(live_in_the_child, &round, 60));
        free_blocks();
    }
}

/* --- other programs --- */

static int run_a_program(void *unused)
{
    char *arguments[] = {strdup("sh"), strdup("-c"), strdup("x=$(ls / | sort | wc -l); exit 7"), NULL};

    (void)unused;
    execv("/bin/sh", arguments);
    return 1;
}

static void forked_children_execute(void **state)
{
    (void)state;
    for (size_t round = 0; round < 10; round++)
        assert_int_equal(status_of_child(run_a_program, NULL, 60), 7 << 8);
}

static int status_of_vforked(const char *command)
{
    int status;
    pid_t child = vfork();

    if (child == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(1);
    }
    must(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}

static void vforked_children_execute(void **state)
{
    (void)state;
    for (size_t round = 0; round < 30; round++) {
        char *command = strdup("exit 7");
        assert_int_equal(status_of_vforked(command), 7 << 8);
        free(command);
    }
}

static void programs_are_spawned(void **state)
{
    (void)state;
    for (size_t round = 0; round < 30; round++) {
        char *arguments[] = {"sh", "-c", "exit 7", NULL};
        posix_spawn_file_actions_t actions;
        pid_t child;
        int status;
        must(posix_spawn_file_actions_init(&actions) == 0);
        must(posix_spawn_file_actions_addopen(&actions, 5, "/dev/null", O_RDONLY, 0) == 0);
        must(posix_spawnp(&child, "sh", &actions, NULL, arguments, environ) == 0);
        posix_spawn_file_actions_destroy(&actions);
        must(waitpid(child, &status, 0) == child);
        assert_int_equal(status, 7 << 8);
    }
}

static void system_and_popen_work(void **state)
{
    (void)state;
    for (size_t round = 0; round < 10; round++) {
        char *line = NULL;
        size_t bytes = 0;
        assert_int_equal(system("exit 7"), 7 << 8);
        FILE *pipe = popen("printf '%0100000d\\n' 3", "r");
        must(pipe != NULL);
        assert_int_equal(getline(&line, &bytes, pipe), 100001);
        free(line);
        assert_int_equal(pclose(pipe), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(forked_children_allocate, start, finish),
        cmocka_unit_test_setup_teardown(several_threads_fork_at_once, start, finish),
        cmocka_unit_test_setup_teardown(forked_children_execute, start, finish),
        cmocka_unit_test_setup_teardown(vforked_children_execute, start, finish),
        cmocka_unit_test_setup_teardown(programs_are_spawned, start, finish),
        cmocka_unit_test_setup_teardown(system_and_popen_work, start, finish),
        cmocka_unit_test_setup_teardown(handlers_of_fork_allocate, start, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
