/* a2.h: the drop-in allocator of the A2 assignment, under names of its own. */
#ifndef A2_H
#define A2_H

#include <stddef.h>

void *mymalloc(size_t size);
void *mycalloc(size_t count, size_t size);
void *myrealloc(void *block, size_t size);
void myfree(void *block);

#endif
