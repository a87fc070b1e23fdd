/*
 * empty.c: what an allocator would cost if it did nothing. bench/instructions counts these two calls in
 * the loop in which it counts the allocators', linked in the same way, and takes them off.
 */
#include <stddef.h>

void *empty_alloc(void *lane, size_t request);
void empty_free(void *lane, void *block);
void *empty_malloc(size_t request);
void empty_plain_free(void *block);

__attribute__((noinline)) void *empty_alloc(void *lane, size_t request)
{
    (void)request;
    return lane;
}

__attribute__((noinline)) void empty_free(void *lane, void *block)
{
    (void)lane;
    (void)block;
}

__attribute__((noinline)) void *empty_malloc(size_t request)
{
    (void)request;
    return NULL;
}

__attribute__((noinline)) void empty_plain_free(void *block)
{
    (void)block;
}
