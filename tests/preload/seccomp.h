/*
 * seccomp.h: a sandbox that lets through what glibc's malloc needs and ends the process at any other system
 * call. Programs raise such filters once they have started, then go on allocating.
 */
#ifndef SECCOMP_H
#define SECCOMP_H

#include "preload_support.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static const int allowed[] = {
    /* memory, as malloc in glibc asks for it */
    SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_madvise, SYS_mprotect, SYS_futex, SYS_getrandom,
    SYS_sched_getaffinity,
    /* threads */
    SYS_clone, SYS_clone3, SYS_set_robust_list, SYS_rseq, SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_exit,
    SYS_gettid,
    /* the process */
    SYS_write, SYS_exit_group, SYS_rt_sigreturn, SYS_getpid, SYS_tgkill};
enum { ALLOWED = sizeof allowed / sizeof allowed[0] };

/* Says which call it was; the number stands in the registers that the signal saved. */
static void tell(int number, siginfo_t *info, void *context)
{
    char line[] = "system call 000 is not allowed\n";
    int call = info->si_syscall;

    (void)number;
    (void)context;
    for (int digit = 14; digit >= 12; digit--, call /= 10)
        line[digit] = (char)('0' + call % 10);
    syscall(SYS_write, STDERR_FILENO, line, sizeof line - 1);
    syscall(SYS_exit_group, 99);
}

static struct sock_filter let_through(int call, size_t distance)
{
    return (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, (unsigned char)distance,
                                        0);
}

static bool raise_filter(bool membarrier)
{
    struct sock_filter program[ALLOWED + 4];
    size_t length = 0;
    struct sigaction action = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO};

    program[length++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < ALLOWED; i++)
        program[length++] = let_through(allowed[i], ALLOWED + 1 - i);
    program[length++] = let_through(membarrier ? SYS_membarrier : allowed[0], 1);
    program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {.len = (unsigned short)length, .filter = program};
    must(sigaction(SIGSYS, &action, NULL) == 0);
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0;
}

/* Blocks of one size after the other, of which each fiftieth stays: what is cached may be all that keeps slabs from the
 * next size, in caches of other threads, too. */
static void leave_room_in_slabs(void)
{
    static const size_t sizes[] = {64, 96, 256, 768};
    static void *blocks[4 * MIB / 64];

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t count = 4 * MIB / sizes[i];
        for (size_t j = 0; j < count; j++)
            must((blocks[j] = malloc(sizes[i])) != NULL);
        for (size_t j = 0; j < count; j++)
            if (j % 50 != 0)
                free(blocks[j]);
    }
}

static void *churn_shortly(void *number)
{
    churn((uintptr_t)number + 1, 0.1, NULL);
    return NULL;
}

/* By calls that the filter lets through: cmocka and stdio make others. */
static void allocate_all_ways(bool reach)
{
    void *large[20];

    churn(1, 0.2, NULL);
    leave_room_in_slabs();
    for (size_t i = 0; i < 20; i++) {
        must((large[i] = malloc((i + 1) * MIB)) != NULL);
        memset(large[i], 1, (i + 1) * MIB);
        must((large[i] = realloc(large[i], (i + 2) * MIB)) != NULL);
    }
    for (size_t i = 0; i < 20; i++)
        free(large[i]);
    run_threads(4, churn_shortly);
    for (size_t i = 0; i < 2 && reach; i++) {
        malloc_trim(0);
        (void)mallinfo2();
        churn(2, 0.1, NULL);
    }
}

/* What one case allows the library, and asks of it. */
typedef struct {
    bool membarrier, reach;
} case_t;

static int sandbox_before_the_first_thread(void *context)
{
    const case_t *now = context;

    if (!raise_filter(now->membarrier))
        return 77;
    allocate_all_ways(now->reach);
    return 0;
}

static atomic_bool stop;

static void *churn_until_stop(void *number)
{
    churn((uintptr_t)number + 10, 60.0, &stop);
    return NULL;
}

static int sandbox_among_threads(void *context)
{
    const case_t *now = context;
    pthread_t threads[3];

    for (size_t i = 0; i < 3; i++)
        start_thread(&threads[i], churn_until_stop, (void *)(uintptr_t)i);
    churn(3, 0.1, NULL);
    if (!raise_filter(now->membarrier))
        return 77;
    allocate_all_ways(now->reach);
    stop = true;
    for (size_t i = 0; i < 3; i++)
        must(pthread_join(threads[i], NULL) == 0);
    return 0;
}

SUPPORT_UNUSED static void run_both(case_t now)
{
    int status = status_of_child(sandbox_before_the_first_thread, &now, 60);

    if (status == 77 << 8)
        skip(); /* no filter may be raised here */
    must_end_well(status);
    must_end_well(status_of_child(sandbox_among_threads, &now, 60));
}

#endif
