/*
 * settings.c: the options, their limits and their defaults. The paths are left to those who list them.
 */
#include "settings.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

settings_t settings = {.rounds = 200, .report_descriptor = -1};

static const char *const default_queries[] = {"free software", "memory allocation", "warranty",
                                              "struct pointer", "\"general public license\""};

const char settings_help[] =
    "usage: index [options] [file or directory ...]\n"
    "Indexes text by several threads in arenas, answers queries, drops the arenas; then does the same with\n"
    "malloc and compares. Without paths: /usr/share/common-licenses /usr/include /usr/share/doc.\n"
    "  -t, --threads N    threads that build; default: processors online\n"
    "  -q, --query WORDS  a query, repeatable: documents with all words; \"in quotes\": the phrase\n"
    "  -r, --rounds N     how often the queries are repeated to be timed; default 200\n"
    "  -a, --arena        only with arenas\n"
    "  -m, --malloc       only with malloc\n"
    "  -l, --limit MIB    the most that each arena may map; running into it ends the run\n"
    "  -c, --check        verify every arena of the index\n"
    "  -j, --json         figures as JSON\n"
    "      --quiet        figures only\n"
    "  -h, --help         this text\n";

static bool set_option(int option)
{
    switch (option) {
    case 't':
        settings.threads = atoi(optarg);
        return settings.threads >= 1 && settings.threads <= MAX_THREADS;
    case 'q':
        if (settings.query_count == MAX_QUERIES)
            return false;
        settings.queries[settings.query_count++] = optarg;
        return true;
    case 'r':
        settings.rounds = atoi(optarg);
        return settings.rounds >= 1;
    case 'l':
        settings.limit_bytes = (size_t)strtoull(optarg, NULL, 10) << 20;
        return settings.limit_bytes > 0;
    case 'a':
    case 'm':
        settings.one_mode = true;
        settings.use_malloc = option == 'm';
        return true;
    case 'R':
        settings.report_descriptor = atoi(optarg);
        return true;
    default:
        settings.check |= option == 'c';
        settings.json |= option == 'j';
        settings.quiet |= option == 'Q' || option == 'j';
        return option != '?';
    }
}

bool settings_parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"threads", required_argument, NULL, 't'}, {"query", required_argument, NULL, 'q'},
        {"rounds", required_argument, NULL, 'r'},  {"limit", required_argument, NULL, 'l'},
        {"arena", no_argument, NULL, 'a'},         {"malloc", no_argument, NULL, 'm'},
        {"check", no_argument, NULL, 'c'},         {"json", no_argument, NULL, 'j'},
        {"quiet", no_argument, NULL, 'Q'},         {"report", required_argument, NULL, 'R'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    settings.threads = processors < 1 ? 1 : processors > MAX_THREADS ? MAX_THREADS : (int)processors;
    for (int option; (option = getopt_long(argc, argv, "t:q:r:l:amcjh", names, NULL)) != -1;) {
        if (option == 'h') {
            fputs(settings_help, stdout);
            exit(EXIT_SUCCESS);
        }
        if (!set_option(option))
            return false;
    }
    for (size_t i = 0; settings.query_count < sizeof default_queries / sizeof default_queries[0]; i++) {
        if (i == 0 && settings.query_count > 0)
            break;
        settings.queries[settings.query_count++] = default_queries[i];
    }
    return true;
}
