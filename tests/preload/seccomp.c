/*
 * seccomp.c: allocation goes on in a sandbox that ends the process at a system call that glibc's malloc does not
 * make. membarrier is the library's one exception, but plain allocation never makes it.
 */
#define _GNU_SOURCE
#include "seccomp.h"

static void allocation_goes_on_in_a_sandbox(void **state)
{
    (void)state;
    run_both((case_t){.membarrier = false, .reach = false});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocation_goes_on_in_a_sandbox),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
