/*
 * alloc.h: part A of the lab: a memory manager of one page of 4,096 bytes. As the lab's own header, it brings what the
 * lab's programs use besides.
 */
#ifndef ALLOC_H
#define ALLOC_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGESIZE 4096 /* what is managed */
#define MINALLOC 8    /* sizes are multiples of it */

int init_alloc(void);      /* maps the page; 0, or non-zero if it cannot, or already has */
int cleanup(void);         /* unmaps it; 0, or non-zero if there is none */
char *alloc(int size);     /* a multiple of 8, from 8 to 4,096; NULL for others and if there is no room */
void dealloc(char *block); /* NULL is ignored; what is no block now ends the program with a message */

#endif
