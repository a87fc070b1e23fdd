/*
 * fail_nth.c: the Nth system call for memory fails, for every N that a workload reaches, once alone and once
 * with all that follow it. Whatever fails, fails cleanly: NULL and ENOMEM, live blocks intact, a heap that
 * checks out and explains its bytes; and once the fault is gone, everything works.
 *
 * Linked with --wrap for mmap, munmap, mremap, madvise and sbrk. Each N runs in a child of its own, because
 * what the process has mapped before (page map, descriptors, stock) would serve the next N.
 */
#define _GNU_SOURCE
#include "../oom_support.h"

enum { FOLLOWING = 8 }; /* beside kinds of calls, in a plan */

/* The plan is changed by the main thread while no other one runs. */
static bool armed;
static unsigned plan;
static long calls, fail_at, faults;

static bool fails(unsigned kind)
{
    if (!armed || !(plan & (kind == PURGE ? GIVE : kind)))
        return false;
    calls++;
    if (calls != fail_at && !(calls > fail_at && (plan & FOLLOWING)))
        return false;
    faults++;
    return true;
}

/* --- the workload: each operation on one arena --- */

enum { MOST_HELD = 800 };

typedef struct {
    arena_t *arena;
    size_t held, bytes[MOST_HELD];
    char *blocks[MOST_HELD];
} work_t;

/* A block, or a clean failure. */
static void hold(work_t *work, void *block, size_t bytes)
{
    if (block == NULL) {
        must(errno == ENOMEM);
        must(faults > 0);
        return;
    }
    must(work->held < MOST_HELD);
    must(arena_of(block) == work->arena);
    fill(block, bytes, work->held);
    work->bytes[work->held] = bytes;
    work->blocks[work->held++] = block;
}

static void verify(const work_t *work)
{
    arena_stats_t stats = stats_of(work->arena);

    for (size_t i = 0; i < work->held; i++)
        must(work->blocks[i] == NULL || holds(work->blocks[i], work->bytes[i], i));
    must(arena_check(work->arena) == 0);
    must(stats_add_up(&stats));
    size_t live = 0;
    for (size_t i = 0; i < work->held; i++)
        live += work->blocks[i] != NULL;
    must(stats.live_blocks == live);
}

static void resize(work_t *work, size_t i, size_t bytes)
{
    if (work->blocks[i] == NULL)
        return;
    char *moved = arena_realloc(work->arena, work->blocks[i], bytes);
    if (moved == NULL) {
        must(errno == ENOMEM && faults > 0 && bytes > work->bytes[i]);
        must(holds(work->blocks[i], work->bytes[i], i));
        return;
    }
    must(holds(moved, bytes < work->bytes[i] ? bytes : work->bytes[i], i));
    work->blocks[i] = moved;
    work->bytes[i] = bytes;
    fill(moved, bytes, i);
}

static void release(work_t *work, size_t first, size_t stride)
{
    for (size_t i = first; i < work->held; i += stride) {
        arena_free(work->arena, work->blocks[i]);
        work->blocks[i] = NULL;
    }
}

static int count_block(void *context, const arena_block_t *block)
{
    *(size_t *)context += block->state == ARENA_BLOCK_LIVE;
    return 0;
}

static void *allocate_elsewhere(void *context)
{
    work_t *work = context;

    for (size_t i = 0; i < 50; i++)
        hold(work, arena_alloc(work->arena, 40 * i), 40 * i);
    return NULL;
}

/* A buffer that is made anew, a little larger each time: what is parked is made longer. */
static void make_anew(work_t *work, size_t bytes)
{
    for (int i = 0; i < 5; i++, bytes += bytes / 4) {
        hold(work, arena_alloc(work->arena, bytes), bytes);
        verify(work);
        release(work, work->held == 0 ? 0 : work->held - 1, 1);
        verify(work);
    }
}

static void work_on(work_t *work, size_t largest)
{
    static const size_t sizes[] = {0, 16, 100, 1000, 5000, 30000, 100000, 300000};
    void *batch[100];
    size_t walked = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && sizes[i] <= largest; i++) {
        hold(work, arena_alloc(work->arena, sizes[i]), sizes[i]);
        hold(work, arena_calloc(work->arena, 1, sizes[i]), sizes[i]);
        hold(work, arena_aligned_alloc(work->arena, 16384, sizes[i]), sizes[i]);
        if (work->held > 0)
            resize(work, work->held - 1, sizes[i] * 3);
    }
    errno = ENOMEM;
    size_t got = arena_alloc_batch(work->arena, 200, 100, batch);
    for (size_t i = 0; i < 100; i++)
        hold(work, i < got ? batch[i] : NULL, 200);
    verify(work);
    for (size_t i = 0; i < 150; i++)
        hold(work, arena_alloc(work->arena, i * 37), i * 37);
    run_thread(allocate_elsewhere, work);
    if (arena_walk(work->arena, count_block, &walked) != 0)
        must(errno == ENOMEM && faults > 0);
    for (size_t i = 0; i < work->held; i += 5)
        resize(work, i, work->bytes[i] % 7 ? work->bytes[i] / 2 : work->bytes[i] * 2);
    release(work, 0, 2);
    arena_trim(work->arena, 0);
    verify(work);
    if (largest >= 256 * KIB)
        make_anew(work, 2 * largest);
    for (size_t i = 0; i < 6; i++)
        hold(work, arena_alloc(work->arena, largest / 6), largest / 6);
    release(work, 0, 1);
    arena_trim(work->arena, 0);
    verify(work);
}

/* After the fault: everything succeeds. */
static void works_again(work_t *work, size_t largest)
{
    static char *blocks[300];

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 300; i++)
            must((blocks[i] = arena_alloc(work->arena, i * 10)) != NULL);
        for (size_t i = 0; i < 300; i++)
            arena_free(work->arena, blocks[i]);
        void *large = arena_calloc(work->arena, 1, largest);
        must(large != NULL && all_zero(large, largest));
        must((large = arena_realloc(work->arena, large, largest / 2)) != NULL);
        arena_free(work->arena, large);
        arena_trim(work->arena, 0);
        must(arena_check(work->arena) == 0);
    }
}

static book_t book;
static char buffer[MIB];

static void run_one(const arena_options_t *options, size_t largest)
{
    static work_t work;

    memset(&work, 0, sizeof work);
    armed = true;
    work.arena = arena_create(options);
    if (work.arena == NULL) {
        must(errno == ENOMEM && faults > 0);
        armed = false;
        must((work.arena = arena_create(options)) != NULL);
    } else {
        work_on(&work, largest);
        arena_reset(work.arena);
        work.held = 0;
        hold(&work, arena_alloc(work.arena, largest / 4), largest / 4);
        verify(&work);
        armed = false;
        works_again(&work, largest);
    }
    verify(&work);
    armed = true;
    arena_destroy(work.arena);
    armed = false;
}

static void run_all(void)
{
    run_one(NULL, 300000);
    run_one(&(arena_options_t){.flags = ARENA_NO_SLABS | ARENA_NO_CACHE | ARENA_PREFAULT}, 30000);
    run_one(&(arena_options_t){.source = ARENA_SOURCE_SBRK}, 100000);
    run_one(&(arena_options_t){.source = ARENA_SOURCE_SBRK,
                               .flags = ARENA_NO_CACHE | ARENA_NO_SLABS,
                               .growth_bytes = 4096,
                               .trim_threshold_bytes = 4096},
            100000);
    run_one(&(arena_options_t){.source = ARENA_SOURCE_BUFFER, .buffer = buffer, .buffer_bytes = MIB}, 16000);
    run_one(&(arena_options_t){.source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&book)}, 100000);
    run_one(&(arena_options_t){.flags = ARENA_CHECKED | ARENA_HUGE_PAGES, .fit = ARENA_FIT_FIRST}, 100000);
    /* And once more, with what destroyed arenas have left in the process. */
    run_one(NULL, 300000);
    must(stats_of(NULL).arenas == 0);
    must(book.held == 0 || (plan & GIVE));
}

/* 0: the fault was met and all is well; 1: the workload ended before it. */
static int with_fault(void *unused)
{
    (void)unused;
    run_all();
    return faults == 0;
}

static void each_fails(unsigned kinds, const char *what)
{
    plan = kinds;
    for (fail_at = 1;; fail_at += SLOWNESS > 1 && fail_at > 20 ? 3 : 1) {
        int status = status_of_child(with_fault, NULL, 60);
        if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
            fail_msg("%s, call number %ld: wait status %#x", what, fail_at, (unsigned)status);
        if (WEXITSTATUS(status) == 1) {
            assert_true(fail_at > 10);
            printf("%s: %ld calls\n", what, fail_at - 1);
            return;
        }
    }
}

static void each_mapping_may_fail(void **state)
{
    (void)state;
    each_fails(TAKE, "mapping");
}

static void each_mapping_and_all_later_ones_may_fail(void **state)
{
    (void)state;
    each_fails(TAKE | FOLLOWING, "mapping, and all later ones");
}

static void each_giving_back_may_fail(void **state)
{
    (void)state;
    each_fails(GIVE, "unmapping");
}

static void each_giving_back_and_all_later_ones_may_fail(void **state)
{
    (void)state;
    each_fails(GIVE | FOLLOWING, "unmapping, and all later ones");
}

static void each_call_and_all_later_ones_may_fail(void **state)
{
    (void)state;
    each_fails(TAKE | GIVE | FOLLOWING, "call, and all later ones");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mapping_may_fail),
        cmocka_unit_test(each_mapping_and_all_later_ones_may_fail),
        cmocka_unit_test(each_giving_back_may_fail),
        cmocka_unit_test(each_giving_back_and_all_later_ones_may_fail),
        cmocka_unit_test(each_call_and_all_later_ones_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
