/*
 * operations.c: libFuzzer's bytes as a program of calls on one arena, whose options are the first bytes. Each
 * block's contents are checked before it goes; the heap's invariants at the end. Misuse is not generated: any
 * report is a bug.
 */
#include "arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLOTS = 64, BUFFER_BYTES = 1 << 17 };

typedef struct {
    unsigned char *block;
    size_t bytes;
} slot_t;

typedef struct {
    const uint8_t *next, *end;
} input_t;

static unsigned char buffer[BUFFER_BYTES];

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static unsigned take(input_t *input)
{
    return input->next < input->end ? *input->next++ : 0;
}

/* Mostly small, at times around the limits of classes, slabs and large blocks. */
static size_t take_size(input_t *input)
{
    unsigned kind = take(input);
    size_t low = take(input);
    if (kind < 128) {
        return low * 5;
    }
    return ((size_t)1 << (kind % 20)) + low - 128;
}

static arena_t *open_arena(input_t *input)
{
    arena_options_t options = {.fit = (arena_fit_t)(take(input) % 5), .quantum = take(input) % 2 ? 8 : 16};
    options.flags =
        take(input) & (ARENA_NO_CACHE | ARENA_NO_SLABS | ARENA_ZERO | ARENA_SINGLE_THREAD | ARENA_CHECKED);
    options.limit_bytes = take(input) % 4 == 0 ? 1 << 20 : 0;
    if (take(input) % 4 == 0) {
        options.source = ARENA_SOURCE_BUFFER;
        options.buffer = buffer + take(input);
        options.buffer_bytes = 2048 + 400 * (size_t)take(input);
    }
    return arena_create(&options);
}

static void fill(slot_t *slot, arena_t *arena)
{
    slot->bytes = arena_usable_size(arena, slot->block);
    memset(slot->block, (int)((uintptr_t)slot & 0xff), slot->bytes);
}

static void check(const slot_t *slot, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 1 + bytes / 64) {
        require(slot->block[i] == (unsigned char)((uintptr_t)slot & 0xff));
    }
}

static void put(arena_t *arena, slot_t *slot)
{
    if (slot->block != NULL) {
        check(slot, slot->bytes);
        arena_free(arena, slot->block);
        slot->block = NULL;
    }
}

static void reallocate(arena_t *arena, slot_t *slot, size_t size)
{
    size_t kept = slot->block != NULL && slot->bytes < size ? slot->bytes : size;
    unsigned char *moved = arena_realloc(arena, slot->block, size);
    if (moved == NULL) {
        return;
    }
    slot->block = moved;
    check(slot, slot->bytes == 0 ? 0 : kept);
    fill(slot, arena);
}

static void step(arena_t *arena, slot_t *slots, input_t *input)
{
    unsigned operation = take(input);
    slot_t *slot = &slots[take(input) % SLOTS];
    switch (operation % 8) {
    case 0:
    case 1:
        put(arena, slot);
        slot->block = arena_alloc(arena, take_size(input));
        break;
    case 2:
        put(arena, slot);
        slot->block = arena_aligned_alloc(arena, (size_t)1 << (take(input) % 18), take_size(input));
        break;
    case 3:
        if (slot->block == NULL) {
            slot->bytes = 0;
        }
        reallocate(arena, slot, take_size(input));
        return;
    case 4:
        arena_trim(arena, 0);
        return;
    case 5:
        arena_reset(arena);
        memset(slots, 0, SLOTS * sizeof *slots);
        return;
    default:
        put(arena, slot);
        return;
    }
    if (slot->block != NULL) {
        fill(slot, arena);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    slot_t slots[SLOTS] = {{0}};
    input_t input = {data, data + size};
    arena_t *arena = open_arena(&input);
    if (arena == NULL) {
        return 0;
    }
    while (input.next < input.end) {
        step(arena, slots, &input);
    }
    require(arena_check(arena) == 0);
    for (unsigned i = 0; i < SLOTS; i++) {
        put(arena, &slots[i]);
    }
    arena_stats_t stats;
    arena_stats(arena, &stats, sizeof stats);
    require(stats.live_blocks == 0 && stats.live_bytes == 0);
    arena_destroy(arena);
    return 0;
}
