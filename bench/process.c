/*
 * process.c: what every measuring program asks of its own process: the clock, tables that no allocator sees, the
 * kernel's figures, and whose malloc it has. No allocation.
 */
#include "bench.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void bench_fail(const char *what)
{
    fprintf(stderr, "bench: failed: %s\n", what);
    exit(1);
}

uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void bench_sleep_ms(unsigned ms)
{
    struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

void *bench_table(size_t bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    void *table = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    bench_require(table != MAP_FAILED, "mmap of a table");
    return table;
}

void *bench_space(size_t bytes)
{
    void *space = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bench_require(space != MAP_FAILED, "mmap of a space");
    return space;
}

/* The text of a file of /proc/self, in `text`. */
static void proc_read(const char *path, char *text, size_t room)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    bench_require(file >= 0, path);
    ssize_t length = read(file, text, room - 1);
    close(file);
    bench_require(length > 0, path);
    text[length] = '\0';
}

/* The number behind `key` in such a text, in bytes; all its figures are in KiB. */
static size_t figure_bytes(const char *text, const char *key)
{
    const char *line = strstr(text, key);
    bench_require(line != NULL, key);
    return strtoul(line + strlen(key), NULL, 10) * 1024;
}

enum { PROC_BYTES = 4096 };

residence_t bench_residence(void)
{
    char text[PROC_BYTES];
    proc_read("/proc/self/smaps_rollup", text, sizeof text);
    size_t private_clean = figure_bytes(text, "\nPrivate_Clean:");
    return (residence_t){
        .all = figure_bytes(text, "\nRss:"),
        .private = private_clean + figure_bytes(text, "\nPrivate_Dirty:"),
        .anonymous = figure_bytes(text, "\nAnonymous:"),
    };
}

size_t bench_resident_bytes(void)
{
    return bench_residence().all;
}

size_t bench_peak_bytes(void)
{
    char text[PROC_BYTES];
    proc_read("/proc/self/status", text, sizeof text);
    return figure_bytes(text, "\nVmHWM:");
}

/* A library that could not be preloaded, or does not say malloc, must not pass for one. */
int bench_print_whose(void)
{
    Dl_info info;
    bench_require(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) != 0, "dladdr of malloc");
    puts(info.dli_fname);
    return 0;
}
