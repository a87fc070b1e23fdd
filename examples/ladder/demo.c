/*
 * demo.c: the lecture's fragmentation demo, drawn step by step for each rung: blocks of 3, 1, 4, 6 and 2
 * units of 16 bytes. The rungs are compiled to grow by no more than is missing (2_pad.c: 128 bytes), so that
 * it is seen when a heap must grow.
 *
 *   demo [--bytes] [--picture FILE]      --bytes: blocks of 3, 1, 4, 6 and 2 bytes, as the lecture has them
 */
#include "rungs.h"
#include "svg.h"

#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STEPS = 11, BLOCKS = 5, CELL = 8, PAGE = 4096, MAX_CHUNKS = 2048, ROW = 400 };

/* Positive: allocate that block. Negative: free it. */
static const int script[STEPS] = {0, 1, 2, 3, -2, 4, -3, 5, -1, -4, -5};
static const size_t units[BLOCKS + 1] = {0, 3, 1, 4, 6, 2};
static size_t unit = 16;

/* What the eye should find. */
static const char *const remarks[RUNGS] = {
    "Nothing freed serves again: every block moves the break.",
    "The same, but the pad saves moves of the break.",
    "p3 freed: one chunk with p2's. p5 takes its tail end.",
    "p3 freed: two chunks side by side stay two.",
    "A footer behind each block. p5 takes the front.",
    "Half a unit in front of each block, no footer in use.",
    "As 4: the bins only find a chunk faster.",
    "A page for each block, and none for a freed one.",
    "A page for each size. p2's hole serves its size alone.",
};

typedef struct {
    const char *start;
    size_t bytes;
    bool is_free;
} chunk_t;

/* The heap after a step. */
typedef struct {
    chunk_t chunks[MAX_CHUNKS];
    size_t chunk_count;
    const char *end; /* the break */
    const char *blocks[BLOCKS + 1];
    bool live[BLOCKS + 1], lost[BLOCKS + 1]; /* lost: freed, and yet in a chunk in use */
} step_t;

/*
 * A row of cells, 8 bytes each: '1' to '5' a block, '#' tags and rounding, '-' free, 'x' freed and lost, '.' pad;
 * '|' is a boundary between chunks, '~' stands for the rest of a page. ':', ' ' and '_' are the boundary, the
 * cells and the rest of a page that is not there.
 */
typedef struct {
    char rows[STEPS][ROW];
} drawing_t;

static step_t steps[STEPS];

/* --- playing --- */

static void note_chunk(void *context, const void *chunk, size_t bytes, bool is_free)
{
    step_t *step = context;

    if (step->chunk_count < MAX_CHUNKS)
        step->chunks[step->chunk_count++] = (chunk_t){chunk, bytes, is_free};
}

static void play(const rung_t *rung)
{
    for (int s = 0; s < STEPS; s++) {
        int number = abs(script[s]);
        step_t *step = &steps[s];
        if (s > 0)
            *step = steps[s - 1];
        step->chunk_count = 0;
        if (script[s] > 0) {
            step->blocks[number] = rung->malloc(units[number] * unit);
            if (step->blocks[number] == NULL)
                _exit(EXIT_FAILURE);
            step->live[number] = true;
        } else if (script[s] < 0) {
            rung->free((void *)(uintptr_t)step->blocks[number]);
            step->live[number] = false;
            step->lost[number] = rung < &rungs[2];
        }
        rung->walk(note_chunk, step);
        step->end = sbrk(0);
    }
}

/* --- drawing: the child's part --- */

static void put(char *row, char cell)
{
    size_t length = strlen(row);

    if (length + 1 < ROW) {
        row[length] = cell;
        row[length + 1] = '\0';
    }
}

static bool within(const char *at, const char *start, size_t bytes)
{
    return start != NULL && at >= start && at < start + bytes;
}

/* What lies at an address; `other` if neither a block nor a free chunk. */
static char cell_at(const step_t *step, const char *at, char other)
{
    for (int i = 1; i <= BLOCKS; i++)
        if ((step->live[i] || step->lost[i]) && within(at, step->blocks[i], units[i] * unit))
            return step->live[i] ? (char)('0' + i) : 'x';
    for (size_t i = 0; i < step->chunk_count; i++)
        if (within(at, step->chunks[i].start, step->chunks[i].bytes))
            return step->chunks[i].is_free ? '-' : '#';
    return other;
}

static bool is_boundary(const step_t *step, const char *at)
{
    for (size_t i = 0; i < step->chunk_count; i++)
        if (step->chunks[i].start == at || step->chunks[i].start + step->chunks[i].bytes == at)
            return true;
    return at == step->end;
}

/* The heap from its start to the break. */
static void draw_heap(drawing_t *drawing, char other)
{
    const char *start = steps[STEPS - 1].chunks[0].start;

    for (int s = 1; s < STEPS; s++) {
        for (const char *at = start; at < steps[s].end; at += CELL) {
            if (is_boundary(&steps[s], at))
                put(drawing->rows[s], '|');
            put(drawing->rows[s], cell_at(&steps[s], at, other));
        }
        put(drawing->rows[s], '|');
    }
}

static const char *page_of(const char *at)
{
    return at - (uintptr_t)at % PAGE;
}

static int by_address(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return (*x > *y) - (*x < *y);
}

/* How much of a page is drawn: up to the end of its largest block, or two blocks of its class. */
static size_t page_shown(const char *page)
{
    size_t shown = 0, class_bytes = 0;

    for (int s = 0; s < STEPS; s++) {
        for (int i = 1; i <= BLOCKS; i++) {
            if (!steps[s].live[i] || page_of(steps[s].blocks[i]) != page)
                continue;
            size_t end = (size_t)(steps[s].blocks[i] + units[i] * unit - page);
            shown = end > shown ? end : shown;
        }
        for (size_t i = 0; i < steps[s].chunk_count; i++)
            if (page_of(steps[s].chunks[i].start) == page)
                class_bytes = steps[s].chunks[i].bytes;
    }
    shown = (shown + CELL - 1) / CELL * CELL;
    return shown > 2 * class_bytes ? shown : 2 * class_bytes;
}

/* Whether a page is in use: by a block, or by free blocks of the heap. */
static bool page_there(const step_t *step, const char *page)
{
    for (int i = 1; i <= BLOCKS; i++)
        if (step->live[i] && page_of(step->blocks[i]) == page)
            return true;
    for (size_t i = 0; i < step->chunk_count; i++)
        if (page_of(step->chunks[i].start) == page)
            return true;
    return false;
}

static void draw_page(char *row, const step_t *step, const char *page)
{
    bool there = page_there(step, page);
    size_t shown = page_shown(page);

    put(row, there ? '|' : ':');
    for (size_t offset = 0; offset < shown; offset += CELL) {
        if (there && offset > 0 && is_boundary(step, page + offset))
            put(row, '|');
        put(row, there ? cell_at(step, page + offset, step->chunk_count == 0 ? '#' : '.') : ' ');
    }
    put(row, there ? '~' : '_');
}

/* Pages that hold a block at some time, each in its place. */
static void draw_pages(drawing_t *drawing)
{
    const char *pages[BLOCKS];
    size_t count = 0;

    for (int i = 1; i <= BLOCKS; i++) {
        const char *page = page_of(steps[STEPS - 1].blocks[i]);
        bool known = false;
        for (size_t p = 0; p < count; p++)
            known = known || pages[p] == page;
        if (!known)
            pages[count++] = page;
    }
    qsort(pages, count, sizeof *pages, by_address);
    for (int s = 1; s < STEPS; s++)
        for (size_t p = 0; p < count; p++)
            draw_page(drawing->rows[s], &steps[s], pages[p]);
}

/* A child plays, since each rung wants the break for itself. */
static void draw(drawing_t *drawing, const rung_t *rung)
{
    int status;

    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        play(rung);
        if (rung >= &rungs[7])
            draw_pages(drawing);
        else
            draw_heap(drawing, rung == &rungs[1] ? '.' : '#');
        _exit(EXIT_SUCCESS);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "demo: rung %s failed\n", rung->name);
        exit(EXIT_FAILURE);
    }
}

/* --- text and picture: the parent's part --- */

static void step_label(char label[24], int s)
{
    int number = abs(script[s]);

    if (script[s] > 0)
        snprintf(label, 24, "p%d = malloc(%zu)", number, units[number]);
    else
        snprintf(label, 24, "free(p%d)", number);
}

static void print_drawing(const drawing_t *drawing, const rung_t *rung)
{
    char label[24], row[ROW];

    printf("\n%s %s. %s\n\n", rung->name, rung->title, unit == 1 ? "" : remarks[rung - rungs]);
    for (int s = 1; s < STEPS; s++) {
        step_label(label, s);
        snprintf(row, sizeof row, "%s", drawing->rows[s]);
        for (char *at = row; (at = strpbrk(at, ":_")) != NULL;)
            *at = ' ';
        printf("  %-16s %s\n", label, row);
    }
}

static const char *colour_of(char cell)
{
    static const char *const blocks[] = {"#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#edc948"};

    if (cell >= '1' && cell <= '5')
        return blocks[cell - '1'];
    return cell == '#' ? "#555555" : cell == 'x' ? "#f3c1bd" : "#e8e8e8";
}

enum {
    CELL_WIDTH = 6,
    BAR = 15,
    LINE = 19,
    LABEL = 118,
    PANEL_WIDTH = 620,
    PANEL_HEIGHT = 256,
    LEFT = 20,
    TOP = 60
};

/* How far a cell of a row takes the pen. */
static double advance(char cell)
{
    return cell == '|' || cell == ':' ? 0 : cell == '~' || cell == '_' ? 3 * CELL_WIDTH : CELL_WIDTH;
}

static void svg_cell(FILE *svg, double x, double y, char cell)
{
    switch (cell) {
    case '|':
        svg_line(svg, x, y - 2, x, y + BAR + 2, "black");
        break;
    case '~':
        svg_text(svg, x + 2, y + BAR - 3, 12, "start", "...");
        break;
    case '-':
        svg_line(svg, x, y + 0.5, x + CELL_WIDTH, y + 0.5, "#909090");
        svg_line(svg, x, y + BAR - 0.5, x + CELL_WIDTH, y + BAR - 0.5, "#909090");
        break;
    case ' ':
    case ':':
    case '_':
        break;
    default:
        svg_rect(svg, x, y, CELL_WIDTH, BAR, colour_of(cell), "none");
    }
}

static void svg_row(FILE *svg, double x, double y, const char *row)
{
    for (; *row != '\0'; x += advance(*row++))
        svg_cell(svg, x, y, *row);
}

/* A number in each block, where it begins. */
static void svg_numbers(FILE *svg, double x, double y, const char *row)
{
    char last = '\0';

    for (; *row != '\0'; row++) {
        char text[2] = {*row, '\0'};
        if (*row >= '1' && *row <= '5' && *row != last)
            svg_text(svg, x + 3, y + BAR - 3, 12, "start", text);
        x += advance(*row);
        last = *row;
    }
}

static void svg_drawing(FILE *svg, const drawing_t *drawing, int i)
{
    double x = LEFT + i % 2 * PANEL_WIDTH, y = TOP + i / 2 * PANEL_HEIGHT;
    char text[80];

    snprintf(text, sizeof text, "%s  %s", rungs[i].name, rungs[i].title);
    svg_text(svg, x, y + 14, 15, "start", text);
    svg_text(svg, x + LABEL + 24, y + 14, 12, "start", unit == 1 ? "" : remarks[i]);
    for (int s = 1; s < STEPS; s++) {
        step_label(text, s);
        svg_text(svg, x, y + 22 + s * LINE - 8, 12, "start", text);
        svg_row(svg, x + LABEL, y + 22 + s * LINE - 20, drawing->rows[s]);
        svg_numbers(svg, x + LABEL, y + 22 + s * LINE - 20, drawing->rows[s]);
    }
}

static void svg_legend(FILE *svg, double x, double y)
{
    static const struct {
        const char *row, *text;
    } lines[] = {
        {"|111111|", "a block in use"},
        {"|##", "header, footer, rounding"},
        {"|----|", "free"},
        {"|xxxx", "freed, and never used again"},
        {"|....", "pad"},
        {"|##111111~", "the rest of a page"},
    };

    svg_text(svg, x, y + 14, 15, "start", "Legend");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        svg_row(svg, x, y + 30 + (double)i * 24, lines[i].row);
        svg_text(svg, x + LABEL, y + 42 + (double)i * 24, 12, "start", lines[i].text);
    }
    svg_text(svg, x, y + 190, 12, "start",
             "The narrowest cell is 8 bytes; black lines are boundaries of chunks.");
}

static bool write_picture(const drawing_t *drawings, const char *path)
{
    FILE *svg = svg_open(path, 2 * PANEL_WIDTH - 90, 5 * PANEL_HEIGHT + TOP);

    if (svg == NULL)
        return false;
    svg_text(svg, LEFT, 34, 20, "start",
             unit == 1 ? "The lecture's fragmentation demo: blocks of 3, 1, 4, 6 and 2 bytes"
                       : "The lecture's fragmentation demo: blocks of 3, 1, 4, 6 and 2 units of 16 bytes");
    for (int i = 0; i < RUNGS; i++)
        svg_drawing(svg, &drawings[i], i);
    svg_legend(svg, LEFT + PANEL_WIDTH, TOP + 4 * PANEL_HEIGHT);
    return svg_close(svg);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"bytes", no_argument, NULL, 'b'}, {"picture", required_argument, NULL, 'p'}, {0}};
    const char *picture = "demo.svg";

    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 'b') {
            unit = 1;
        } else if (c == 'p') {
            picture = optarg;
        } else {
            fprintf(stderr, "usage: demo [--bytes] [--picture FILE]\n");
            return EXIT_FAILURE;
        }
    }
    drawing_t *drawings =
        mmap(NULL, RUNGS * sizeof *drawings, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (drawings == MAP_FAILED) {
        perror("demo: mmap");
        return EXIT_FAILURE;
    }
    printf("A character is 8 bytes: a digit a block, # header, footer or rounding, - free, x freed and lost, "
           ". pad,\n"
           "~ the rest of a page; | is a boundary between chunks. Sizes are in %s.\n",
           unit == 1 ? "bytes" : "units of 16 bytes");
    for (int i = 0; i < RUNGS; i++) {
        draw(&drawings[i], &rungs[i]);
        print_drawing(&drawings[i], &rungs[i]);
    }
    if (!write_picture(drawings, picture)) {
        fprintf(stderr, "demo: %s: %s\n", picture, strerror(errno));
        return EXIT_FAILURE;
    }
    printf("\nPicture: %s\n", picture);
    return EXIT_SUCCESS;
}
