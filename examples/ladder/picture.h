/* picture.h: what compare measured, as one picture. */
#ifndef PICTURE_H
#define PICTURE_H

#include "cell.h"

enum { SCALES = 7 }; /* numbers of live blocks at which the growth of time is measured */

typedef struct {
    const char *text; /* under the title: what was run */
    cell_t churn[ALLOCATORS], phases[ALLOCATORS];
    cell_t scale[SCALES][ALLOCATORS]; /* times only */
    size_t scale_blocks[SCALES];
    size_t churn_peak, phases_peak; /* bytes of payload */
} picture_t;

/* False if the file cannot be written; errno says why. */
bool picture_write(const picture_t *picture, const char *path);

#endif
