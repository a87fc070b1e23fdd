/*
 * heap.c: the two modes of memory, told apart at each call, so that everything above is the same code in
 * both.
 */
#include "heap.h"

#include "settings.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

enum { MIN_GROWTH_BYTES = 16 }; /* smallest array that heap_grow() makes */

bool heap_create(heap_t *heap, const char *name)
{
    arena_options_t options = {.name = name, .limit_bytes = settings.limit_bytes};
    heap->arena = settings.use_malloc ? NULL : arena_create(&options);
    return settings.use_malloc || heap->arena != NULL;
}

void *heap_alloc(heap_t heap, size_t bytes)
{
    return settings.use_malloc ? malloc(bytes) : arena_alloc(heap.arena, bytes);
}

void *heap_calloc(heap_t heap, size_t count, size_t bytes)
{
    return settings.use_malloc ? calloc(count, bytes) : arena_calloc(heap.arena, count, bytes);
}

void *heap_realloc(heap_t heap, void *block, size_t bytes)
{
    return settings.use_malloc ? realloc(block, bytes) : arena_realloc(heap.arena, block, bytes);
}

void heap_free(heap_t heap, void *block)
{
    if (settings.use_malloc)
        free(block);
    else
        arena_free(heap.arena, block);
}

void heap_drop(heap_t *heap)
{
    arena_destroy(heap->arena);
    heap->arena = NULL;
}

void *heap_grow(heap_t heap, void *array, size_t *capacity, size_t needed, size_t element_bytes)
{
    size_t wanted = *capacity + *capacity / 2;
    if (wanted < MIN_GROWTH_BYTES / element_bytes)
        wanted = MIN_GROWTH_BYTES / element_bytes;
    if (wanted < needed)
        wanted = needed;
    if (wanted > SIZE_MAX / element_bytes) {
        errno = ENOMEM;
        return NULL;
    }
    void *grown = heap_realloc(heap, array, wanted * element_bytes);
    if (grown != NULL)
        *capacity = wanted;
    return grown;
}
