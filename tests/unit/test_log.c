/*
 * test_log.c: the log of an arena: one whole line for each operation, whatever the
 * arena, and caches that are taken away and given back. How programs end is in test_log_ends.c.
 */
#define _GNU_SOURCE
#include "../../arena/os.h"
#include "../log_support.h"

#include <semaphore.h>
#include <sys/stat.h>

static arena_t *logged(const arena_options_t *options)
{
    arena_t *arena = arena_create(options);

    must(arena != NULL);
    must(arena_log_open(arena, fresh_log()));
    return arena;
}

/* The operations in order, as "alloc free ...", without those of regions. */
static void expect_operations(const entries_t *log, const char *expected)
{
    char found[1000] = "";

    for (size_t i = 0; i < log->count; i++) {
        const char *operation = log->entries[i].operation;
        if (strcmp(operation, "grow") != 0 && strcmp(operation, "trim") != 0 &&
            strcmp(operation, "purge") != 0) {
            strcat(found, operation);
            strcat(found, " ");
        }
    }
    assert_string_equal(found, expected);
}

static void use(arena_t *arena)
{
    char *block = arena_alloc_named(arena, 100, "first");
    char *zero = arena_calloc(arena, 3, 50);
    char *aligned = arena_aligned_alloc(arena, 4096, 10);
    char *moved = arena_realloc(arena, zero, 5000);
    char *grown = arena_realloc(arena, NULL, 9);

    must(block != NULL && zero != NULL && aligned != NULL && moved != NULL && grown != NULL);
    must(arena_set_name(arena, moved, "second"));
    moved = arena_realloc(arena, moved, 4990); /* where it is */
    arena_free(arena, block);
    arena_free_sized(arena, aligned, 10);
    arena_free_batch(arena, (void *[]){grown, NULL}, 2);
    arena_free(arena, NULL);
    must(arena_alloc(arena, SIZE_MAX) == NULL);
}

static void each_operation_has_its_line_in_every_kind_of_arena(void **state)
{
    static char buffer[MIB];
    static book_t aligned, unaligned = {.skew = 32};
    const arena_options_t options[] = {
        {.name = "of any"},
        {.flags = ARENA_NO_CACHE},
        {.flags = ARENA_NO_SLABS},
        {.flags = ARENA_SINGLE_THREAD},
        {.flags = ARENA_SCRIBBLE},
        {.flags = ARENA_ZERO},
        {.source = ARENA_SOURCE_BUFFER, .buffer = buffer, .buffer_bytes = sizeof buffer},
        {.source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&aligned)},
        {.source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&unaligned)},
    };

    (void)state;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        arena_t *arena = logged(&options[i]);
        use(arena);
        arena_stats_t stats = stats_of(arena);
        assert_true(arena_log_close(arena));
        arena_free(arena, arena_alloc(arena, 10)); /* not any more */
        entries_t log = read_log(log_path);
        expect_operations(&log, "alloc calloc aligned realloc alloc name realloc free free free ");
        replayed_t done = replay(&log, 0);
        assert_int_equal(done.live_blocks, 1);
        assert_int_equal(done.live_blocks, stats.live_blocks);
        assert_int_equal(done.live_bytes, stats.live_bytes);
        assert_int_equal(done.allocations + done.moves, stats.allocations);
        end_log(&log);
        arena_destroy(arena);
    }
}

static const entry_t *find(const entries_t *log, const char *operation, size_t nth)
{
    for (size_t i = 0; i < log->count; i++) {
        if (strcmp(log->entries[i].operation, operation) == 0 && nth-- == 0)
            return &log->entries[i];
    }
    support_die(__FILE__, __LINE__, operation);
}

static void aligned_blocks_are_of_what_was_asked_for(void **state)
{
    static const struct {
        size_t alignment, size;
    } asked[] = {{1, 0},  {1, 1},    {4, 3},  {8, 1},    {8, 9},
                 {16, 1}, {16, 100}, {32, 5}, {4096, 7}, {16, 5000000}};
    arena_t *arena = logged(&(arena_options_t){.flags = ARENA_ZERO});

    (void)state;
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        char *block = arena_aligned_alloc(arena, asked[i].alignment, asked[i].size);
        assert_true(block != NULL && (uintptr_t)block % asked[i].alignment == 0);
        assert_true(all_zero(block, asked[i].size));
    }
    assert_null(arena_aligned_alloc(arena, 8, SIZE_MAX)); /* has no line */
    assert_true(arena_log_close(arena));
    entries_t log = read_log(log_path);
    assert_int_equal(count_of(&log, "alloc"), 0);
    assert_int_equal(count_of(&log, "aligned"), sizeof asked / sizeof asked[0]);
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        assert_int_equal(find(&log, "aligned", i)->size, asked[i].size);
    end_log(&log);
    arena_destroy(arena);
}

static void a_line_has_time_process_thread_sizes_and_name(void **state)
{
    struct timespec now;
    arena_t *arena = logged(NULL);

    (void)state;
    char *block = arena_alloc_named(arena, 100, "a name\twith\nall");
    char *moved = arena_realloc(arena, block, 100000);
    must(arena_set_name(arena, moved, NULL));
    arena_free(arena, moved);
    clock_gettime(CLOCK_REALTIME, &now);
    assert_true(arena_log_close(arena));
    entries_t log = read_log(log_path);
    const entry_t *alloc = find(&log, "alloc", 0), *resized = find(&log, "realloc", 0);
    const entry_t *freed = find(&log, "free", 0), *grown = find(&log, "grow", 0);
    assert_int_equal(log.heads, 1);
    assert_int_equal(alloc->address, (uintptr_t)block);
    assert_int_equal(alloc->size, 100);
    assert_int_equal(alloc->usable, 112);
    assert_int_equal(alloc->from, SIZE_MAX);
    assert_string_equal(alloc->name, "a name\\x09with\\x0aall");
    assert_int_equal(alloc->process, getpid());
    assert_int_equal(alloc->thread, gettid());
    assert_true(alloc->time / 1000000000 <= (uint64_t)now.tv_sec &&
                alloc->time / 1000000000 + 100 > (uint64_t)now.tv_sec);
    assert_int_equal(resized->from, (uintptr_t)block);
    assert_int_equal(resized->address, (uintptr_t)moved);
    assert_int_equal(resized->size, 100000);
    assert_string_equal(resized->name, alloc->name);
    assert_int_equal(freed->size, SIZE_MAX);
    assert_int_equal(freed->usable, resized->usable);
    assert_string_equal(freed->name, "-");
    assert_true(grown->address <= alloc->address && alloc->address < grown->address + grown->size);
    end_log(&log);
    arena_destroy(arena);
}

static void regions_reset_and_destroy_have_lines_too(void **state)
{
    arena_t *arena = logged(&(arena_options_t){.flags = ARENA_NO_CACHE});
    static void *blocks[300];

    (void)state;
    for (size_t i = 0; i < 300; i++)
        must((blocks[i] = arena_alloc(arena, 20000)) != NULL);
    for (size_t i = 0; i < 299; i++)
        arena_free(arena, blocks[i]);
    size_t before = stats_of(arena).mapped_bytes;
    arena_trim(arena, 0);
    size_t after = stats_of(arena).mapped_bytes;
    must(after < before);
    arena_reset(arena);
    arena_destroy(arena); /* closes the log */
    entries_t log = read_log(log_path);
    size_t taken = 0, given = 0, purges = count_of(&log, "purge"), trims = count_of(&log, "trim");
    bool reset = false;
    for (size_t i = 0; i < log.count; i++) {
        reset |= strcmp(log.entries[i].operation, "reset") == 0;
        taken += strcmp(log.entries[i].operation, "grow") == 0 && !reset ? log.entries[i].size : 0;
        given += strcmp(log.entries[i].operation, "trim") == 0 && !reset ? log.entries[i].size : 0;
    }
    assert_int_equal(taken - given, after);
    assert_true(trims > 0 && purges > 0);
    assert_int_equal(count_of(&log, "reset"), 1);
    assert_int_equal(count_of(&log, "destroy"), 1);
    end_log(&log);
}

static void a_name_of_any_length_is_one_line(void **state)
{
    static char name[30000];
    arena_t *arena = logged(NULL);
    size_t bytes = 0;
    char *line = NULL;

    (void)state;
    memset(name, 'n', sizeof name - 1);
    for (size_t i = 0; i < 3; i++) {
        must(arena_alloc(arena, 10) != NULL);
        must(arena_alloc_named(arena, 10, name + i * 10000) != NULL);
    }
    assert_true(arena_log_close(arena));
    FILE *file = fopen(log_path, "r");
    size_t longest = 0, lines = 0;
    for (ssize_t length; (length = getline(&line, &bytes, file)) >= 0; lines++)
        longest = (size_t)length > longest ? (size_t)length : longest;
    assert_true(longest > sizeof name && longest < sizeof name + 200);
    assert_int_equal(lines, 2 + 1 + 6);
    free(line);
    fclose(file);
    unlink(log_path);
    arena_destroy(arena);
}

static void errors_are_answered(void **state)
{
    arena_t *arena = arena_create(NULL);

    (void)state;
    errno = 0;
    assert_false(arena_log_open(NULL, "x"));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(arena_log_open(arena, NULL));
    assert_int_equal(errno, EINVAL);
    assert_false(arena_log_open(arena, "/nonexistent/log"));
    assert_int_equal(errno, ENOENT);
    errno = 0;
    assert_false(arena_log_close(arena));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(arena_log_close(NULL));
    assert_int_equal(errno, EINVAL);
    assert_true(arena_log_open(arena, fresh_log()));
    assert_false(arena_log_open(arena, log_path));
    assert_int_equal(errno, EBUSY);
    must(arena_alloc(arena, 1) != NULL);
    assert_true(arena_log_close(arena));
    assert_true(arena_log_open(arena, log_path)); /* appends */
    must(arena_alloc(arena, 1) != NULL);
    assert_true(arena_log_close(arena));
    assert_false(arena_log_close(arena));
    entries_t log = read_log(log_path);
    assert_int_equal(log.heads, 2);
    assert_int_equal(count_of(&log, "alloc"), 2);
    end_log(&log);
    arena_destroy(arena);
}

/* --- caches --- */

static sem_t filled, finish;
static arena_t *shared;

static void *hold_a_cache(void *unused)
{
    for (size_t i = 0; i < 50; i++)
        arena_free(shared, arena_alloc(shared, 16 + 8 * i));
    sem_post(&filled);
    sem_wait(&finish);
    arena_free(shared, arena_alloc(shared, 77));
    arena_free(shared, arena_alloc(shared, 5000));
    return unused;
}

/* Another thread's cache among them; with `after` the thread goes on once the log is open. */
static void open_beside_caches(bool reach)
{
    pthread_t thread;

    shared = arena_create(NULL);
    sem_init(&filled, 0, 0);
    sem_init(&finish, 0, 0);
    for (size_t i = 0; i < 50; i++)
        arena_free(shared, arena_alloc(shared, 16 + 8 * i));
    start_thread(&thread, hold_a_cache, NULL);
    sem_wait(&filled);
    must(!ARENA_TCACHE || stats_of(shared).caches == 2);
    must(arena_log_open(shared, fresh_log()));
    must(!reach || stats_of(shared).cached_blocks == 0);
    sem_post(&finish);
    must(pthread_join(thread, NULL) == 0);
    for (size_t i = 0; i < 10; i++)
        arena_free(shared, arena_alloc(shared, 16 + 8 * i));
    must(stats_of(shared).cached_blocks == 0);
    must(arena_log_close(shared));
    entries_t log = read_log(log_path);
    must(count_of(&log, "alloc") == 12 && count_of(&log, "free") == 12);
    must(replay(&log, 0).live_blocks == 0);
    must(log.entries[log.count - 1].size == SIZE_MAX && arena_check(shared) == 0);
    end_log(&log);
    arena_free(shared, arena_alloc(shared, 100));
    must(stats_of(shared).cached_blocks == (ARENA_TCACHE ? 1 : 0));
    must(arena_check(shared) == 0);
    arena_destroy(shared);
}

static void caches_are_taken_away_and_given_back(void **state)
{
    (void)state;
    open_beside_caches(true);
}

static int without_membarrier(void *unused)
{
    (void)unused;
    os_barrier_forbid();
    open_beside_caches(false);
    return 0;
}

/* In a program that has made no arena yet; see main. */
static void where_threads_cannot_be_stopped_they_see_it_all_the_same(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(without_membarrier, NULL, 30), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_threads_cannot_be_stopped_they_see_it_all_the_same),
        cmocka_unit_test(each_operation_has_its_line_in_every_kind_of_arena),
        cmocka_unit_test(aligned_blocks_are_of_what_was_asked_for),
        cmocka_unit_test(a_line_has_time_process_thread_sizes_and_name),
        cmocka_unit_test(regions_reset_and_destroy_have_lines_too),
        cmocka_unit_test(a_name_of_any_length_is_one_line),
        cmocka_unit_test(errors_are_answered),
        cmocka_unit_test(caches_are_taken_away_and_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
