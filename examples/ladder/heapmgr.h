/*
 * heapmgr.h: what every rung of the ladder is: an allocator of two functions, and two more to look inside.
 *
 * A rung has the program break to itself (6_vm.c: nothing but mappings). If somebody else moves the break,
 * the C library's malloc for one, the rung leaves what it has alone and answers NULL where it would have to
 * grow. No rung is thread-safe. Blocks are aligned to 16 bytes.
 */
#ifndef HEAPMGR_H
#define HEAPMGR_H

#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* brk, sbrk and MAP_ANONYMOUS, under -std=c11 too, if this header comes first */
#endif

#include <stdbool.h>
#include <stddef.h>

/* Built with HEAPMGR_PREFIX (say list_), the functions are list_HeapMgr_malloc ...: one program can hold all rungs. */
#ifdef HEAPMGR_PREFIX
#define HEAPMGR_CAT_(a, b) a##b
#define HEAPMGR_CAT(a, b) HEAPMGR_CAT_(a, b)
#define HeapMgr_malloc HEAPMGR_CAT(HEAPMGR_PREFIX, HeapMgr_malloc)
#define HeapMgr_free HEAPMGR_CAT(HEAPMGR_PREFIX, HeapMgr_free)
#define HeapMgr_check HEAPMGR_CAT(HEAPMGR_PREFIX, HeapMgr_check)
#define HeapMgr_walk HEAPMGR_CAT(HEAPMGR_PREFIX, HeapMgr_walk)
#endif

/* The least by which a heap grows. The demo builds the rungs with less, so that each growth is seen. */
#ifndef HEAP_GROWTH_BYTES
#define HEAP_GROWTH_BYTES 8192
#endif

/* A block of at least `bytes` bytes, or NULL: 0 bytes, more than there is, or a break that was moved. */
void *HeapMgr_malloc(size_t bytes);

/* Takes back a block that HeapMgr_malloc gave and that is still in use. NULL is ignored. */
void HeapMgr_free(void *block);

/*
 * Looks for damage: NULL, or a sentence about the first found. A `block` that is not NULL is held against
 * what the heap knows of it, which differs from rung to rung. O(heap).
 */
const char *HeapMgr_check(const void *block);

typedef void (*HeapMgr_visit)(void *context, const void *chunk, size_t bytes, bool is_free);

/* Visits the chunks that the heap can tell apart. */
void HeapMgr_walk(HeapMgr_visit visit, void *context);

#endif
