/*
 * test_error_handler.c: misuse reports go to the process's handler, or as one line to stderr, with no lock
 * held; the handler may leave, and the arena goes on.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <sys/resource.h>

static arena_t *arena;
static jmp_buf back;
static char message_seen[512];
static const void *block_seen;
static void *context_seen;
static int reports;

static void leave(void *context, const char *message, const void *block)
{
    snprintf(message_seen, sizeof message_seen, "%s", message);
    block_seen = block;
    context_seen = context;
    reports++;
    longjmp(back, 1);
}

static int open_arena(void **state)
{
    (void)state;
    arena = arena_create(&(arena_options_t){.name = "handled", .flags = ARENA_CHECKED});
    arena_set_error_handler(leave, &reports);
    reports = 0;
    message_seen[0] = '\0';
    return arena == NULL;
}

static int close_arena(void **state)
{
    (void)state;
    arena_set_error_handler(NULL, NULL);
    arena_destroy(arena);
    return 0;
}

static void was_reported(const char *text, const void *block)
{
    char expected[512];

    snprintf(expected, sizeof expected, "libarena: %s: block 0x%zx, arena \"handled\"", text, (size_t)block);
    assert_string_equal(message_seen, expected);
    assert_ptr_equal(block_seen, block);
    assert_ptr_equal(context_seen, &reports);
}

static void the_handler_gets_the_line_and_the_pointer(void **state)
{
    void *volatile block = arena_alloc(arena, 100);
    int local;

    (void)state;
    arena_free(arena, block);
    if (setjmp(back) == 0) {
        arena_free(arena, block);
        fail_msg("a double free returned");
    }
    was_reported("double free", block);
    if (setjmp(back) == 0) {
        arena_free(arena, &local);
        fail_msg("a foreign free returned");
    }
    was_reported("not a block of this library", &local);
    assert_int_equal(reports, 2);
}

#if ARENA_TCACHE
/* Found only when all that is cached goes home. */
static void a_trim_tells_the_pointer_too(void **state)
{
    (void)state;
    arena_destroy(arena);
    arena = arena_create(&(arena_options_t){.name = "handled"});
    void *volatile first = arena_alloc(arena, 100), *volatile second = arena_alloc(arena, 100);
    arena_free(arena, first);
    arena_free(arena, second);
    arena_free(arena, first);
    assert_int_equal(reports, 0);
    if (setjmp(back) == 0) {
        arena_trim(arena, 0);
        fail_msg("a double free was not found");
    }
    was_reported("double free", first);
}
#endif

static void *use_from_another_thread(void *unused)
{
    (void)unused;
    for (size_t size = 0; size < 2 * MIB; size = size * 2 + 1)
        arena_free(arena, arena_alloc(arena, size));
    arena_trim(arena, 0);
    return arena_check(arena) == 0 ? arena : NULL;
}

/* Misuses the arena in way number `way`; answers false when there is no such way. */
static bool misuse_in_way(int way, void *live, void *freed)
{
    static char foreign[64];
    static size_t used;

    switch (way) {
    case 0:
        arena_free(arena, freed);
        return true;
    case 1:
        arena_free(arena, foreign);
        return true;
    case 2:
        arena_free(arena, (char *)live + 16);
        return true;
    case 3:
        arena_free_sized(arena, live, 1 << 25);
        return true;
    case 4:
        used = arena_realloc(arena, freed, 200) != NULL;
        return true;
    case 5:
        used = arena_realloc(arena, foreign, 200) != NULL;
        return true;
    case 6:
        used = arena_usable_size(arena, foreign);
        return true;
    case 7:
        arena_free_batch(arena, &freed, 1);
        return true;
    case 8:
        used = arena_realloc(arena, freed, 0) != NULL;
        return true;
    default:
        return used == 77777;
    }
}

static void no_lock_is_held_after_any_misuse(void **state)
{
    static const size_t sizes[] = {16, 100, 4096, 40000, 2 * MIB};
    volatile int caught = 0;

    (void)state;
    for (volatile size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (volatile int way = 0; way < 9; way++) {
            void *volatile live = arena_alloc(arena, sizes[s]);
            void *volatile freed = arena_alloc(arena, sizes[s]);
            fill(live, sizes[s], s);
            arena_free(arena, freed);
            if (setjmp(back) == 0)
                misuse_in_way(way, live, freed);
            else
                caught++;
            assert_ptr_equal(run_thread(use_from_another_thread, NULL), arena);
            assert_true(holds(live, sizes[s], s));
            arena_free(arena, live);
        }
    }
    assert_int_equal(caught, 9 * (int)(sizeof sizes / sizeof sizes[0]));
    assert_int_equal(reports, caught);
}

static void misuse_of_hook_memory_is_caught_aligned_or_not(void **state)
{
    static book_t books[2] = {{.skew = 0}, {.skew = 4096 + 16}};

    (void)state;
    for (volatile size_t i = 0; i < 2; i++) {
        arena_t *volatile hooked = arena_create(&(arena_options_t){
            .name = "handled", .source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&books[i])});
        void *volatile block = arena_alloc(hooked, 100);
        arena_free(hooked, block);
        if (setjmp(back) == 0)
            arena_free(hooked, block);
        was_reported("double free", block);
        void *volatile own = arena_alloc(arena, 100);
        if (setjmp(back) == 0)
            arena_free(hooked, own);
        was_reported("block of another arena", own);
        void *volatile theirs = arena_alloc(hooked, 100);
        if (setjmp(back) == 0)
            arena_free(arena, theirs);
        was_reported("block of another arena", theirs);
        assert_int_equal(reports, 3 * (int)(i + 1));
        assert_int_equal(arena_check(hooked), 0);
        arena_destroy(hooked);
        assert_int_equal(books[i].held, 0);
    }
}

static void end_the_thread(void *context, const char *message, const void *block)
{
    (void)context;
    (void)message;
    (void)block;
    pthread_exit(arena);
}

static void *free_twice(void *unused)
{
    void *block = arena_alloc(arena, 100);

    arena_free(arena, block);
    arena_free(arena, block);
    return unused;
}

static void the_handler_may_end_the_thread(void **state)
{
    (void)state;
    arena_set_error_handler(end_the_thread, NULL);
    assert_ptr_equal(run_thread(free_twice, NULL), arena);
    arena_set_error_handler(leave, &reports);
    assert_ptr_equal(use_from_another_thread(NULL), arena);
    assert_int_equal(stats_of(arena).live_blocks, 0);
}

static void come_back(void *context, const char *message, const void *block)
{
    (void)context;
    (void)block;
    dprintf(2, "handler: %s\n", message);
}

/* Runs free_twice in a child with this handler; answers its wait status and what it wrote to stderr. */
static int status_and_text(arena_error_fn handler, char *text, size_t bytes)
{
    int ends[2], status;

    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        child_begins(30);
        dup2(ends[1], 2);
        arena_set_error_handler(handler, NULL);
        free_twice(NULL);
        _exit(0);
    }
    close(ends[1]);
    size_t got = 0;
    ssize_t more;
    while (got < bytes - 1 && (more = read(ends[0], text + got, bytes - 1 - got)) > 0)
        got += (size_t)more;
    text[got] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void a_handler_that_returns_is_followed_by_abort(void **state)
{
    char text[512];

    (void)state;
    int status = status_and_text(come_back, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_int_equal(strncmp(text, "handler: libarena: double free: block 0x", 40), 0);
}

static void without_a_handler_one_line_goes_to_stderr(void **state)
{
    char text[512];

    (void)state;
    int status = status_and_text(NULL, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_int_equal(strncmp(text, "libarena: double free: block 0x", 31), 0);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_int_equal(strcmp(strstr(text, ", arena"), ", arena \"handled\"\n"), 0);
}

static void count_reports(void *context, const char *message, const void *block)
{
    (void)block;
    assert_non_null(strstr(message, "libarena: "));
    ++*(int *)context;
}

static void a_broken_heap_is_reported_to_the_handler_and_check_returns(void **state)
{
    arena_t *broken = arena_create(&(arena_options_t){.flags = ARENA_NO_SLABS | ARENA_NO_CACHE});
    unsigned char saved[8];

    (void)state;
    reports = 0;
    arena_set_error_handler(count_reports, &reports);
    char *first = arena_alloc(broken, 200), *second = arena_alloc(broken, 200),
         *third = arena_alloc(broken, 200);
    assert_true(first != NULL && second != NULL && third != NULL);
    assert_int_equal(arena_check(broken), 0);
    char *behind = any_size(first + arena_usable_size(broken, first));
    memcpy(saved, behind, 8);
    memset(behind, 0x77, 8);
    assert_true(arena_check(broken) > 0);
    assert_true(reports > 0);
    memcpy(behind, saved, 8);
    assert_int_equal(arena_check(broken), 0);
    arena_destroy(broken);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_arena, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_handler_gets_the_line_and_the_pointer),
#if ARENA_TCACHE
        TEST(a_trim_tells_the_pointer_too),
#endif
        TEST(no_lock_is_held_after_any_misuse),
        TEST(misuse_of_hook_memory_is_caught_aligned_or_not),
        TEST(the_handler_may_end_the_thread),
        TEST(a_handler_that_returns_is_followed_by_abort),
        TEST(without_a_handler_one_line_goes_to_stderr),
        TEST(a_broken_heap_is_reported_to_the_handler_and_check_returns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
