/*
 * range_ops.c: random operations on a range arena beside a naive reference, for every source, every fit policy and
 * every flag. The reference is a sorted array of live blocks: no two overlap, each lies where it may, memory of the
 * kernel holds what was written, and a request of a given range fails only if no gap would hold it. The range's own
 * check runs after every few operations; its figures and its walk are compared with the reference.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <stdalign.h>

enum { MOST = 700, CHECK_EVERY = 60, OPERATIONS = 12000 };

typedef struct {
    uint64_t start, bytes, tag;
} block_t;

static struct {
    arena_range_t *range;
    arena_range_options_t options;
    rng_t rng;
    uint64_t quantum, page, next_tag, live_bytes;
    size_t operation, count, most;
    unsigned largest_log2;
    block_t live[MOST + 1];
} model;

static uint64_t seed;
static char place[200];
static alignas(8) char metadata[256 * KIB];

#define expect(condition) ((condition) ? (void)0 : broken(__LINE__, #condition))

static void broken(int line, const char *condition)
{
    fail_msg("line %d: %s (%s, operation %zu, ARENA_TEST_SEED=%llu)", line, condition, place, model.operation,
             (unsigned long long)seed);
}

static bool has_memory(void)
{
    return model.options.source != ARENA_RANGE_GIVEN;
}

static uint64_t rounded(uint64_t bytes)
{
    bytes = bytes == 0 ? 1 : bytes;
    return (bytes + model.quantum - 1) / model.quantum * model.quantum;
}

static size_t position_of(uint64_t start)
{
    size_t low = 0, high = model.count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (model.live[middle].start < start)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool within_pages(uint64_t start, uint64_t bytes)
{
    uint64_t from = start - model.options.base;

    return !(model.options.flags & ARENA_RANGE_WITHIN_PAGES) ||
           from / model.page == (from + bytes - 1) / model.page;
}

static void fill_block(const block_t *block)
{
    if (has_memory())
        fill((void *)(uintptr_t)block->start, block->bytes, block->tag);
}

static void came(uint64_t start, uint64_t bytes, uint64_t alignment)
{
    size_t at = position_of(start);

    bytes = rounded(bytes);
    expect(start % model.quantum == 0 && start % alignment == 0);
    expect(has_memory() ||
           (start >= model.options.base && start - model.options.base + bytes <= model.options.bytes));
    expect(within_pages(start, bytes));
    expect(at == 0 || model.live[at - 1].start + model.live[at - 1].bytes <= start);
    expect(at == model.count || model.live[at].start >= start + bytes);
    memmove(&model.live[at + 1], &model.live[at], (model.count - at) * sizeof model.live[0]);
    model.live[at] = (block_t){start, bytes, model.next_tag};
    model.next_tag += (uint64_t)1 << 32;
    model.count++;
    model.live_bytes += bytes;
    fill_block(&model.live[at]);
}

static void holds_still(size_t at)
{
    const block_t *block = &model.live[at];

    expect(!has_memory() || holds((void *)(uintptr_t)block->start, block->bytes, block->tag));
    expect(arena_range_size(model.range, block->start) == block->bytes);
}

/* Whether [from, to), free, has a place for `bytes`; to UINT64_MAX is never asked. */
static bool gap_fits(uint64_t from, uint64_t to, uint64_t bytes, uint64_t alignment)
{
    bool in_pages = (model.options.flags & ARENA_RANGE_WITHIN_PAGES) != 0;

    while (from < to) {
        uint64_t start = (from + alignment - 1) / alignment * alignment;
        uint64_t page_end = model.options.base + ((start - model.options.base) / model.page + 1) * model.page;
        uint64_t end = in_pages && page_end < to ? page_end : to;
        if (start < end && end - start >= bytes)
            return true;
        if (!in_pages)
            return false;
        from = page_end;
    }
    return false;
}

static void failed(uint64_t bytes, uint64_t alignment)
{
    uint64_t from = model.options.base;

    expect(errno == ENOMEM);
    if (has_memory() || (model.options.flags & ARENA_RANGE_FIXED_METADATA)) {
        expect(model.options.limit_bytes != 0 || model.options.flags != 0);
        return;
    }
    for (size_t i = 0; i <= model.count; i++) {
        uint64_t to = i < model.count
                          ? model.live[i].start
                          : model.options.base + model.options.bytes / model.quantum * model.quantum;
        expect(!gap_fits(from, to, rounded(bytes), alignment < model.quantum ? model.quantum : alignment));
        from = i < model.count ? to + model.live[i].bytes : to;
    }
}

static uint64_t some_size(void)
{
    unsigned log2 = rng_below(&model.rng, 12) == 0 ? model.largest_log2 : 9;
    uint64_t bytes = rng_size(&model.rng, log2);

    return (model.options.flags & ARENA_RANGE_WITHIN_PAGES) ? bytes % (model.page + 1) : bytes;
}

static void op_alloc(void)
{
    uint64_t bytes = some_size();
    uint64_t start = arena_range_alloc(model.range, bytes);

    if (start == ARENA_RANGE_NONE)
        failed(bytes, 1);
    else
        came(start, bytes, 1);
}

static void op_aligned(void)
{
    uint64_t bytes = some_size(), alignment = (uint64_t)1 << rng_below(&model.rng, 14);
    uint64_t start = arena_range_aligned_alloc(model.range, alignment, bytes);

    if (start == ARENA_RANGE_NONE)
        failed(bytes, alignment);
    else
        came(start, bytes, alignment);
}

static void op_free(void)
{
    if (model.count == 0)
        return;
    /* Mostly anywhere, at times the highest, so that the break comes down. */
    size_t at = rng_below(&model.rng, 4) == 0 ? model.count - 1 : rng_below(&model.rng, model.count);
    holds_still(at);
    arena_range_free(model.range, model.live[at].start);
    model.live_bytes -= model.live[at].bytes;
    model.count--;
    memmove(&model.live[at], &model.live[at + 1], (model.count - at) * sizeof model.live[0]);
}

static void op_resize(void)
{
    if (model.count == 0)
        return;
    size_t at = rng_below(&model.rng, model.count);
    block_t *block = &model.live[at];
    uint64_t bytes = some_size(), old = block->bytes;
    holds_still(at);
    bool done = arena_range_resize(model.range, block->start, bytes);
    bytes = rounded(bytes);
    expect(done || (errno == ENOMEM && bytes > old));
    if (!done) {
        holds_still(at);
        return;
    }
    expect(!has_memory() || holds((void *)(uintptr_t)block->start, bytes < old ? bytes : old, block->tag));
    expect(at + 1 == model.count || block[1].start >= block->start + bytes);
    expect(within_pages(block->start, bytes));
    expect(arena_range_size(model.range, block->start) == bytes);
    model.live_bytes += bytes - old;
    block->bytes = bytes;
    fill_block(block);
}

static uint64_t walked_live, walked_free, walked_end;
static size_t walked_count;

static int visit(void *context, const arena_range_block_t *block)
{
    (void)context;
    expect(block->bytes > 0 && (walked_count + walked_free == 0 || block->address >= walked_end));
    walked_end = block->address + block->bytes;
    if (block->state == ARENA_BLOCK_FREE) {
        walked_free += block->bytes;
        return 0;
    }
    expect(walked_count < model.count && block->address == model.live[walked_count].start);
    expect(block->bytes == model.live[walked_count].bytes);
    walked_live += block->bytes;
    walked_count++;
    return 0;
}

static void check(void)
{
    arena_range_stats_t stats;

    expect(arena_range_check(model.range) == 0);
    walked_live = walked_free = walked_end = walked_count = 0;
    expect(arena_range_walk(model.range, visit, NULL) == 0);
    arena_range_stats(model.range, &stats, sizeof stats);
    expect(walked_count == model.count && stats.live_blocks == model.count);
    expect(walked_live == model.live_bytes && stats.live_bytes == model.live_bytes);
    expect(walked_free == stats.free_bytes);
    expect(stats.held_bytes == stats.live_bytes + stats.free_bytes +
                                   (model.options.flags & ARENA_RANGE_INSIDE ? stats.metadata_bytes : 0));
    expect(stats.allocations - stats.frees == stats.live_blocks);
    expect(model.options.limit_bytes == 0 || stats.held_bytes <= model.options.limit_bytes);
    expect(stats.largest_free_bytes <= stats.free_bytes);
}

static void operate(void)
{
    switch (rng_below(&model.rng, 16)) {
    case 0:
    case 1:
        op_resize();
        break;
    case 2:
        op_aligned();
        break;
    case 3:
        if (rng_below(&model.rng, 40) == 0)
            arena_range_trim(model.range);
        break;
    default:
        if (model.count < model.most && rng_below(&model.rng, model.most) >= model.count / 2)
            op_alloc();
        else
            op_free();
    }
}

static void run(arena_range_options_t options, unsigned largest_log2)
{
    snprintf(place, sizeof place,
             "source %d, fit %d, flags %#x, quantum %zu, page %zu, limit %llu, keep %llu",
             (int)options.source, (int)options.fit, options.flags, options.quantum, options.page_bytes,
             (unsigned long long)options.limit_bytes, (unsigned long long)options.keep_bytes);
    model.options = options;
    model.rng.state = seed;
    model.quantum = options.quantum == 0 ? 8 : options.quantum;
    model.page = options.page_bytes == 0 ? (uint64_t)sysconf(_SC_PAGESIZE) : options.page_bytes;
    model.largest_log2 = largest_log2;
    model.count = model.live_bytes = 0;
    model.range = arena_range_create(&options);
    assert_non_null(model.range);
    for (model.operation = 0; model.operation < OPERATIONS / SLOWNESS; model.operation++) {
        /* Up to many blocks, down to none, and again. */
        model.most = 1 + (model.operation / 900 % 3) * (MOST - 1) / 2;
        operate();
        if (model.operation % CHECK_EVERY == 0)
            check();
    }
    while (model.count > 0)
        op_free();
    check();
    arena_range_stats_t stats;
    arena_range_stats(model.range, &stats, sizeof stats);
    expect(stats.live_bytes == 0);
    arena_range_destroy(model.range);
}

static const unsigned orders[] = {0, ARENA_RANGE_LIFO, ARENA_RANGE_FIFO};

static void a_given_range_agrees_with_the_reference(void **state)
{
    (void)state;
    for (unsigned fit = ARENA_FIT_GOOD; fit <= ARENA_FIT_NEXT; fit++) {
        for (size_t order = 0; order < 3; order++) {
            arena_range_options_t options = {.fit = (arena_fit_t)fit,
                                             .flags = orders[order],
                                             .base = order == 0 ? 0 : 8 * 12345,
                                             .bytes = 100 * KIB + 3};
            run(options, 15);
            options.flags |= ARENA_RANGE_WITHIN_PAGES;
            run(options, 12);
        }
    }
}

static void the_highest_addresses_and_the_largest_quanta_work(void **state)
{
    (void)state;
    run((arena_range_options_t){.base = UINT64_MAX - 7 - 64 * KIB, .bytes = 64 * KIB}, 12);
    run((arena_range_options_t){.base = 0, .bytes = UINT64_MAX}, 40);
    run((arena_range_options_t){.base = (uint64_t)1 << 40, .bytes = (uint64_t)1 << 44, .quantum = 1 << 20},
        36);
    run(
        (arena_range_options_t){
            .bytes = MIB, .quantum = 256, .page_bytes = 256, .flags = ARENA_RANGE_WITHIN_PAGES},
        8);
}

static void a_fixed_buffer_of_metadata_agrees_with_the_reference(void **state)
{
    (void)state;
    for (size_t bytes = 8 * KIB; bytes <= 256 * KIB; bytes *= 2) {
        for (size_t order = 0; order < 3; order++)
            run((arena_range_options_t){.bytes = MIB,
                                        .flags = ARENA_RANGE_FIXED_METADATA | orders[order],
                                        .metadata = metadata,
                                        .metadata_bytes = bytes},
                15);
    }
}

static void mapped_pages_agree_with_the_reference(void **state)
{
    (void)state;
    for (size_t order = 0; order < 3; order++) {
        for (unsigned fit = ARENA_FIT_GOOD; fit <= ARENA_FIT_NEXT; fit++)
            run((arena_range_options_t){.source = ARENA_RANGE_MMAP,
                                        .fit = (arena_fit_t)fit,
                                        .flags = orders[order]},
                16);
        run((arena_range_options_t){.source = ARENA_RANGE_MMAP,
                                    .flags = ARENA_RANGE_WITHIN_PAGES | orders[order],
                                    .limit_bytes = 40 * 4096},
            12);
        run((arena_range_options_t){.source = ARENA_RANGE_MMAP,
                                    .flags = orders[order],
                                    .page_bytes = 64 * KIB,
                                    .growth_bytes = 200 * KIB,
                                    .keep_bytes = 100 * KIB},
            16);
    }
}

static void the_break_agrees_with_the_reference(void **state)
{
    (void)state;
    for (size_t order = 0; order < 3; order++) {
        for (unsigned inside = 0; inside < 2; inside++) {
            unsigned flags = orders[order] | (inside ? ARENA_RANGE_INSIDE : 0);
            arena_range_options_t options = {.source = ARENA_RANGE_SBRK, .flags = flags};
            for (unsigned fit = ARENA_FIT_GOOD; fit <= ARENA_FIT_NEXT; fit++) {
                options.fit = (arena_fit_t)fit;
                run(options, 14);
            }
            options.keep_bytes = 20000;
            options.growth_bytes = 8192;
            run(options, 18);
            options.limit_bytes = 512 * KIB;
            run(options, 14);
            options.flags |= ARENA_RANGE_WITHIN_PAGES;
            run(options, 12);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_given_range_agrees_with_the_reference),
        cmocka_unit_test(the_highest_addresses_and_the_largest_quanta_work),
        cmocka_unit_test(a_fixed_buffer_of_metadata_agrees_with_the_reference),
        cmocka_unit_test(mapped_pages_agree_with_the_reference),
        cmocka_unit_test(the_break_agrees_with_the_reference),
    };

    seed = test_seed(0x5eed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
