/*
 * process.c: the clock, /proc/self/status, and giving free memory back, of arenas and of the C library
 * alike.
 */
#include "process.h"

#include "arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

double process_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

double process_status_bytes(const char *name)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL)
        return 0;
    while (fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            kib = strtoull(line + strlen(name) + 1, NULL, 10);
    }
    fclose(status);
    return 1024.0 * (double)kib;
}

void process_trim(void)
{
    arena_trim(NULL, 0);
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
