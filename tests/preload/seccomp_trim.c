/*
 * seccomp_trim.c: malloc_trim and mallinfo in the sandbox of seccomp.h. They reach into other threads' caches, so
 * that the library may make membarrier, unless ARENA_MEMBARRIER=0, but nothing else that glibc's would not.
 */
#define _GNU_SOURCE
#include "seccomp.h"

static void trimming_needs_membarrier_at_most(void **state)
{
    const char *setting = getenv("ARENA_MEMBARRIER");

    (void)state;
    run_both((case_t){.membarrier = under_library() && (setting == NULL || *setting != '0'), .reach = true});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trimming_needs_membarrier_at_most),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
