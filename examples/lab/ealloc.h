/*
 * ealloc.h: part B of the lab: an elastic memory manager. As the lab's own header, it brings what the lab's programs use
 * besides.
 */
#ifndef EALLOC_H
#define EALLOC_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGESIZE 4096 /* what is mapped at once, and the largest size */
#define MINALLOC 256  /* sizes are multiples of it */

void init_alloc(void); /* maps nothing yet; does nothing if it was called before */
void cleanup(void);    /* forgets all blocks and unmaps what was mapped; init_alloc begins again */
char *alloc(int size); /* a multiple of 256, from 256 to 4,096; NULL for others and if there is no memory */
void dealloc(char *block); /* NULL is ignored; what is no block now ends the program with a message */

#endif
