/*
 * tuning.c: malloc_trim, mallopt, mallinfo, mallinfo2, malloc_info, malloc_stats, the old cfree, and C23's
 * free_sized and free_aligned_sized.
 */
#define _GNU_SOURCE
#include "preload_support.h"

enum { MANY = 64000 };

static char *blocks[MANY];

static void allocate_many(size_t size)
{
    for (size_t i = 0; i < MANY; i++) {
        must((blocks[i] = malloc(size)) != NULL);
        memset(blocks[i], 1, size);
    }
}

static void free_many(void)
{
    for (size_t i = 0; i < MANY; i++)
        free(blocks[i]);
}

static void malloc_trim_gives_memory_back(void **state)
{
    (void)state;
    allocate_many(1000);
    void *above = malloc(1000);
    size_t before = statm_bytes(1);
    free_many();
    int first = malloc_trim(0);
    assert_true(first == 0 || first == 1);
    assert_true(statm_bytes(1) + 48 * MIB < before);
    malloc_trim(0);
    if (under_library())
        assert_int_equal(malloc_trim(0), 0); /* nothing left to give; glibc says 1 again */
    free(above);
}

static void mallopt_takes_what_glibc_takes(void **state)
{
    (void)state;
    assert_int_equal(mallopt(M_MXFAST, 64), 1);
    assert_int_equal(mallopt(M_TRIM_THRESHOLD, 256 * 1024), 1);
    assert_int_equal(mallopt(M_TOP_PAD, 64 * 1024), 1);
    assert_int_equal(mallopt(M_MMAP_THRESHOLD, 256 * 1024), 1);
    assert_int_equal(mallopt(M_MMAP_MAX, 1000), 1);
    assert_int_equal(mallopt(M_CHECK_ACTION, 3), 1);
    assert_int_equal(mallopt(M_PERTURB, 0), 1);
    assert_int_equal(mallopt(M_ARENA_TEST, 2), 1);
    assert_int_equal(mallopt(M_ARENA_MAX, 2), 1);
    assert_int_equal(mallopt(12345, 0), 1);
    assert_int_equal(mallopt(M_MXFAST, 100000), 0);
    churn(3, 0.1, NULL);
}

static bool all_bytes(const void *block, size_t size, unsigned char byte)
{
    const volatile unsigned char *bytes = block;

    for (size_t i = 0; i < size; i++)
        if (bytes[i] != byte)
            return false;
    return true;
}

/* glibc fills new blocks with the inverse of what it is told, but for those of its thread caches. */
static void blocks_are_filled_while_the_program_says_so(void **state)
{
    static const size_t sizes[] = {100, 5000, 30000};

    (void)state;
    for (size_t round = 0; round < 3; round++) {
        assert_int_equal(mallopt(M_PERTURB, 0x55), 1);
        for (size_t i = under_library() ? 0 : 1; i < sizeof sizes / sizeof sizes[0]; i++) {
            char *block = malloc(sizes[i]), *clear = calloc(1, sizes[i]);
            assert_true(all_bytes(block, sizes[i], 0xaa) && all_zero(clear, sizes[i]));
            free(block);
            if (under_library()) /* in front lies a list's link */
                assert_true(all_bytes(block + 32, 32, 0x55));
            free(clear);
        }
        assert_int_equal(mallopt(M_PERTURB, 0), 1);
        char *block = malloc(100);
        memset(block, 7, 100);
        free(block);
        char *again = malloc(100);
        assert_true(again == block && all_bytes(again + 32, 32, 7));
        free(again);
        churn(5, 0.1, NULL);
    }
}

static void a_trim_threshold_of_zero_lets_nothing_stay(void **state)
{
    enum { BLOCKS = 150, BYTES = 100000 };

    (void)state;
    assert_int_equal(mallopt(M_TRIM_THRESHOLD, 0), 1);
    for (size_t i = 0; i < BLOCKS; i++)
        memset(blocks[i] = malloc(BYTES), 1, BYTES);
    size_t before = statm_bytes(1);
    for (size_t i = BLOCKS; i-- > 0;)
        free(blocks[i]);
    if (under_library())
        assert_true(statm_bytes(1) + 8 * MIB < before); /* glibc goes by the end of the heap */
    mallopt(M_TRIM_THRESHOLD, 256 * 1024);
}

static _Atomic bool done;

/* Blocks that are large ones at all times. */
static void *come_and_go(void *nothing)
{
    void *large[8];

    while (!done) {
        for (size_t i = 0; i < 8; i++)
            large[i] = malloc(70 * MIB);
        for (size_t i = 0; i < 8; i++)
            free(large[i]);
    }
    return nothing;
}

static void mallinfo2_makes_sense_beside_other_threads(void **state)
{
    pthread_t threads[4];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        must(pthread_create(&threads[i], NULL, come_and_go, NULL) == 0);
    for (int i = 0; i < 60000 / SLOWNESS; i++) {
        struct mallinfo2 now = mallinfo2();
        must(now.arena < 1024 * GIB && now.uordblks < 1024 * GIB); /* they do not pass below 0 */
    }
    done = true;
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void mallinfo2_follows_what_is_allocated(void **state)
{
    (void)state;
    struct mallinfo2 before = mallinfo2();
    allocate_many(1000);
    char *large = malloc(40 * MIB);
    assert_non_null(large);
    struct mallinfo2 now = mallinfo2();
    size_t used = now.uordblks + now.hblkhd, used_before = before.uordblks + before.hblkhd;
    assert_true(used >= used_before + MANY * (size_t)1000 + 40 * MIB);
    assert_true(used <= used_before + MANY * (size_t)1300 + 41 * MIB);
    assert_true(now.arena >= now.uordblks);
    free(large);
    free_many();
    struct mallinfo2 after = mallinfo2();
    assert_true(after.uordblks + after.hblkhd <= used_before + 8 * MIB);
}

static void mallinfo_is_mallinfo2_in_ints(void **state)
{
    (void)state;
    char *kept = malloc(100000);
    fill(kept, 100000, 1);
    struct mallinfo2 wide = mallinfo2();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
    assert_int_equal(narrow.uordblks, (int)wide.uordblks);
    assert_int_equal(narrow.arena, (int)wide.arena);
    assert_int_equal(narrow.hblkhd, (int)wide.hblkhd);
    free(kept);
}

/* Every tag that is opened is closed, in order; answers how many there were. */
static size_t tags_of(char *text)
{
    char *open[64];
    size_t depth = 0, tags = 0;

    for (char *at = strchr(text, '<'); at != NULL; at = strchr(at, '<')) {
        char *end = strchr(++at, '>');
        must(end != NULL);
        *end = '\0';
        bool closing = *at == '/', whole = end[-1] == '/';
        at[strcspn(at + closing, " /\n") + closing] = '\0';
        if (closing) {
            must(depth > 0 && strcmp(open[--depth], at + 1) == 0);
        } else if (!whole) {
            must(depth < 64);
            open[depth++] = at;
        }
        tags++;
        at = end + 1;
    }
    must(depth == 0);
    return tags;
}

static void malloc_info_writes_xml(void **state)
{
    char *text = NULL;
    size_t bytes = 0;

    (void)state;
    FILE *file = open_memstream(&text, &bytes);
    assert_non_null(file);
    assert_int_equal(malloc_info(0, file), 0);
    fclose(file);
    assert_int_equal(strncmp(text, "<malloc version=", strlen("<malloc version=")), 0);
    assert_true(tags_of(text) >= 4);
    free(text);
}

static void malloc_info_refuses_options(void **state)
{
    (void)state;
    assert_int_equal(malloc_info(1, stdout), EINVAL);
}

static void malloc_stats_writes_to_stderr(void **state)
{
    FILE *file = tmpfile();

    (void)state;
    assert_non_null(file);
    fflush(stderr);
    int saved = dup(STDERR_FILENO);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    malloc_stats();
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    assert_true(lseek(fileno(file), 0, SEEK_END) > 40);
    fclose(file);
}

/* A symbol for programs of long ago: this one refers to it as they do, by a version that is no longer linked to. */
static void cfree_is_free(void **state)
{
    (void)state;
#if defined(__x86_64__) && defined(__GLIBC__)
    extern void old_cfree(void *);
    __asm__(".symver old_cfree, cfree@GLIBC_2.2.5");
    const size_t before = statm_bytes(0);
    for (size_t i = 0; i < 100000; i++)
        old_cfree(malloc(i % 20000));
    old_cfree(NULL);
    assert_true(statm_bytes(0) < before + 256 * MIB); /* 1 GB, if they were not freed */
#else
    skip(); /* this machine's C library never had it */
#endif
}

static void sized_frees_are_free(void **state)
{
    (void)state;
    void (*free_sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    void (*free_aligned_sized)(void *, size_t, size_t) =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    if (!under_library() && free_sized == NULL)
        skip(); /* younger than this C library */
    assert_non_null(free_sized);
    assert_non_null(free_aligned_sized);
    for (size_t size = 0; size < 4 * MIB; size = size * 5 / 4 + 1) {
        errno = 12345;
        free_sized(malloc(size), size);
        free_sized(realloc(malloc(1), size + 1), size + 1);
        free_sized(calloc(1, size), size);
        free_aligned_sized(aligned_alloc(64, size), 64, size);
        free_aligned_sized(aligned_alloc(8192, size), 8192, size);
        assert_int_equal(errno, 12345);
    }
    free_sized(NULL, 10);
    free_aligned_sized(NULL, 16, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trim_threshold_of_zero_lets_nothing_stay),
        cmocka_unit_test(mallinfo2_follows_what_is_allocated),
        cmocka_unit_test(mallinfo_is_mallinfo2_in_ints),
        cmocka_unit_test(malloc_info_writes_xml),
        cmocka_unit_test(malloc_info_refuses_options),
        cmocka_unit_test(malloc_stats_writes_to_stderr),
        cmocka_unit_test(malloc_trim_gives_memory_back),
        cmocka_unit_test(cfree_is_free),
        cmocka_unit_test(sized_frees_are_free),
        cmocka_unit_test(mallinfo2_makes_sense_beside_other_threads),
        cmocka_unit_test(blocks_are_filled_while_the_program_says_so),
        cmocka_unit_test(mallopt_takes_what_glibc_takes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
