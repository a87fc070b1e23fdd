/*
 * opening_log.c: no memory for a log, or for its buffers. arena_log_open answers ENOMEM and leaves everything as it
 * was; a log that was opened has every line, though there is no memory to buffer them. The Nth mapping fails, for
 * every N that opening and writing ask for, once with the next one, which is a second attempt, and once with all that
 * follow.
 */
#define _GNU_SOURCE
#include "../log_support.h"
#include "../oom_support.h"

typedef struct {
    size_t nth;
    bool following; /* and all later ones */
} plan_t;

static plan_t plan;
static _Atomic bool armed;
static _Atomic size_t calls, faults;

static bool fails(unsigned kind)
{
    size_t call = armed && kind == TAKE ? ++calls : 0;
    bool fault = call >= plan.nth && (call <= plan.nth + 1 || plan.following);

    faults += fault;
    return fault;
}

enum { OTHERS = 200, THREADS = 63, BLOCKS = 100 };

static arena_t *arena;
static _Atomic size_t allocations, frees;
static size_t refused; /* times that a log was not opened */

/* There is room for all blocks already, but a thread that fails all the same is no fault here. */
static void *allocate_and_free(void *number)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        char *block = arena_alloc(arena, 1 + i % 90);
        if (block == NULL)
            continue;
        allocations++;
        fill(block, 1 + i % 90, i);
        if (i % 2 == (uintptr_t)number % 2) {
            arena_free(arena, block);
            frees++;
        }
    }
    return NULL;
}

static int lowest_free_descriptor(void)
{
    int fd = dup(STDERR_FILENO);

    must(fd >= 0);
    close(fd);
    return fd;
}

/* Until it succeeds; each failure leaves the arena as it was. */
static void open_at_last(arena_t *one, const char *path)
{
    int descriptor = lowest_free_descriptor();

    while (!arena_log_open(one, path)) {
        must(errno == ENOMEM && faults > 0);
        must(lowest_free_descriptor() == descriptor);
        must(!arena_log_close(one) && errno == EINVAL);
        must(!ARENA_TCACHE || stats_of(one).cached_blocks > 0);
        arena_free(one, arena_alloc(one, 100)); /* not in the log */
        refused++;
        armed = false; /* there is memory again */
    }
    armed = true;
}

/* What many arenas need for their logs is more than what lies ready. An answer below 256: 0 when nothing failed any
 * more, 2 when opening did. */
static int open_and_write(void *what)
{
    arena_t *others[OTHERS];

    plan = *(plan_t *)what;
    for (size_t i = 0; i < OTHERS; i++) {
        must((others[i] = arena_create(NULL)) != NULL);
        arena_free(others[i], arena_alloc(others[i], 100)); /* it is cached */
    }
    must((arena = arena_create(NULL)) != NULL);
    arena_free(arena, arena_alloc(arena, 100));
    armed = true;
    for (size_t i = 0; i < OTHERS; i++)
        open_at_last(others[i], "/dev/null");
    open_at_last(arena, log_path);
    run_threads(THREADS, allocate_and_free);
    allocate_and_free(NULL);
    armed = false;
    must(arena_log_close(arena));
    must(arena_check(arena) == 0);
    entries_t log = read_log(log_path); /* each line whole */
    replayed_t done = replay(&log, 0);
    must(log.heads == 1 && log.lost == 0);
    must(done.allocations == allocations && done.frees == frees);
    must(allocations >= BLOCKS);
    for (size_t i = 0; i < OTHERS; i++)
        arena_destroy(others[i]);
    arena_destroy(arena);
    return refused != 0 ? 2 : faults != 0;
}

static void opening_fails_cleanly(bool following)
{
    plan_t one = {0, following};
    size_t at_opening = 0;
    int status;

    do {
        one.nth++;
        fresh_log();
        status = status_of_child(open_and_write, &one, 60);
        unlink(log_path);
        at_opening += status == 2 << 8;
    } while (status == 1 << 8 || status == 2 << 8);
    assert_int_equal(status, 0);
    print_message("%zu mappings failed, %zu of them at opening\n", one.nth - 1, at_opening);
    assert_true(at_opening >= 2 && one.nth - 1 > at_opening);
}

static void each_mapping_and_the_next_may_fail(void **state)
{
    (void)state;
    opening_fails_cleanly(false);
}

static void each_mapping_and_all_later_ones_may_fail(void **state)
{
    (void)state;
    opening_fails_cleanly(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mapping_and_the_next_may_fail),
        cmocka_unit_test(each_mapping_and_all_later_ones_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
