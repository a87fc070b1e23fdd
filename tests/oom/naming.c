/*
 * naming.c: no memory for a name's text or for the tables: arena_set_name answers ENOMEM and changes nothing, and
 * arena_alloc_named leaves no block behind. The Nth mapping fails, for every N that naming thousands of blocks asks for.
 */
#define _GNU_SOURCE
#include "../support.h"

void *__real_mmap(void *start, size_t bytes, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *start, size_t bytes, int protection, int flags, int file, off_t offset);
int __real_munmap(void *start, size_t bytes);
int __wrap_munmap(void *start, size_t bytes);
void *__real_mremap(void *start, size_t bytes, size_t new_bytes, int flags, ...);
void *__wrap_mremap(void *start, size_t bytes, size_t new_bytes, int flags, ...);
int __real_madvise(void *start, size_t bytes, int advice);
int __wrap_madvise(void *start, size_t bytes, int advice);
void *__real_sbrk(intptr_t increment);
void *__wrap_sbrk(intptr_t increment);

static bool armed;
static size_t calls, fail_at, faults;

void *__wrap_mmap(void *start, size_t bytes, int protection, int flags, int file, off_t offset)
{
    if (armed && ++calls == fail_at) {
        faults++;
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(start, bytes, protection, flags, file, offset);
}

int __wrap_munmap(void *start, size_t bytes)
{
    return __real_munmap(start, bytes);
}

void *__wrap_mremap(void *start, size_t bytes, size_t new_bytes, int flags, ...)
{
    va_list rest;

    va_start(rest, flags);
    void *target = flags & MREMAP_FIXED ? va_arg(rest, void *) : NULL;
    va_end(rest);
    return __real_mremap(start, bytes, new_bytes, flags, target);
}

int __wrap_madvise(void *start, size_t bytes, int advice)
{
    return __real_madvise(start, bytes, advice);
}

void *__wrap_sbrk(intptr_t increment)
{
    return __real_sbrk(increment);
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
