/*
 * range_fail_nth.c: as fail_nth.c, for range arenas: the Nth system call for memory fails, once alone and once with
 * all that follow it. Allocations then fail with ENOMEM, frees never do, live blocks stay intact, the range checks out;
 * and once the fault is gone, everything works. Each N runs in a child of its own.
 */
#define _GNU_SOURCE
#include "../oom_support.h"

enum { BLOCKS = 300 };

static bool armed, following;
static long calls, fail_at, faults;

static bool fails(unsigned kind)
{
    if (!armed || kind == PURGE)
        return false;
    calls++;
    if (calls != fail_at && !(calls > fail_at && following))
        return false;
    faults++;
    return true;
}

typedef struct {
    arena_range_options_t options;
    arena_range_t *range;
    uint64_t blocks[BLOCKS], sizes[BLOCKS];
} load_t;

static bool has_memory(const load_t *load)
{
    return load->options.source != ARENA_RANGE_GIVEN;
}

static void put(load_t *load, size_t i)
{
    if (load->blocks[i] == ARENA_RANGE_NONE)
        return;
    must(!has_memory(load) || holds((void *)(uintptr_t)load->blocks[i], load->sizes[i], i));
    arena_range_free(load->range, load->blocks[i]);
    load->blocks[i] = ARENA_RANGE_NONE;
}

/* Answers how many allocations failed. */
static size_t take_all(load_t *load)
{
    size_t failed = 0;

    for (size_t i = 0; i < BLOCKS; i++) {
        load->sizes[i] = 1 + i * 7919 % 3000;
        errno = 0;
        load->blocks[i] = arena_range_alloc(load->range, load->sizes[i]);
        must(load->blocks[i] != ARENA_RANGE_NONE || errno == ENOMEM);
        failed += load->blocks[i] == ARENA_RANGE_NONE;
        if (load->blocks[i] != ARENA_RANGE_NONE && has_memory(load))
            fill((void *)(uintptr_t)load->blocks[i], load->sizes[i], i);
        if (i % 3 == 2)
            put(load, i - 1);
    }
    return failed;
}

static void free_all(load_t *load)
{
    for (size_t i = 0; i < BLOCKS; i++)
        put(load, i * 7 % BLOCKS);
    must(arena_range_check(load->range) == 0);
}

static int survive(void *context)
{
    load_t *load = context;

    armed = true;
    errno = 0;
    load->range = arena_range_create(&load->options);
    must(load->range != NULL || (errno == ENOMEM && faults > 0));
    if (load->range != NULL) {
        must(take_all(load) == 0 || faults > 0);
        must(arena_range_check(load->range) == 0);
        free_all(load);
    }
    armed = false;
    if (load->range == NULL)
        load->range = arena_range_create(&load->options);
    must(load->range != NULL && take_all(load) == 0);
    free_all(load);
    arena_range_destroy(load->range);
    return faults > 0 ? 0 : 1; /* 1: there are no more calls than that */
}

static void every_failure_is_survived(const arena_range_options_t *options)
{
    for (unsigned all = 0; all < 2; all++) {
        long n = 1;
        for (int status = 0; status == 0; n += n < 30 ? 1 : 7) {
            load_t load = {.options = *options};
            fail_at = n;
            following = all != 0;
            status = status_of_child(survive, &load, 30);
            if (status != 0 && status != 1 << 8)
                fail_msg("source %d, flags %#x, call %ld%s: status %#x", (int)options->source, options->flags,
                         n, all ? " and all that follow" : "", (unsigned)status);
        }
        printf("source %d, flags %#x: up to call %ld\n", (int)options->source, options->flags, n);
    }
}

static void a_given_range_survives(void **state)
{
    (void)state;
    every_failure_is_survived(&(arena_range_options_t){.bytes = (uint64_t)1 << 44});
    every_failure_is_survived(&(arena_range_options_t){.bytes = MIB, .flags = ARENA_RANGE_LIFO});
}

static void mapped_pages_survive(void **state)
{
    (void)state;
    every_failure_is_survived(&(arena_range_options_t){.source = ARENA_RANGE_MMAP});
    every_failure_is_survived(&(arena_range_options_t){.source = ARENA_RANGE_MMAP,
                                                       .flags = ARENA_RANGE_WITHIN_PAGES | ARENA_RANGE_FIFO});
}

static void the_break_survives(void **state)
{
    (void)state;
    every_failure_is_survived(&(arena_range_options_t){.source = ARENA_RANGE_SBRK});
    every_failure_is_survived(
        &(arena_range_options_t){.source = ARENA_RANGE_SBRK, .flags = ARENA_RANGE_INSIDE | ARENA_RANGE_LIFO});
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_given_range_survives),
        cmocka_unit_test(mapped_pages_survive),
        cmocka_unit_test(the_break_survives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
