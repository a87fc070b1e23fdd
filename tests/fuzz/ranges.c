/*
 * ranges.c: libFuzzer's bytes as a program of calls on one range arena, whose options are the first bytes, beside a
 * naive list of its live blocks: no two overlap, each lies in the range, at its alignment and within its page, sizes
 * are those asked for, and a request fails only where nothing would hold it. The range's invariants at the end.
 * Misuse is not generated: any report is a bug.
 */
#include "arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 200, STEPS = 600, PAGE = 4096, METADATA_BYTES = 16384 };

typedef struct {
    uint64_t start, bytes;
} block_t;

typedef struct {
    arena_range_t *range;
    arena_range_options_t options;
    uint64_t quantum, page;
    size_t count;
    block_t live[MOST]; /* in no order */
} model_t;

typedef struct {
    const uint8_t *next, *end;
} input_t;

static alignas(8) unsigned char metadata[METADATA_BYTES];
static const unsigned bounded = ARENA_RANGE_FIXED_METADATA | ARENA_RANGE_INSIDE;

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

/* Mostly small, at times around powers of two. */
static uint64_t take_size(input_t *input)
{
    unsigned kind = take(input);
    uint64_t low = take(input);
    return kind < 160 ? low * 5 : ((uint64_t)1 << (kind % 18)) + low - (kind % 18 > 7 ? 128 : 0);
}

static unsigned take_flags(input_t *input)
{
    static const unsigned orders[] = {0, 0, ARENA_RANGE_LIFO, ARENA_RANGE_FIFO};
    unsigned byte = take(input);
    return orders[byte % 4] | (byte & 4 ? ARENA_RANGE_WITHIN_PAGES : 0) |
           (byte & 8 ? ARENA_RANGE_FIXED_METADATA : 0) | (byte & 16 ? ARENA_RANGE_INSIDE : 0);
}

static arena_range_options_t take_options(input_t *input)
{
    static const arena_range_source_t sources[] = {ARENA_RANGE_GIVEN, ARENA_RANGE_GIVEN, ARENA_RANGE_MMAP,
                                                   ARENA_RANGE_SBRK};
    arena_range_options_t options = {.source = sources[take(input) % 4], .flags = take_flags(input)};
    options.fit = (arena_fit_t)(take(input) % 5);
    options.quantum = (size_t)8 << take(input) % 4;
    options.page_bytes = PAGE;
    if (options.source == ARENA_RANGE_GIVEN) {
        options.base = (uint64_t)take(input) * options.quantum;
        options.bytes = (uint64_t)take(input) * 513 + 1;
    } else {
        options.limit_bytes = (uint64_t)(take(input) % 64) * PAGE;
        options.keep_bytes = take(input) % 2 * 3 * PAGE;
    }
    if (options.flags & ARENA_RANGE_FIXED_METADATA) {
        options.metadata = metadata + take(input) % 2 * 8;
        options.metadata_bytes = METADATA_BYTES - 16 - 32 * (size_t)take(input);
    }
    return options;
}

/* --- the model --- */

static int is_given(const model_t *model)
{
    return model->options.source == ARENA_RANGE_GIVEN;
}

static int has_pages(const model_t *model)
{
    return (model->options.flags & ARENA_RANGE_WITHIN_PAGES) != 0;
}

static uint64_t rounded(const model_t *model, uint64_t bytes)
{
    bytes = bytes == 0 ? 1 : bytes;
    return (bytes + model->quantum - 1) / model->quantum * model->quantum;
}

/* The live block that begins in or reaches into [start, start + bytes), other than the one at `but`; or NULL. */
static const block_t *in_the_way(const model_t *model, uint64_t start, uint64_t bytes, const block_t *but)
{
    for (size_t i = 0; i < model->count; i++) {
        const block_t *block = &model->live[i];
        if (block != but && block->start < start + bytes && start < block->start + block->bytes) {
            return block;
        }
    }
    return NULL;
}

static int in_one_page(const model_t *model, uint64_t start, uint64_t bytes)
{
    uint64_t from = start - model->options.base;
    return !has_pages(model) || from / model->page == (from + bytes - 1) / model->page;
}

static int may_lie(const model_t *model, uint64_t start, uint64_t bytes, const block_t *but)
{
    uint64_t end = model->options.base + model->options.bytes / model->quantum * model->quantum;
    if (is_given(model) && (start < model->options.base || start + bytes > end)) {
        return 0;
    }
    return in_one_page(model, start, bytes) && in_the_way(model, start, bytes, but) == NULL;
}

/* By trying every place of a given range. */
static int has_place(const model_t *model, uint64_t bytes, uint64_t alignment)
{
    uint64_t end = model->options.base + model->options.bytes;
    for (uint64_t start = model->options.base; start < end; start += model->quantum) {
        if (start % alignment == 0 && may_lie(model, start, bytes, NULL)) {
            return 1;
        }
    }
    return 0;
}

static void allocate(model_t *model, uint64_t bytes, uint64_t alignment)
{
    uint64_t start = alignment == 1 ? arena_range_alloc(model->range, bytes)
                                    : arena_range_aligned_alloc(model->range, alignment, bytes);
    if (start == ARENA_RANGE_NONE) {
        int exact = is_given(model) && !(model->options.flags & ARENA_RANGE_FIXED_METADATA);
        require(!exact || !has_place(model, rounded(model, bytes), alignment));
        return;
    }
    bytes = rounded(model, bytes);
    require(start % model->quantum == 0 && start % alignment == 0);
    require(may_lie(model, start, bytes, NULL));
    model->live[model->count++] = (block_t){start, bytes};
    if (!is_given(model)) {
        memset((void *)(uintptr_t)start, (int)(start >> 3 & 0xff), bytes);
    }
}

static void check_block(const model_t *model, const block_t *block)
{
    const unsigned char *at = is_given(model) ? NULL : (const unsigned char *)(uintptr_t)block->start;
    for (uint64_t i = 0; at != NULL && i < block->bytes; i += 1 + block->bytes / 64) {
        require(at[i] == (unsigned char)(block->start >> 3));
    }
    require(arena_range_size(model->range, block->start) == block->bytes);
}

static void give_back(model_t *model, size_t i)
{
    check_block(model, &model->live[i]);
    arena_range_free(model->range, model->live[i].start);
    model->live[i] = model->live[--model->count];
}

static void resize(model_t *model, block_t *block, uint64_t bytes)
{
    uint64_t wanted = rounded(model, bytes);
    check_block(model, block);
    if (!arena_range_resize(model->range, block->start, bytes)) {
        require(wanted > block->bytes);
        check_block(model, block);
        return;
    }
    require(may_lie(model, block->start, wanted, block));
    if (!is_given(model) && wanted > block->bytes) {
        memset((void *)(uintptr_t)(block->start + block->bytes), (int)(block->start >> 3 & 0xff),
               wanted - block->bytes);
    }
    int stays = wanted < block->bytes && (model->options.flags & bounded) != 0; /* no metadata for the end */
    block->bytes =
        stays && arena_range_size(model->range, block->start) == block->bytes ? block->bytes : wanted;
    check_block(model, block);
}

static void step(model_t *model, input_t *input)
{
    unsigned operation = take(input);
    size_t i = model->count == 0 ? 0 : take(input) % model->count;
    uint64_t bytes = take_size(input);
    switch (operation % 8) {
    case 0:
        if (model->count != 0) {
            resize(model, &model->live[i], bytes);
        }
        return;
    case 1:
        if (operation >= 224) {
            arena_range_trim(model->range);
            return;
        }
        break;
    case 2:
    case 3:
    case 4:
        if (model->count != 0) {
            give_back(model, i);
        }
        return;
    default:
        break;
    }
    if (model->count < MOST) {
        allocate(model, bytes, operation % 8 == 5 ? (uint64_t)1 << (operation >> 3) % 14 : 1);
    }
}

static int count_blocks(void *context, const arena_range_block_t *block)
{
    model_t *model = context;
    int live = in_the_way(model, block->address, block->bytes, NULL) != NULL;
    require(live == (block->state != ARENA_BLOCK_FREE));
    return 0;
}

static void check_all(model_t *model)
{
    arena_range_stats_t stats;
    uint64_t live_bytes = 0;
    require(arena_range_check(model->range) == 0);
    for (size_t i = 0; i < model->count; i++) {
        check_block(model, &model->live[i]);
        live_bytes += model->live[i].bytes;
    }
    arena_range_stats(model->range, &stats, sizeof stats);
    require(stats.live_blocks == model->count && stats.live_bytes == live_bytes);
    require(arena_range_walk(model->range, count_blocks, model) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static model_t model;
    input_t input = {data, data + size};
    model.options = take_options(&input);
    model.quantum = model.options.quantum;
    model.page = model.options.page_bytes;
    model.count = 0;
    model.range = arena_range_create(&model.options);
    if (model.range == NULL) {
        return 0;
    }
    for (int i = 0; i < STEPS && input.next < input.end; i++) {
        step(&model, &input);
    }
    check_all(&model);
    while (model.count != 0) {
        give_back(&model, model.count - 1);
    }
    check_all(&model);
    arena_range_destroy(model.range);
    return 0;
}
