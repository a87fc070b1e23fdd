/*
 * report.c: ARENA_STATS, ARENA_PRINT, ARENA_LEAKS and ARENA_CHECK, when the program exits. Formats into a buffer on the
 * stack: the program may have closed stdio, or be out of memory.
 */
#include "report.h"

#include "../arena/stats.h"
#include "../arena/text.h"
#include "../arena/watch.h"
#include "domain.h"
#include "settings.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *name;
    size_t offset;
} figure_t;

#define FIGURE(name)                         \
    {                                        \
#name, offsetof(arena_stats_t, name) \
    }

/* All of arena_stats_t, 8 bytes each. */
static const figure_t figures[] = {
    FIGURE(mapped_bytes),   FIGURE(live_bytes),     FIGURE(cached_bytes),
    FIGURE(free_bytes),     FIGURE(metadata_bytes), FIGURE(peak_mapped_bytes),
    FIGURE(resident_bytes), FIGURE(purged_bytes),   FIGURE(allocations),
    FIGURE(frees),          FIGURE(kernel_calls),   FIGURE(lock_waits),
    FIGURE(live_blocks),    FIGURE(cached_blocks),  FIGURE(regions),
    FIGURE(slabs),          FIGURE(large_blocks),   FIGURE(arenas),
    FIGURE(caches),         FIGURE(skipped_caches), FIGURE(process_metadata_bytes),
    FIGURE(stock_bytes),
};
enum { FIGURES = sizeof figures / sizeof figures[0] };

_Static_assert(FIGURES * sizeof(uint64_t) == sizeof(arena_stats_t), "a figure is missing");

void report_stats(int fd, bool json, bool resident)
{
    char text[2048];
    size_t used = 0;
    arena_stats_t stats;
    stats_read(NULL, &stats, resident);
    used += (size_t)snprintf(text, sizeof text, json ? "{\"pid\": %d" : "libarena: process %d\n", getpid());
    for (size_t i = 0; i < FIGURES; i++) {
        uint64_t value = *(const uint64_t *)(const void *)((const char *)&stats + figures[i].offset);
        used += (size_t)snprintf(text + used, sizeof text - used, json ? ", \"%s\": %llu" : "%24s %20llu\n",
                                 figures[i].name, (unsigned long long)value);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, json ? "}\n" : "");
    text_write(fd, text, used);
}

static void complain(const char *text)
{
    text_write(settings_report_fd(), text, strlen(text));
}

static int open_to_append(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

static void report_to_file(void)
{
    int fd = settings.stats_file == NULL ? settings_report_fd() : open_to_append(settings.stats_file);
    if (fd < 0) {
        complain("libarena: ARENA_STATS_FILE: cannot be opened\n");
        return;
    }
    report_stats(fd, settings.stats == STATS_JSON, true);
    if (settings.stats_file != NULL) {
        close(fd);
    }
}

/* All of memory, after a line that says whose, as several processes may share the file. */
static void print_to_file(void)
{
    char line[64];
    int fd = open_to_append(settings.print), length;
    if (fd < 0) {
        complain("libarena: ARENA_PRINT: cannot be opened\n");
        return;
    }
    length = snprintf(line, sizeof line, "libarena: process %d\n", getpid());
    text_write(fd, line, (size_t)length);
    bool whole = true;
    for (unsigned i = 0; domain_arena(i) != NULL; i++) {
        whole = arena_print(domain_arena(i), fd) && whole;
    }
    if (!whole) {
        complain("libarena: ARENA_PRINT: cannot be written\n");
    }
    close(fd);
}

/* Each broken invariant has been reported in its line. */
static void check_all(void)
{
    int broken = 0;
    for (unsigned i = 0; domain_arena(i) != NULL; i++) {
        broken += arena_check(domain_arena(i));
    }
    if (broken != 0) {
        abort();
    }
}

void report_at_exit(void)
{
    if (domain_arena(0) == NULL) {
        return;
    }
    if (settings.stats != STATS_NONE) {
        report_to_file();
    }
    if (settings.print != NULL) {
        print_to_file();
    }
    for (unsigned i = 0; settings.leaks && domain_arena(i) != NULL; i++) {
        watch_report_leaks(domain_arena(i), settings_report_fd());
    }
    if (settings.check) {
        check_all();
    }
}
