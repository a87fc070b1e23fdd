/*
 * oom_support.h: the system calls for memory, of which a test lets some fail. It says which by a function
 * `static bool fails(unsigned kind)`, which this header declares; errno is then ENOMEM. tests/CMakeLists.txt links
 * whoever includes this with --wrap for each of the five.
 */
#ifndef TESTS_OOM_SUPPORT_H
#define TESTS_OOM_SUPPORT_H

#include "support.h"
#include "wrapped.h"

enum { TAKE = 1, GIVE = 2, PURGE = 4 };

static bool fails(unsigned kind);

static bool refuses(unsigned kind)
{
    bool refused = fails(kind);

    errno = refused ? ENOMEM : errno;
    return refused;
}

void *__wrap_mmap(void *start, size_t bytes, int protection, int flags, int file, off_t offset)
{
    return refuses(TAKE) ? MAP_FAILED : __real_mmap(start, bytes, protection, flags, file, offset);
}

int __wrap_munmap(void *start, size_t bytes)
{
    return refuses(GIVE) ? -1 : __real_munmap(start, bytes);
}

void *__wrap_mremap(void *start, size_t bytes, size_t new_bytes, int flags, ...)
{
    va_list rest;

    va_start(rest, flags);
    void *target = flags & MREMAP_FIXED ? va_arg(rest, void *) : NULL;
    va_end(rest);
    return refuses(TAKE) ? MAP_FAILED : __real_mremap(start, bytes, new_bytes, flags, target);
}

int __wrap_madvise(void *start, size_t bytes, int advice)
{
    return refuses(PURGE) ? -1 : __real_madvise(start, bytes, advice);
}

void *__wrap_sbrk(intptr_t increment)
{
    return increment != 0 && refuses(increment > 0 ? TAKE : GIVE) ? (void *)-1 : __real_sbrk(increment);
}

#endif
