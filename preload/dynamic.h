/* dynamic.h: what needs the dynamic linker, and is not in the archive. */
#ifndef ARENA_DYNAMIC_H
#define ARENA_DYNAMIC_H

#include "../arena/config.h"

/* The next definition of a symbol behind ours, or NULL. A weak reference, so that new.c is whole without. */
HIDDEN void *dynamic_next(const char *symbol) __attribute__((weak));

#endif
