/* svg.c: shapes as lines of text. */
#include "svg.h"

FILE *svg_open(const char *path, int width, int height)
{
    FILE *svg = fopen(path, "w");

    if (svg == NULL)
        return NULL;
    fprintf(svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\""
            " font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\">\n",
            width, height, width, height);
    svg_rect(svg, 0, 0, width, height, "white", "none");
    return svg;
}

bool svg_close(FILE *svg)
{
    fputs("</svg>\n", svg);
    bool failed = ferror(svg) != 0;
    return fclose(svg) == 0 && !failed;
}

void svg_rect(FILE *svg, double x, double y, double width, double height, const char *fill,
              const char *stroke)
{
    fprintf(svg, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" stroke=\"%s\"/>\n",
            x, y, width, height, fill, stroke);
}

void svg_line(FILE *svg, double x1, double y1, double x2, double y2, const char *stroke)
{
    fprintf(svg, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2,
            stroke);
}

void svg_text(FILE *svg, double x, double y, int size, const char *anchor, const char *text)
{
    fprintf(svg, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" text-anchor=\"%s\">", x, y, size, anchor);
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", svg);
            break;
        case '>':
            fputs("&gt;", svg);
            break;
        case '&':
            fputs("&amp;", svg);
            break;
        default:
            fputc(*text, svg);
        }
    }
    fputs("</text>\n", svg);
}

void svg_path_begin(FILE *svg, const char *stroke, double width, bool dashed)
{
    fprintf(svg,
            "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\" stroke-dasharray=\"%s\" points=\"",
            stroke, width, dashed ? "6 3" : "none");
}

void svg_point(FILE *svg, double x, double y)
{
    fprintf(svg, "%.1f,%.1f ", x, y);
}

void svg_path_end(FILE *svg)
{
    fputs("\"/>\n", svg);
}
