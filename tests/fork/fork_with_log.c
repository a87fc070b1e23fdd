/*
 * fork_with_log.c: a process whose threads write a log forks again and again. No line is lost, none is there twice,
 * and those of each child are its own.
 */
#define _GNU_SOURCE
#include "../log_support.h"

#include <stdatomic.h>

enum { THREADS = 3, CHILDREN = 12, OWN = 300 };

static arena_t *arena, *other;
static _Atomic bool stop;
static _Atomic size_t done[THREADS], started;

static void *allocate_and_free(void *number)
{
    size_t count = 0;

    started++;
    while (!atomic_load_explicit(&stop, memory_order_relaxed) && count < 40000 / SLOWNESS) {
        void *block = arena_alloc(arena, 1 + count % 900);
        must(block != NULL);
        arena_free(arena, block);
        done[(uintptr_t)number] = ++count;
    }
    return NULL;
}

static void in_a_child(void)
{
    child_begins(60);
    for (size_t i = 0; i < OWN; i++)
        arena_free(arena, arena_alloc(arena, i));
    must(arena_alloc_named(other, 10, "in a child") != NULL);
    exit(0);
}

/* Before the fork something is in buffers, of this thread and of the others. */
static void parent_and_children_write_each_line_once(void **state)
{
    pthread_t threads[THREADS];
    pid_t children[CHILDREN];
    size_t own = 0, all = 0;

    (void)state;
    must((arena = arena_create(NULL)) != NULL && (other = arena_create(NULL)) != NULL);
    must(arena_log_open(arena, fresh_log()) && arena_log_open(other, log_path)); /* two may share a file */
    for (size_t i = 0; i < THREADS; i++)
        start_thread(&threads[i], allocate_and_free, (void *)i);
    while (started < THREADS)
        usleep(100);
    for (size_t i = 0; i < CHILDREN; i++) {
        for (size_t k = 0; k < 50 + i; k++, own++)
            arena_free(arena, arena_alloc(arena, 10));
        fflush(NULL);
        children[i] = fork();
        must(children[i] >= 0);
        if (children[i] == 0)
            in_a_child();
    }
    for (size_t i = 0; i < CHILDREN; i++) {
        int status;
        must(waitpid(children[i], &status, 0) == children[i]);
        must_end_well(status);
    }
    stop = true;
    for (size_t i = 0; i < THREADS; i++) {
        must(pthread_join(threads[i], NULL) == 0);
        all += done[i];
    }
    must(arena_log_close(arena) && arena_log_close(other));
    entries_t log = read_log(log_path); /* and no time is there twice */
    size_t of_children = 0;
    for (size_t i = 0; i < log.count; i++)
        of_children += strcmp(log.entries[i].name, "in a child") == 0;
    assert_int_equal(of_children, CHILDREN);
    replayed_t parents = replay(&log, (unsigned long)getpid());
    assert_int_equal(parents.allocations, all + own);
    assert_int_equal(parents.frees, all + own);
    for (size_t i = 0; i < CHILDREN; i++) {
        size_t allocations = 0;
        for (size_t k = 0; k < log.count; k++)
            allocations += log.entries[k].process == (unsigned long)children[i] &&
                           log.entries[k].thread == (unsigned long)children[i] &&
                           strcmp(log.entries[k].operation, "alloc") == 0;
        assert_int_equal(allocations, OWN + 1);
    }
    end_log(&log);
    arena_destroy(arena);
    arena_destroy(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parent_and_children_write_each_line_once),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
