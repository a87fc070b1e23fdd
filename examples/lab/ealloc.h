/* ealloc.h: part B of the lab: an elastic memory manager. */
#ifndef EALLOC_H
#define EALLOC_H

void init_alloc(void); /* maps nothing yet */
void cleanup(void);    /* forgets all blocks and unmaps what was mapped */
char *alloc(int size); /* a multiple of 256, from 256 to 4,096; NULL for others and if there is no memory */
void dealloc(char *block); /* NULL is ignored */

#endif
