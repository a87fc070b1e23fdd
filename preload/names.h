/*
 * names.h: malloc's names as we define them. The C library's headers declare most of them with attributes that a
 * definition must not contradict; the rest is declared here.
 */
#ifndef ARENA_NAMES_H
#define ARENA_NAMES_H

#pragma GCC visibility push(default)

#include <malloc.h>
#include <stdlib.h>

void cfree(void *block);
void free_sized(void *block, size_t size);
void free_aligned_sized(void *block, size_t alignment, size_t size);

/* What some libraries call to get past an interposed malloc. */
void *__libc_malloc(size_t request);
void __libc_free(void *block);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t request);
void *__libc_memalign(size_t alignment, size_t request);
void *__libc_valloc(size_t request);
void *__libc_pvalloc(size_t request);
int __posix_memalign(void **result, size_t alignment, size_t request);

#pragma GCC visibility pop

#endif
