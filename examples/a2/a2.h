/* a2.h: the drop-in allocator of the A2 assignment, under names of its own. */
#ifndef A2_H
#define A2_H

#include <stddef.h>

void *mymalloc(size_t size);
void *mycalloc(size_t count, size_t size);
void *myrealloc(void *block, size_t size);
void myfree(void *block);

/* Beyond the assignment, for malloc.c. */
void *myaligned_alloc(size_t alignment, size_t size); /* a power of two, or NULL with EINVAL */
size_t myusable_size(void *block);                    /* NULL: 0 */

#endif
