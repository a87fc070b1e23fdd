/*
 * info.c: glibc's malloc_trim, mallopt and statistics. Their words are those of another allocator: `arena` is
 * what is mapped in regions, `hblks` are large blocks, `fordblks` what is free or cached.
 */
#include "../arena/lock.h"
#include "../arena/stats.h"
#include "../arena/watch.h"
#include "domain.h"
#include "names.h"
#include "report.h"
#include "settings.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

int malloc_trim(size_t pad)
{
    return arena_trim(NULL, pad) > 0;
}

static void set_trim_threshold(size_t bytes)
{
    settings.trim_threshold_bytes = bytes;
    for (unsigned i = 0; domain_arena(i) != NULL; i++) {
        arena_t *arena = domain_arena(i);
        lock_acquire(&arena->lock);
        arena->trim_threshold_bytes = bytes;
        lock_release(&arena->lock);
    }
}

static void set_scribble(bool on)
{
    settings.scribble = on;
    for (unsigned i = 0; domain_arena(i) != NULL; i++) {
        watch_switch(domain_arena(i), WATCH_SCRIBBLE, on);
    }
}

/* What has no meaning here is accepted where glibc accepts it, because programs check the answer. */
int mallopt(int parameter, int value)
{
    domain_home(); /* the environment is read, and does not overrule the program */
    switch (parameter) {
    case M_TRIM_THRESHOLD:
        set_trim_threshold(value < 0 ? SIZE_MAX : max_size((size_t)value, 1)); /* 0 would be "adapts" */
        return 1;
    case M_PERTURB:
        set_scribble(value != 0);
        return 1;
    case M_MXFAST:
        return value >= 0 && (size_t)value <= 80 * sizeof(size_t) / 4;
    default: /* and so is what it does not know */
        return 1;
    }
}

struct mallinfo2 mallinfo2(void)
{
    arena_stats_t stats;
    stats_read(NULL, &stats, false);
    size_t large_bytes = 0;
    for (unsigned i = 0; domain_arena(i) != NULL; i++) {
        arena_t *arena = domain_arena(i);
        lock_acquire(&arena->lock);
        large_bytes += arena->totals.large_bytes;
        lock_release(&arena->lock);
    }
    large_bytes = min_size(large_bytes, stats.live_bytes); /* which was a moment before */
    return (struct mallinfo2){
        .arena = stats.mapped_bytes - large_bytes,
        .ordblks = stats.regions, /* free pieces are not counted one by one */
        .hblks = stats.large_blocks,
        .hblkhd = large_bytes,
        .uordblks = stats.live_bytes + stats.metadata_bytes - large_bytes,
        .fordblks = stats.free_bytes + stats.cached_bytes,
        .keepcost = stats.free_bytes,
    };
}

static int clamp(size_t value)
{
    return value > INT_MAX ? INT_MAX : (int)value;
}

struct mallinfo mallinfo(void)
{
    struct mallinfo2 wide = mallinfo2();
    return (struct mallinfo){.arena = clamp(wide.arena),
                             .ordblks = clamp(wide.ordblks),
                             .hblks = clamp(wide.hblks),
                             .hblkhd = clamp(wide.hblkhd),
                             .uordblks = clamp(wide.uordblks),
                             .fordblks = clamp(wide.fordblks),
                             .keepcost = clamp(wide.keepcost)};
}

/* The form of glibc's document, version 1. */
int malloc_info(int options, FILE *file)
{
    if (options != 0) {
        return EINVAL;
    }
    arena_stats_t all;
    stats_read(NULL, &all, false);
    fprintf(file, "<malloc version=\"1\">\n");
    for (unsigned i = 0; domain_arena(i) != NULL; i++) {
        arena_stats_t stats;
        stats_read(domain_arena(i), &stats, false);
        fprintf(file,
                "<heap nr=\"%u\">\n<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
                "<system type=\"current\" size=\"%zu\"/>\n<system type=\"max\" size=\"%zu\"/>\n</heap>\n",
                i, stats.cached_blocks, stats.free_bytes + stats.cached_bytes, stats.mapped_bytes,
                stats.peak_mapped_bytes);
    }
    fprintf(file,
            "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n<total type=\"mmap\" count=\"%zu\" "
            "size=\"%zu\"/>\n<system type=\"current\" size=\"%zu\"/>\n<system type=\"max\" size=\"%zu\"/>\n"
            "</malloc>\n",
            all.cached_blocks, all.free_bytes + all.cached_bytes, all.large_blocks, mallinfo2().hblkhd,
            all.mapped_bytes, all.peak_mapped_bytes);
    return 0;
}

void malloc_stats(void)
{
    report_stats(STDERR_FILENO, false, false);
}
