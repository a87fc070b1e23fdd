/*
 * plugin.h: what plugin.c offers to plugins.c: the allocator as the plugin sees it.
 */
#ifndef PLUGIN_H
#define PLUGIN_H

#include <stddef.h>

enum { PLUGIN_BLOCK = 1000 };

/* immutable */
typedef struct {
    char *(*take_from_constructor)(void); /* a block of PLUGIN_BLOCK bytes, all 'c', once */
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *block, size_t size);
    void *(*aligned)(size_t alignment, size_t size);
    char *(*strdup)(const char *text);
    void (*free)(void *block);
    void *(*open)(const char *name, int flags); /* dlopen, called by the plugin */
} plugin_t;

#endif
