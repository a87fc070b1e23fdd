/* malloc_names.h: included before everything else in the sources of stress.malloc_names: malloc's names, renamed, so
 * that a sanitizer, which has the real ones to itself, sees what is behind them. */
#define malloc renamed_malloc
#define free renamed_free
#define calloc renamed_calloc
#define realloc renamed_realloc
#define reallocarray renamed_reallocarray
#define memalign renamed_memalign
#define aligned_alloc renamed_aligned_alloc
#define posix_memalign renamed_posix_memalign
#define valloc renamed_valloc
#define pvalloc renamed_pvalloc
#define malloc_usable_size renamed_malloc_usable_size
#define cfree renamed_cfree
#define free_sized renamed_free_sized
#define free_aligned_sized renamed_free_aligned_sized
#define __libc_malloc renamed_libc_malloc
#define __libc_free renamed_libc_free
#define __libc_calloc renamed_libc_calloc
#define __libc_realloc renamed_libc_realloc
#define __libc_memalign renamed_libc_memalign
#define __libc_valloc renamed_libc_valloc
#define __libc_pvalloc renamed_libc_pvalloc
#define __posix_memalign renamed_posix_memalign_too
