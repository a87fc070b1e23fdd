/*
 * compare.c: the same workloads on every rung of the ladder, on libarena and on the C library's malloc; the
 * lecture's space/time table with measured values, as text and as a picture.
 *
 *   compare [--quick] [--blocks N] [--limit SECONDS] [--traces FOLDER] [--picture FILE]
 *
 * introduces: arena_alloc() and arena_free() beside what students build
 */
#include "cell.h"
#include "picture.h"

#include <errno.h>
#include <getopt.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIGURE = 24, MAX_ROWS = 200, SMALL_TRACE_BYTES = 65536, QUICK_TRACES = 3 };

/* Where the lecture would say good: no worse than this. */
#define GOOD_SPACE 1.5 /* heap over payload, at their peaks */
#define GOOD_TIME 1.5  /* times a malloc of 2_pad.c, which the lecture calls good */

typedef struct {
    bool quick;
    size_t blocks, rounds;
    const char *traces;
    const char *picture;
    cell_limits_t limits;
} options_t;

/* One row of the wide tables. */
typedef struct {
    char name[40];
    size_t peak;
    cell_t cells[ALLOCATORS];
} row_t;

static row_t *rows[MAX_ROWS];
static size_t row_count;
static size_t broken_cells;

/* --- measuring --- */

static void measure(cell_t cells[ALLOCATORS], const workload_t *workload, const cell_limits_t *limits)
{
    for (int i = 0; i < ALLOCATORS; i++) {
        cell_measure(&cells[i], &rungs[i], workload, limits);
        if (cells[i].time_state >= CELL_WRONG)
            broken_cells++;
    }
}

static row_t *add_row(workload_t workload, const options_t *options)
{
    if (row_count == MAX_ROWS) {
        fprintf(stderr, "compare: more than %d workloads\n", MAX_ROWS);
        exit(EXIT_FAILURE);
    }
    row_t *row = calloc(1, sizeof *row);
    if (row == NULL) {
        perror("compare: calloc");
        exit(EXIT_FAILURE);
    }
    snprintf(row->name, sizeof row->name, "%s", workload.name);
    row->peak = workload.peak;
    fprintf(stderr, "compare: %s\n", row->name);
    measure(row->cells, &workload, &options->limits);
    workload_free(&workload);
    rows[row_count++] = row;
    return row;
}

static void measure_scale(picture_t *picture, const options_t *options)
{
    cell_limits_t limits = options->limits;

    limits.time_only = true;
    fprintf(stderr, "compare: growth of time\n");
    for (int s = 0; s < SCALES; s++) {
        picture->scale_blocks[s] = (options->blocks / 10) << s;
        workload_t workload = workload_churn("growth", picture->scale_blocks[s], 8, 8, 512);
        measure(picture->scale[s], &workload, &limits);
        workload_free(&workload);
    }
}

static void add_traces(const options_t *options)
{
    static const char *const patterns[] = {"*.rep", "*/*.rep", "*.rep.gz", "*/*.rep.gz"};
    glob_t found = {0};
    char pattern[4096];

    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        snprintf(pattern, sizeof pattern, "%s/%s", options->traces, patterns[i]);
        glob(pattern, i > 0 ? GLOB_APPEND : 0, NULL, &found);
    }
    if (found.gl_pathc == 0)
        printf("No traces in %s: skipped.\n", options->traces);
    for (size_t i = 0; i < found.gl_pathc && !(options->quick && i == QUICK_TRACES); i++) {
        workload_t workload;
        if (!workload_trace(&workload, found.gl_pathv[i]))
            printf("%s is no trace that can be read: skipped.\n", found.gl_pathv[i]);
        else if (workload.peak < SMALL_TRACE_BYTES)
            workload_free(&workload); /* its peak is lost among pages */
        else
            add_row(workload, options);
    }
    globfree(&found);
}

/* --- text --- */

/* A figure, or why there is none: never a number that was not measured. */
static const char *figure(char text[FIGURE], const cell_t *cell, cell_state_t state, double value,
                          const cell_limits_t *limits)
{
    switch (state) {
    case CELL_OK:
        snprintf(text, FIGURE, value < 10 ? "%.2f" : "%.0f", value);
        break;
    case CELL_TIME:
        snprintf(text, FIGURE, ">%gs", limits->seconds);
        break;
    case CELL_MEMORY:
        snprintf(text, FIGURE, "NULL");
        break;
    case CELL_WRONG:
        snprintf(text, FIGURE, "WRONG");
        break;
    case CELL_CRASH:
        snprintf(text, FIGURE, "SIGNAL%d", cell->signal);
    }
    return text;
}

static const char *verdict(cell_state_t state, double value, double good)
{
    if (state == CELL_WRONG || state == CELL_CRASH)
        return "broken";
    if (state == CELL_TIME)
        return "?";
    return state == CELL_OK && value <= good ? "good" : "bad";
}

static void print_claim(const char *said, const char *measured)
{
    printf(" %-5s%-7s", said != NULL ? said : "-", measured);
    printf("%c", said != NULL && *measured != '?' && strcmp(said, measured) != 0 ? '!' : ' ');
}

/* The lecture's table, and beside each of its words what was measured. */
static void print_summary(const picture_t *picture, const options_t *options)
{
    double good_ns = GOOD_TIME * picture->churn[1].malloc_ns;

    printf(
        "\nThe lecture's table: %zu live blocks of 8 to 512 bytes, an eighth replaced at random %zu times\n",
        options->blocks, options->rounds);
    printf("\n%-17s| heap / payload           | ns for a malloc          | ns for a free\n", "");
    printf("%-17s| %8s said measured  | %8s said measured  | %8s said measured\n", "", "", "", "");
    for (int i = 0; i < ALLOCATORS; i++) {
        const cell_t *cell = &picture->churn[i];
        double space = (double)cell->peak_heap / (double)picture->churn_peak;
        char text[FIGURE];
        printf("%-3s%-14s|", i < RUNGS ? rungs[i].name : "", rungs[i].title);
        printf(" %8s", figure(text, cell, cell->heap_state, space, &options->limits));
        print_claim(rungs[i].space, verdict(cell->heap_state, space, GOOD_SPACE));
        printf("   | %8s", figure(text, cell, cell->time_state, cell->malloc_ns, &options->limits));
        print_claim(rungs[i].malloc_time, verdict(cell->time_state, cell->malloc_ns, good_ns));
        printf("   | %8s", figure(text, cell, cell->time_state, cell->free_ns, &options->limits));
        print_claim(rungs[i].free_time, verdict(cell->time_state, cell->free_ns, good_ns));
        printf("\n");
    }
    printf("\nsaid: by the lecture (- nothing). measured: good is a heap of at most %.1f times the payload, "
           "and\n"
           "at most %.0f ns, %.1f times what a malloc of the pad takes. ! where the two differ.\n",
           GOOD_SPACE, good_ns, GOOD_TIME);
    if (options->quick)
        printf(
            "--quick: too few blocks for searches to show, and too few calls for their time to be exact.\n");
}

typedef enum { TABLE_TIME, TABLE_SPACE } table_t;

static void print_head(const char *title)
{
    printf("\n%s\n\n%-26s", title, "");
    for (int i = 0; i < ALLOCATORS; i++)
        printf("%9s", rungs[i].name);
    printf("\n");
}

static void print_rows(table_t table, const options_t *options)
{
    char text[FIGURE];

    print_head(table == TABLE_TIME ? "ns for each malloc or free" : "heap / payload, at their peaks");
    for (size_t r = 0; r < row_count; r++) {
        printf("%-26s", rows[r]->name);
        for (int i = 0; i < ALLOCATORS; i++) {
            const cell_t *cell = &rows[r]->cells[i];
            double value =
                table == TABLE_TIME ? cell->op_ns : (double)cell->peak_heap / (double)rows[r]->peak;
            cell_state_t state = table == TABLE_TIME ? cell->time_state : cell->heap_state;
            printf("%9s", figure(text, cell, state, value, &options->limits));
        }
        printf("\n");
    }
}

static void print_scale(const picture_t *picture, bool frees, const options_t *options)
{
    char text[FIGURE];

    print_head(frees ? "ns for a free, by the number of live blocks"
                     : "ns for a malloc, by the number of live blocks");
    for (int s = 0; s < SCALES; s++) {
        printf("%-26zu", picture->scale_blocks[s]);
        for (int i = 0; i < ALLOCATORS; i++) {
            const cell_t *cell = &picture->scale[s][i];
            double value = frees ? cell->free_ns : cell->malloc_ns;
            printf("%9s", figure(text, cell, cell->time_state, value, &options->limits));
        }
        printf("\n");
    }
}

/* --- the program --- */

static void usage(void)
{
    fprintf(stderr,
            "usage: compare [--quick] [--blocks N] [--limit SECONDS] [--traces FOLDER] [--picture FILE]\n");
    exit(EXIT_FAILURE);
}

static options_t options_read(int argc, char **argv)
{
    static const struct option known[] = {
        {"quick", no_argument, NULL, 'q'},         {"blocks", required_argument, NULL, 'b'},
        {"limit", required_argument, NULL, 'l'},   {"traces", required_argument, NULL, 't'},
        {"picture", required_argument, NULL, 'p'}, {0}};
    options_t options = {
        .blocks = 10000,
        .rounds = 40,
        .traces = LADDER_TRACES,
        .picture = "ladder.svg",
        .limits = {.seconds = 3, .bytes = (size_t)1 << 30, .repeats = 5, .samples = CELL_SAMPLES}};

    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 'q') {
            options.quick = true;
            options.blocks = 300;
            options.rounds = 4;
            options.limits.repeats = 1;
            options.limits.samples = 12;
        } else if (c == 'b') {
            options.blocks = strtoul(optarg, NULL, 10);
        } else if (c == 'l') {
            options.limits.seconds = strtod(optarg, NULL);
        } else if (c == 't') {
            options.traces = optarg;
        } else if (c == 'p') {
            options.picture = optarg;
        } else {
            usage();
        }
    }
    if (optind != argc || options.blocks < 100 || options.blocks > 10000000 ||
        !(options.limits.seconds >= 0.01 && options.limits.seconds <= 1e5))
        usage();
    return options;
}

static void measure_all(picture_t *picture, const options_t *options)
{
    size_t n = options->blocks;

    for (int random_sizes = 0; random_sizes < 2; random_sizes++)
        for (order_t order = ORDER_LIFO; order <= ORDER_RANDOM; order++)
            add_row(workload_order(n, order, random_sizes != 0), options);
    row_t *row = add_row(workload_churn("churn, 8 to 512 B", n, options->rounds, 8, 512), options);
    memcpy(picture->churn, row->cells, sizeof picture->churn);
    picture->churn_peak = row->peak;
    row = add_row(workload_phases(n), options);
    memcpy(picture->phases, row->cells, sizeof picture->phases);
    picture->phases_peak = row->peak;
    add_row(workload_churn("churn, 256 KiB to 1 MiB", 64, options->rounds, 256 << 10, 1 << 20), options);
    add_row(workload_worst("worst for lists", n, 32, 1000), options);
    add_row(workload_worst("worst for bins", n / 2, 5000, 6000), options);
    add_traces(options);
    measure_scale(picture, options);
}

int main(int argc, char **argv)
{
    static picture_t picture;
    options_t options = options_read(argc, argv);
    char text[200];

    measure_all(&picture, &options);
    print_summary(&picture, &options);
    print_rows(TABLE_TIME, &options);
    print_rows(TABLE_SPACE, &options);
    print_scale(&picture, false, &options);
    print_scale(&picture, true, &options);
    printf("\n>%gs: ended by the time limit. NULL: no memory within %zu MiB. Times are the best of %d runs, "
           "each in a\n"
           "process of its own; memory is what came into use, with all of each block written and verified.\n",
           options.limits.seconds, options.limits.bytes >> 20, options.limits.repeats);

    snprintf(text, sizeof text,
             "Bars: %zu live blocks of 8 to 512 bytes, an eighth replaced at random %zu times.",
             options.blocks, options.rounds);
    picture.text = text;
    if (!picture_write(&picture, options.picture)) {
        fprintf(stderr, "compare: %s: %s\n", options.picture, strerror(errno));
        return EXIT_FAILURE;
    }
    printf("Picture: %s\n", options.picture);
    for (size_t r = 0; r < row_count; r++)
        free(rows[r]);
    if (broken_cells != 0)
        fprintf(stderr, "compare: %zu cells are broken\n", broken_cells);
    return broken_cells == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
