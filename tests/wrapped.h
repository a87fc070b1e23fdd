/*
 * wrapped.h: the five system calls for memory as a program sees them that is linked with --wrap for each: the kernel's
 * by __real_, its own by __wrap_. After support.h, which has their types.
 */
#ifndef TESTS_WRAPPED_H
#define TESTS_WRAPPED_H

void *__real_mmap(void *start, size_t bytes, int protection, int flags, int file, off_t offset);
int __real_munmap(void *start, size_t bytes);
void *__real_mremap(void *start, size_t bytes, size_t new_bytes, int flags, ...);
int __real_madvise(void *start, size_t bytes, int advice);
void *__real_sbrk(intptr_t increment);

void *__wrap_mmap(void *start, size_t bytes, int protection, int flags, int file, off_t offset);
int __wrap_munmap(void *start, size_t bytes);
void *__wrap_mremap(void *start, size_t bytes, size_t new_bytes, int flags, ...);
int __wrap_madvise(void *start, size_t bytes, int advice);
void *__wrap_sbrk(intptr_t increment);

#endif
