/*
 * picture.c: the lecture's space/time table as bars, heap size over time, and time over the number of live
 * blocks. A cell without a result has no bar and no point; a bar says why.
 */
#include "picture.h"

#include "svg.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *colour;
    bool dashed;
    double width;
} styles[ALLOCATORS] = {
    {"#d62728", false, 1.6}, {"#ff7f0e", false, 1.6}, {"#2ca02c", false, 1.6}, {"#2ca02c", true, 1.6},
    {"#1f77b4", false, 1.6}, {"#1f77b4", true, 1.6},  {"#9467bd", false, 1.6}, {"#8c564b", false, 1.6},
    {"#e377c2", false, 1.6}, {"black", false, 2.4},   {"#7f7f7f", true, 2.4},
};

enum { WIDTH = 1120, HEIGHT = 1200, BARS_TOP = 96, ROW = 24, ASKED_WIDTH = 6 };
#define MIB 1048576.0
#define ASKED_COLOUR "#c8c8c8"

/* --- bars --- */

typedef struct {
    const char *title;
    double x, width, least, most; /* a logarithmic scale */
} bars_t;

static void bar_text(char *text, size_t room, cell_state_t state, double value)
{
    if (state == CELL_TIME)
        snprintf(text, room, "time limit");
    else if (state == CELL_MEMORY)
        snprintf(text, room, "no memory");
    else if (state != CELL_OK)
        snprintf(text, room, "broken");
    else
        snprintf(text, room, value < 10 ? "%.2f" : "%.0f", value);
}

static void bar(FILE *svg, const bars_t *bars, int row, cell_state_t state, double value, const char *claim)
{
    double y = BARS_TOP + 30 + row * ROW, length = 0;
    char text[60];

    if (state == CELL_OK && value > bars->least)
        length = bars->width * log(value / bars->least) / log(bars->most / bars->least);
    svg_rect(svg, bars->x, y, length > 1 ? length : 1, ROW - 8, styles[row].colour, "none");
    bar_text(text, sizeof text, state, value);
    if (claim != NULL)
        snprintf(text + strlen(text), sizeof text - strlen(text), "  (%s)", claim);
    svg_text(svg, bars->x + length + 6, y + ROW - 12, 12, "start", text);
}

static void draw_bars(FILE *svg, const picture_t *p)
{
    static const bars_t space = {"heap / payload, at their peaks", 170, 170, 1, 20},
                        mallocs = {"ns for a malloc", 480, 190, 5, 20000},
                        frees = {"ns for a free", 800, 190, 1, 20000};

    svg_text(svg, space.x, BARS_TOP + 16, 14, "start", space.title);
    svg_text(svg, mallocs.x, BARS_TOP + 16, 14, "start", mallocs.title);
    svg_text(svg, frees.x, BARS_TOP + 16, 14, "start", frees.title);
    for (int i = 0; i < ALLOCATORS; i++) {
        const cell_t *cell = &p->churn[i];
        char name[40];
        snprintf(name, sizeof name, i < RUNGS ? "%s  %s" : "%.0s%s", rungs[i].name, rungs[i].title);
        svg_text(svg, 24, BARS_TOP + 30 + i * ROW + ROW - 12, 13, "start", name);
        bar(svg, &space, i, cell->heap_state, (double)cell->peak_heap / (double)p->churn_peak,
            rungs[i].space);
        bar(svg, &mallocs, i, cell->time_state, cell->malloc_ns, rungs[i].malloc_time);
        bar(svg, &frees, i, cell->time_state, cell->free_ns, rungs[i].free_time);
    }
}

/* --- lines --- */

typedef struct {
    const char *title, *x_title;
    double x, y, width, height; /* of the field */
    double x_least, x_most, y_least, y_most;
    bool x_log, y_log;
    double y_factor; /* from one line of a logarithmic scale to the next */
} field_t;

static double share(double value, double least, double most, bool is_log)
{
    return is_log ? log(value / least) / log(most / least) : (value - least) / (most - least);
}

static void field_point(FILE *svg, const field_t *f, double x, double y)
{
    if (y < f->y_least)
        y = f->y_least;
    svg_point(svg, f->x + f->width * share(x, f->x_least, f->x_most, f->x_log),
              f->y + f->height * (1 - share(y, f->y_least, f->y_most, f->y_log)));
}

/* Steps of 1, 2 or 5 times a power of ten, at least a fifth of the span. */
static double tick_step(double span)
{
    double power = pow(10, floor(log10(span / 5)));

    return power * (span / 5 / power <= 1 ? 1 : span / 5 / power <= 2 ? 2 : span / 5 / power <= 5 ? 5 : 10);
}

static void tick_text(char *text, size_t room, double value)
{
    if (value >= 1e6)
        snprintf(text, room, "%g M", value / 1e6);
    else if (value >= 1e3)
        snprintf(text, room, "%g k", value / 1e3);
    else
        snprintf(text, room, "%.3g", value);
}

static void tick(FILE *svg, const field_t *f, double value, bool is_x)
{
    char text[30];
    double at = is_x ? f->x + f->width * share(value, f->x_least, f->x_most, f->x_log)
                     : f->y + f->height * (1 - share(value, f->y_least, f->y_most, f->y_log));

    tick_text(text, sizeof text, value);
    if (is_x) {
        svg_line(svg, at, f->y, at, f->y + f->height, "#e4e4e4");
        svg_text(svg, at, f->y + f->height + 16, 11, "middle", text);
    } else {
        svg_line(svg, f->x, at, f->x + f->width, at, "#e4e4e4");
        svg_text(svg, f->x - 6, at + 4, 11, "end", text);
    }
}

static void ticks(FILE *svg, const field_t *f, double least, double most, bool is_log, bool is_x)
{
    if (is_log) {
        for (double value = least; value <= most * 1.001; value *= is_x ? 2 : f->y_factor)
            tick(svg, f, value, is_x);
        return;
    }
    double step = tick_step(most - least);
    for (double value = least; value <= most; value += step)
        tick(svg, f, value, is_x);
}

static void draw_field(FILE *svg, const field_t *f)
{
    svg_text(svg, f->x, f->y - 12, 14, "start", f->title);
    ticks(svg, f, f->x_least, f->x_most, f->x_log, true);
    ticks(svg, f, f->y_least, f->y_most, f->y_log, false);
    svg_rect(svg, f->x, f->y, f->width, f->height, "none", "#808080");
    svg_text(svg, f->x + f->width, f->y + f->height + 32, 12, "end", f->x_title);
}

static void draw_heap(FILE *svg, field_t field, const cell_t cells[ALLOCATORS])
{
    const cell_t *longest = &cells[0];

    for (int i = 1; i < ALLOCATORS; i++)
        if (cells[i].samples_used > longest->samples_used)
            longest = &cells[i];
    if (longest->samples_used == 0)
        return;
    field.x_most = (double)longest->samples[longest->samples_used - 1].op;
    draw_field(svg, &field);
    svg_path_begin(svg, ASKED_COLOUR, ASKED_WIDTH, false); /* what is asked for, the same in every cell */
    for (size_t s = 0; s < longest->samples_used; s++)
        field_point(svg, &field, (double)longest->samples[s].op, (double)longest->samples[s].payload / MIB);
    svg_path_end(svg);
    for (int i = 0; i < ALLOCATORS; i++) {
        svg_path_begin(svg, styles[i].colour, styles[i].width, styles[i].dashed);
        for (size_t s = 0; s < cells[i].samples_used; s++)
            field_point(svg, &field, (double)cells[i].samples[s].op, (double)cells[i].samples[s].heap / MIB);
        svg_path_end(svg);
    }
}

static void draw_scale(FILE *svg, field_t field, const picture_t *p, bool frees)
{
    field.x_least = (double)p->scale_blocks[0];
    field.x_most = (double)p->scale_blocks[SCALES - 1];
    draw_field(svg, &field);
    for (int i = 0; i < ALLOCATORS; i++) {
        svg_path_begin(svg, styles[i].colour, styles[i].width, styles[i].dashed);
        for (int s = 0; s < SCALES; s++) {
            const cell_t *cell = &p->scale[s][i];
            if (cell->time_state == CELL_OK)
                field_point(svg, &field, (double)p->scale_blocks[s], frees ? cell->free_ns : cell->malloc_ns);
        }
        svg_path_end(svg);
    }
}

static void draw_legend(FILE *svg, double y)
{
    for (int i = 0; i <= ALLOCATORS; i++) {
        double x = 24 + i % 6 * 180, at = y + i / 6 * 18;
        const char *colour = i < ALLOCATORS ? styles[i].colour : ASKED_COLOUR;
        char text[60];
        svg_path_begin(svg, colour, i < ALLOCATORS ? styles[i].width + 0.8 : ASKED_WIDTH,
                       i < ALLOCATORS && styles[i].dashed);
        svg_point(svg, x, at - 4);
        svg_point(svg, x + 26, at - 4);
        svg_path_end(svg);
        if (i < RUNGS)
            snprintf(text, sizeof text, "%s %s", rungs[i].name, rungs[i].title);
        svg_text(svg, x + 32, at, 12, "start",
                 i < RUNGS        ? text
                 : i < ALLOCATORS ? rungs[i].title
                                  : "asked for (payload)");
    }
}

/* From about a quarter of the payload's peak to the largest heap. */
static field_t heap_field(const char *title, double x, const cell_t cells[ALLOCATORS], size_t payload)
{
    double least = pow(2, floor(log2((double)payload / 4 / MIB))), most = (double)payload;

    for (int i = 0; i < ALLOCATORS; i++)
        if ((double)cells[i].peak_heap > most)
            most = (double)cells[i].peak_heap;
    return (field_t){.title = title,
                     .x_title = "operations",
                     .x = x,
                     .y = 500,
                     .width = 470,
                     .height = 270,
                     .y_least = least,
                     .y_most = most / MIB * 1.1,
                     .y_log = true,
                     .y_factor = 2};
}

bool picture_write(const picture_t *p, const char *path)
{
    FILE *svg = svg_open(path, WIDTH, HEIGHT);

    if (svg == NULL)
        return false;
    svg_text(svg, 24, 36, 20, "start",
             "A ladder of six allocators and one, with libarena and the C library's malloc");
    svg_text(svg, 24, 60, 13, "start", p->text);
    svg_text(svg, 24, 78, 13, "start", "In brackets what the lecture says. Scales of bars are logarithmic.");
    draw_bars(svg, p);
    draw_legend(svg, 420);
    draw_heap(svg, heap_field("churn: heap over time, MiB, logarithmic", 60, p->churn, p->churn_peak),
              p->churn);
    draw_heap(svg,
              heap_field("phases (small, large, small): heap over time, MiB", 620, p->phases, p->phases_peak),
              p->phases);
    field_t scale = {.title = "churn: ns for a malloc",
                     .x_title = "live blocks",
                     .x = 60,
                     .y = 870,
                     .width = 470,
                     .height = 270,
                     .y_least = 1,
                     .y_most = 100000,
                     .x_log = true,
                     .y_log = true,
                     .y_factor = 10};
    draw_scale(svg, scale, p, false);
    scale.title = "churn: ns for a free";
    scale.x = 620;
    draw_scale(svg, scale, p, true);
    return svg_close(svg);
}
