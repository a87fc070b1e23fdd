/* magazine.c: the dummy and a table that saves a division; test_magazine.c derives it anew. */
#include "magazine.h"

magazine_t magazine_dummy __attribute__((aligned(MAGAZINE_BYTES)));

/* MAGAZINE_SMALL_BYTES / bytes of the class, at most MAGAZINE_SLOTS; at least MAGAZINE_HELD_BYTES / bytes, at most 16; at
 * least 4 up to 256 KiB, 1 beyond */
const uint8_t magazine_capacities[CLASSES + 1] = {
    0,  63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
    56, 51, 46, 42, 39, 36, 34, 32, 30, 28, 25, 23, 21, 19, 18, 17, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16,
    15, 14, 13, 12, 11, 10, 9,  8,  7,  6,  5,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,
};
