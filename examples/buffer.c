/*
 * buffer.c: arenas inside fixed buffers of 4 KiB and 64 KiB. They never grow and ask the kernel for
 * nothing, so they suit a stack frame, a static array, or a machine without virtual memory.
 *
 * introduces: ARENA_SOURCE_BUFFER, ENOMEM as an ordinary answer, arena_reset()
 */
#include "arena.h"

#include <errno.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static alignas(16) unsigned char small_buffer[4096];
static alignas(16) unsigned char large_buffer[65536];

/* Allocates blocks of `request` bytes until there is no room; how many it got. Writes to all of each. */
static size_t fill(arena_t *arena, size_t request)
{
    size_t blocks = 0;
    void *block;
    errno = 0;
    while ((block = arena_alloc(arena, request)) != NULL) {
        memset(block, 0x5a, request);
        blocks++;
    }
    return errno == ENOMEM ? blocks : 0;
}

/* Prints one line of the table and empties the arena again. False if a promise was broken. */
static bool show(arena_t *arena, size_t buffer_bytes, size_t request)
{
    size_t blocks = fill(arena, request);
    arena_stats_t stats;
    arena_stats(arena, &stats, sizeof stats);
    size_t bytes = blocks * request;
    printf("%12zu %10zu %8zu %12zu %9.1f %%\n", buffer_bytes, request, blocks, bytes,
           100.0 * (double)bytes / (double)buffer_bytes);

    bool kept = blocks > 0 && stats.live_blocks == blocks && stats.kernel_calls == 0;
    arena_reset(arena);
    arena_stats(arena, &stats, sizeof stats);
    if (kept && stats.live_blocks == 0)
        return true;
    fprintf(stderr, "buffer: %zu blocks of %zu bytes, but %zu live and %llu system calls\n", blocks, request,
            stats.live_blocks, (unsigned long long)stats.kernel_calls);
    return false;
}

/* One arena over `buffer`, filled with blocks of one size after the other. */
static bool try_buffer(void *buffer, size_t buffer_bytes)
{
    static const size_t requests[] = {8, 16, 24, 48, 64, 100, 256, 1000};
    arena_options_t options = {
        .name = "buffer", .source = ARENA_SOURCE_BUFFER, .buffer = buffer, .buffer_bytes = buffer_bytes};
    arena_t *arena = arena_create(&options);
    if (arena == NULL) {
        perror("buffer: arena_create");
        return false;
    }
    bool good = true;
    for (size_t i = 0; good && i < sizeof requests / sizeof requests[0]; i++) {
        good = show(arena, buffer_bytes, requests[i]);
    }
    arena_destroy(arena); /* the buffer stays ours */
    return good;
}

int main(void)
{
    printf("%12s %10s %8s %12s %11s\n", "buffer bytes", "block", "blocks", "usable bytes", "share");
    if (!try_buffer(small_buffer, sizeof small_buffer))
        return EXIT_FAILURE;
    if (!try_buffer(large_buffer, sizeof large_buffer))
        return EXIT_FAILURE;
    return EXIT_SUCCESS;
}
