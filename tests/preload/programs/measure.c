/*
 * measure.c: what programs take. A small process of its own does this, because a child's peak memory begins
 * with its parent's: python's would hide every small program's.
 *
 * usage: measure tree FILE [NAME=VALUE]... -- PROGRAM [ARGUMENT]...
 *            Runs PROGRAM with these variables. Writes to FILE the seconds, the seconds of processor time and
 *            the KiB of the largest process, itself and its descendants together. Ends as it ended.
 *            SIGTERM, SIGINT and SIGQUIT are passed on.
 *        measure resident LIBRARY PROGRAM [ARGUMENT]...
 *            Prints the KiB resident when PROGRAM, under LIBRARY, ends. 77: it may not be traced here.
 *        measure pairs ROUNDS LIBRARY OTHER PROGRAM [ARGUMENT]...
 *            Runs PROGRAM under the one and the other in turn. Prints the median microseconds of each and the
 *            median of the differences.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_FAILED = 125, EXIT_NOT_ALLOWED = 77 };

extern char **environ;

static volatile pid_t measured;

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "measure: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILED);
}

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void pass_on(int number)
{
    if (measured > 0)
        kill(measured, number);
}

/* Ends this process the way `status` says another did. */
_Noreturn static void end_as(int status)
{
    if (WIFSIGNALED(status)) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    exit(WEXITSTATUS(status));
}

_Noreturn static void become(char **arguments)
{
    execvp(arguments[0], arguments);
    fprintf(stderr, "measure: %s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

static int measure_tree(char **arguments)
{
    const char *path = *arguments++;
    char **variables = arguments;
    int status;

    while (*arguments != NULL && strcmp(*arguments, "--") != 0)
        arguments++;
    if (*arguments == NULL || arguments[1] == NULL)
        return EXIT_FAILED;
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0)
        fail(path);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* so that servers which detach are counted */
    double start = seconds_now();
    measured = fork();
    if (measured < 0)
        fail("fork");
    if (measured == 0) {
        for (; strcmp(*variables, "--") != 0; variables++)
            putenv(*variables);
        become(arguments + 1);
    }
    signal(SIGTERM, pass_on);
    signal(SIGINT, pass_on);
    signal(SIGQUIT, pass_on);
    while (waitpid(measured, &status, 0) < 0)
        if (errno != EINTR)
            fail("waitpid");
    double seconds = seconds_now() - start;
    measured = 0;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    dprintf(file, "%.6f %.6f %ld\n", seconds, seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime),
            usage.ru_maxrss);
    end_as(status);
}

/* --- start-up --- */

static void wait_for_stop(pid_t child, int expected)
{
    int status;

    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status) || status >> 8 != expected) {
        fprintf(stderr, "measure: the child did not stop where it should: %#x\n", (unsigned)status);
        kill(child, SIGKILL);
        exit(EXIT_FAILED);
    }
}

static int measure_resident(char **arguments)
{
    char path[64], line[256];
    long kib = -1;
    pid_t child = fork();

    if (child < 0)
        fail("fork");
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(EXIT_NOT_ALLOWED);
        setenv("LD_PRELOAD", arguments[0], 1);
        become(arguments + 1);
    }
    int status;
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        return EXIT_NOT_ALLOWED;
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL)) != 0 ||
        ptrace(PTRACE_CONT, child, NULL, NULL) != 0)
        fail("ptrace");
    wait_for_stop(child, SIGTRAP | PTRACE_EVENT_EXIT << 8);
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)child);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail(path);
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "Rss:", 4) == 0)
            kib = strtol(line + 4, NULL, 10);
    fclose(file);
    ptrace(PTRACE_CONT, child, NULL, NULL);
    waitpid(child, &status, 0);
    printf("%ld\n", kib);
    return kib < 0;
}

static double microseconds_of_run(const char *library, char **arguments)
{
    pid_t child;
    int status;

    setenv("LD_PRELOAD", library, 1);
    double start = seconds_now();
    errno = posix_spawnp(&child, arguments[0], NULL, NULL, arguments, environ);
    if (errno != 0)
        fail(arguments[0]);
    if (waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "measure: %s ended with status %#x\n", arguments[0], (unsigned)status);
        exit(EXIT_FAILED);
    }
    return (seconds_now() - start) * 1e6;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static int measure_pairs(char **arguments)
{
    size_t rounds = strtoul(arguments[0], NULL, 10);
    double *times = calloc(3 * rounds, sizeof *times);

    if (rounds == 0 || times == NULL)
        return EXIT_FAILED;
    double *other = times + rounds, *difference = other + rounds;
    for (size_t i = 0; i < rounds; i++) {
        int first = i % 2 != 0; /* neither always comes first */
        for (int turn = 0; turn < 2; turn++)
            (turn == first ? times : other)[i] =
                microseconds_of_run(arguments[turn == first ? 1 : 2], arguments + 3);
        difference[i] = times[i] - other[i];
    }
    printf("%.1f %.1f %.1f\n", median(times, rounds), median(other, rounds), median(difference, rounds));
    free(times);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 5 && strcmp(argv[1], "tree") == 0)
        return measure_tree(argv + 2);
    if (argc >= 4 && strcmp(argv[1], "resident") == 0)
        return measure_resident(argv + 2);
    if (argc >= 6 && strcmp(argv[1], "pairs") == 0)
        return measure_pairs(argv + 2);
    fputs("usage: measure tree|resident|pairs ..., see measure.c\n", stderr);
    return EXIT_FAILED;
}
