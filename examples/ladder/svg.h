/* svg.h: the few shapes that the pictures are made of. Coordinates are pixels, y downwards. */
#ifndef SVG_H
#define SVG_H

#include <stdbool.h>
#include <stdio.h>

/* Opens a picture of that size with a white ground. NULL: errno says why. */
FILE *svg_open(const char *path, int width, int height);

/* False if not all of it could be written. */
bool svg_close(FILE *svg);

void svg_rect(FILE *svg, double x, double y, double width, double height, const char *fill,
              const char *stroke);
void svg_line(FILE *svg, double x1, double y1, double x2, double y2, const char *stroke);

/* anchor: start, middle or end, which is where x is; text is escaped. */
void svg_text(FILE *svg, double x, double y, int size, const char *anchor, const char *text);

/* Points follow by svg_point; a line of some points is closed by svg_path_end. */
void svg_path_begin(FILE *svg, const char *stroke, double width, bool dashed);
void svg_point(FILE *svg, double x, double y);
void svg_path_end(FILE *svg);

#endif
