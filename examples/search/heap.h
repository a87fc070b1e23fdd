/*
 * heap.h: memory from an arena, or from the C library with --malloc, behind one set of calls. That is all the
 * two modes differ in, but for the end: an arena is dropped whole, malloc's blocks are freed by their owners.
 */
#ifndef HEAP_H
#define HEAP_H

#include "arena.h"

#include <stdbool.h>
#include <stddef.h>

/* What arena a structure lives in; NULL in --malloc mode. */
typedef struct {
    arena_t *arena;
} heap_t;

bool heap_create(heap_t *heap, const char *name);

/* As malloc(), calloc(), realloc() and free(). */
void *heap_alloc(heap_t heap, size_t bytes);
void *heap_calloc(heap_t heap, size_t count, size_t bytes);
void *heap_realloc(heap_t heap, void *block, size_t bytes);
void heap_free(heap_t heap, void *block);

/* Takes back all there is in an arena. Under malloc the owner has freed every block before. */
void heap_drop(heap_t *heap);

/* Makes room for `needed` elements in an array, by half as many again; NULL if there is no memory. */
void *heap_grow(heap_t heap, void *array, size_t *capacity, size_t needed, size_t element_bytes);

#endif
