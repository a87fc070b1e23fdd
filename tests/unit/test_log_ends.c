/*
 * test_log_ends.c: nothing is lost in a log, however the program ends, but what a full disk does not take; and that
 * is reported once, and noted in the file. Each case runs in a child, whose stderr is looked at.
 */
#define _GNU_SOURCE
#include "../log_support.h"

enum { BLOCKS = 1000 };

static void allocate(arena_t *arena, size_t count)
{
    for (size_t i = 0; i < count; i++)
        must(arena_alloc(arena, i % 500) != NULL);
}

static arena_t *logged(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "logged"});

    must(arena != NULL && arena_log_open(arena, log_path));
    return arena;
}

/* Runs `body` in a child with our log_path; what it wrote to stderr comes back. */
static int status_of_end(void (*body)(void), char *errors, size_t bytes)
{
    char path[] = "/tmp/libarena-err-XXXXXX";
    int status, fd = mkstemp(path);

    must(fd >= 0);
    fflush(NULL);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        child_begins(30);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        must(dup2(fd, STDERR_FILENO) == STDERR_FILENO);
        body();
        exit(0);
    }
    must(waitpid(child, &status, 0) == child);
    ssize_t length = pread(fd, errors, bytes - 1, 0);
    errors[length < 0 ? 0 : length] = 0;
    close(fd);
    unlink(path);
    return status;
}

static void expect_end(void (*body)(void), int signal_or_0, size_t allocations, size_t frees)
{
    char errors[1000];

    fresh_log();
    int status = status_of_end(body, errors, sizeof errors);
    assert_int_equal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, signal_or_0);
    entries_t log = read_log(log_path);
    assert_int_equal(count_of(&log, "alloc"), allocations);
    assert_int_equal(count_of(&log, "free"), frees);
    assert_int_equal(count_in(errors, "the log cannot be written"), 0);
    end_log(&log);
}

/* --- exit --- */

static arena_t *late;

/* Of the program, and after the library's own if that is in the program: low numbers come last. */
__attribute__((destructor(102))) static void allocate_late(void)
{
    if (late != NULL)
        arena_free(late, arena_alloc(late, 4321));
}

static void by_exit(void)
{
    late = logged();
    allocate(late, BLOCKS);
}

static void by_destroy(void)
{
    arena_t *arena = logged();
    allocate(arena, BLOCKS);
    arena_destroy(arena);
    _exit(0);
}

static void *other_thread(void *arena)
{
    allocate(arena, BLOCKS / 2);
    return NULL;
}

static void by_exit_with_threads(void)
{
    pthread_t threads[10];

    late = logged();
    for (size_t i = 0; i < 10; i++)
        start_thread(&threads[i], other_thread, late);
    for (size_t i = 0; i < 10; i++)
        must(pthread_join(threads[i], NULL) == 0); /* their buffers are the log's */
}

static void nothing_is_lost_at_exit(void **state)
{
    (void)state;
    expect_end(by_exit, 0, BLOCKS + 1, 1);
    expect_end(by_destroy, 0, BLOCKS, 0);
    expect_end(by_exit_with_threads, 0, 10 * (BLOCKS / 2) + 1, 1);
}

/* --- misuse --- */

static void by_misuse(void)
{
    arena_t *arena = logged();
    void *block = arena_alloc(arena, 64);

    allocate(arena, BLOCKS - 1);
    arena_free(arena, block);
    arena_free(arena, block); /* found before it is logged */
}

static void leave(void *context, const char *message, const void *block)
{
    (void)context;
    (void)message;
    (void)block;
    _exit(0);
}

static void by_misuse_with_a_handler_that_leaves(void)
{
    arena_set_error_handler(leave, NULL);
    by_misuse();
}

static void by_a_foreign_free(void)
{
    static int outside;
    arena_t *arena = logged();

    allocate(arena, BLOCKS);
    arena_free(arena, &outside);
}

static void nothing_is_lost_when_misuse_ends_the_process(void **state)
{
    (void)state;
    expect_end(by_misuse, SIGABRT, BLOCKS, 1);
    expect_end(by_misuse_with_a_handler_that_leaves, 0, BLOCKS, 1);
    expect_end(by_a_foreign_free, SIGABRT, BLOCKS, 0);
}

/* --- disks that are full --- */

static void on_a_full_device(void)
{
    arena_t *arena = arena_create(&(arena_options_t){.name = "logged"});

    must(arena_log_open(arena, "/dev/full"));
    allocate(arena, BLOCKS);
    void *block = arena_alloc(arena, 100000);
    must(block != NULL && arena_check(arena) == 0);
    arena_free(arena, block);
    must(stats_of(arena).live_blocks == BLOCKS);
    errno = 0;
    must(!arena_log_close(arena) && errno == EIO);
    must(arena_log_open(arena, "/dev/null")); /* the next one is another matter */
    allocate(arena, BLOCKS);
    must(arena_log_close(arena));
    arena_destroy(arena);
}

static void a_full_device_is_reported_once_and_the_program_goes_on(void **state)
{
    char errors[1000];

    (void)state;
    fresh_log();
    assert_int_equal(status_of_end(on_a_full_device, errors, sizeof errors), 0);
    assert_string_equal(errors,
                        "libarena: the log cannot be written, error 28, lines are lost: arena \"logged\"\n");
    unlink(log_path);
}

/* A limit on the size of files cuts a line in two; then there is room again. */
static void on_a_disk_that_is_full_for_a_while(void)
{
    struct rlimit limit;
    arena_t *arena = logged();

    signal(SIGXFSZ, SIG_IGN);
    must(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    rlim_t soft = limit.rlim_cur;
    limit.rlim_cur = 20000;
    must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    allocate(arena, BLOCKS);
    limit.rlim_cur = soft;
    must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    allocate(arena, BLOCKS);
    must(!arena_log_close(arena));
}

static void lines_that_are_missing_are_counted_in_the_file(void **state)
{
    char errors[1000];

    (void)state;
    fresh_log();
    assert_int_equal(status_of_end(on_a_disk_that_is_full_for_a_while, errors, sizeof errors), 0);
    assert_int_equal(count_in(errors, "the log cannot be written, error 27"), 1);
    assert_int_equal(count_in(errors, "\n"), 1);
    FILE *file = fopen(log_path, "r");
    char line[300];
    size_t whole = 0, cut = 0, lost = 0, notes = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        entry_t entry;
        if (line[0] == '#') {
            notes += sscanf(line, "# %zu lines lost", &lost) == 1;
        } else if (parse_entry(line, &entry)) {
            whole += strcmp(entry.operation, "alloc") == 0;
        } else {
            cut++;
        }
    }
    fclose(file);
    assert_int_equal(notes, 1);
    assert_true(cut <= 1 && lost > 0);
    assert_in_range(whole + lost, 2 * BLOCKS, 2 * BLOCKS + 4); /* regions' lines may be among the lost */
    unlink(log_path);
}

/* --- which descriptor --- */

static void with_stderr_closed(void)
{
    close(STDERR_FILENO);
    arena_t *arena = logged();
    must(write(STDERR_FILENO, "text\n", 5) < 0 && errno == EBADF);
    allocate(arena, BLOCKS);
}

static void with_stderr_closed_and_few_descriptors(void)
{
    must(setrlimit(RLIMIT_NOFILE, &(struct rlimit){32, 32}) == 0);
    errno = 0;
    with_stderr_closed();
}

static void beside_descriptors_of_the_program(void)
{
    int next = dup(STDIN_FILENO);
    must(next > STDERR_FILENO && close(next) == 0);
    errno = 0;
    arena_t *arena = logged();
    must(errno == 0 && dup(STDIN_FILENO) == next);
    allocate(arena, BLOCKS);
}

static void no_number_is_taken_that_the_program_counts_on(void **state)
{
    (void)state;
    expect_end(with_stderr_closed, 0, BLOCKS, 0);
    expect_end(with_stderr_closed_and_few_descriptors, 0, BLOCKS, 0);
    expect_end(beside_descriptors_of_the_program, 0, BLOCKS, 0);
}

/* --- a descriptor that is no longer ours --- */

static void with_all_descriptors_closed(void)
{
    char path[] = "/tmp/libarena-other-XXXXXX";
    arena_t *arena = logged();

    allocate(arena, BLOCKS);
    for (int fd = 3; fd < 128; fd++)
        close(fd);
    int other = mkstemp(path);
    must(other >= 3);
    for (int i = 0; i < 100; i++)
        must(dup(other) >= 0); /* one of them gets the number that was the log's */
    allocate(arena, BLOCKS);
    must(!arena_log_close(arena));
    must(lseek(other, 0, SEEK_END) == 0);
    must(fcntl(other, F_GETFD) >= 0);
    unlink(path);
}

static void another_file_under_our_number_is_not_written(void **state)
{
    char errors[1000];

    (void)state;
    fresh_log();
    assert_int_equal(status_of_end(with_all_descriptors_closed, errors, sizeof errors), 0);
    assert_int_equal(count_in(errors, "the log cannot be written, error 9"), 1);
    assert_int_equal(count_in(errors, "\n"), 1);
    unlink(log_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_at_exit),
        cmocka_unit_test(nothing_is_lost_when_misuse_ends_the_process),
        cmocka_unit_test(a_full_device_is_reported_once_and_the_program_goes_on),
        cmocka_unit_test(lines_that_are_missing_are_counted_in_the_file),
        cmocka_unit_test(no_number_is_taken_that_the_program_counts_on),
        cmocka_unit_test(another_file_under_our_number_is_not_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
