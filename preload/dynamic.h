/* dynamic.h: what needs the dynamic linker, and is not in the archive. */
#ifndef ARENA_DYNAMIC_H
#define ARENA_DYNAMIC_H

#include "../arena/config.h"

/*
 * The definition of a symbol, not ours, as the code at `caller` would find it: next behind ours, or else in the object of
 * that code and what it depends on; or else libstdc++'s, if one is loaded. NULL: there is none, or no memory to look for
 * it. A weak reference, so that new.c is whole without.
 */
HIDDEN void *dynamic_find(const char *symbol, const void *caller) __attribute__((weak));

#endif
