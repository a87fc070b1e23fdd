/*
 * naming.c: no memory for a name's text or for the tables: arena_set_name answers ENOMEM and changes nothing, and
 * arena_alloc_named leaves no block behind. The Nth mapping fails, for every N that naming thousands of blocks asks for.
 */
#define _GNU_SOURCE
#include "../oom_support.h"

static bool armed;
static size_t calls, fail_at, faults;

static bool fails(unsigned kind)
{
    bool fault = armed && kind == TAKE && ++calls == fail_at;

    faults += fault;
    return fault;
}

enum { BLOCKS = 2000 };

static char *blocks[BLOCKS];
static char names[BLOCKS][48];

static void name_all(arena_t *arena)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t before = faults;
        errno = 0;
        if (i % 2 == 0) {
            bool done = arena_set_name(arena, blocks[i], names[i]);
            must(done == (faults == before) && (done || errno == ENOMEM));
            must((arena_name_of(arena, blocks[i]) != NULL) == done);
            must(done || arena_set_name(arena, blocks[i], names[i])); /* now there is memory */
        } else {
            size_t live = stats_of(arena).live_blocks;
            char *block = arena_alloc_named(arena, 40, names[i]);
            must((block != NULL || errno == ENOMEM) && (block == NULL || faults == before || fail_at != 0));
            must(stats_of(arena).live_blocks == live + (block != NULL));
            arena_free(arena, block);
        }
    }
}

/* An answer below 256: 0 when nothing failed any more. */
static int fail_the_nth(void *nth)
{
    arena_t *arena = arena_create(NULL);
    for (size_t i = 0; i < BLOCKS; i++) {
        must((blocks[i] = arena_alloc(arena, 40)) != NULL);
        snprintf(names[i], sizeof names[i], "the name of the block with the number %zu", i);
    }
    fail_at = *(size_t *)nth;
    armed = true;
    name_all(arena);
    armed = false;
    for (size_t i = 0; i < BLOCKS; i += 2)
        must(strcmp(arena_name_of(arena, blocks[i]), names[i]) == 0);
    must(arena_check(arena) == 0);
    arena_destroy(arena);
    return faults == 0 ? 0 : 1;
}

static void naming_fails_cleanly_at_every_mapping(void **state)
{
    size_t nth = 0;
    int status = 256;

    (void)state;
    while (status == 256) {
        nth++;
        status = status_of_child(fail_the_nth, &nth, 60);
    }
    assert_int_equal(status, 0);
    print_message("%zu mappings failed\n", nth - 1);
    assert_true(nth > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(naming_fails_cleanly_at_every_mapping),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
