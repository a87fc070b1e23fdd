/*
 * compare.c: starts this program again with --arena and with --malloc, and has each write its report into a
 * pipe.
 */
#include "compare.h"

#include "corpus.h"
#include "report.h"
#include "settings.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Reads everything once, so that both runs find it in the page cache. */
static bool warm_page_cache(char **paths, int count)
{
    static char window[65536];
    corpus_t corpus;
    bool good = corpus_list(&corpus, paths, count);
    for (size_t i = 0; good && i < corpus.count; i++) {
        int descriptor = open(corpus.documents[i].path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (descriptor < 0)
            continue;
        while (read(descriptor, window, sizeof window) > 0) {
        }
        close(descriptor);
    }
    corpus_drop(&corpus);
    return good;
}

/* In the child: the same command line, with the options that make it one of the two runs. */
static _Noreturn void run_self(int argc, char **argv, const char *mode, bool quiet, int descriptor)
{
    char report[48];
    snprintf(report, sizeof report, "--report=%d", descriptor);
    char **arguments = calloc((size_t)argc + 4, sizeof *arguments);
    if (arguments == NULL)
        _exit(127);
    size_t used = 0;
    arguments[used++] = argv[0];
    arguments[used++] = (char *)(uintptr_t)mode; /* execv() does not write to them */
    arguments[used++] = report;
    if (quiet)
        arguments[used++] = (char *)(uintptr_t) "--quiet";
    for (int i = 1; i < argc; i++) {
        arguments[used++] = argv[i];
    }
    execv("/proc/self/exe", arguments);
    perror("index: /proc/self/exe");
    _exit(127);
}

/* Runs this program as a fresh process, so that the kernel's figures are of one mode alone. */
static bool run_mode(int argc, char **argv, const char *mode, bool quiet, report_t *report)
{
    int ends[2], status = 0;
    if (pipe(ends) != 0) {
        perror("index: pipe");
        return false;
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        run_self(argc, argv, mode, quiet, ends[1]);
    }
    close(ends[1]);
    bool good = child > 0 && read(ends[0], report, sizeof *report) == (ssize_t)sizeof *report;
    close(ends[0]);
    if (child < 0)
        perror("index: fork");
    if (child > 0 && waitpid(child, &status, 0) == child && status != 0)
        good = false;
    if (WIFSIGNALED(status))
        fprintf(stderr, "index: the run with %s was ended by signal %d\n", mode, WTERMSIG(status));
    return good;
}

bool compare_modes(int argc, char **argv)
{
    report_t arena, library;
    if (!warm_page_cache(argv + optind, argc - optind))
        return false;
    if (!run_mode(argc, argv, "--arena", settings.quiet || settings.json, &arena))
        return false;
    if (!run_mode(argc, argv, "--malloc", true, &library))
        return false;
    if (settings.json) {
        printf("[");
        report_print_json("arena", &arena);
        printf(",\n ");
        report_print_json("malloc", &library);
        printf("]\n");
    } else {
        report_print_comparison(&arena, &library);
    }
    bool equal = arena.index_sum == library.index_sum && arena.answer_sum == library.answer_sum;
    fprintf(equal && !settings.json ? stdout : stderr,
            equal ? "both runs built the same index (%016llx) and gave the same answers (%016llx)\n"
                  : "index: the runs differ, or the files did meanwhile: %016llx %016llx, %016llx %016llx\n",
            (unsigned long long)arena.index_sum, (unsigned long long)arena.answer_sum,
            (unsigned long long)library.index_sum, (unsigned long long)library.answer_sum);
    return equal;
}
