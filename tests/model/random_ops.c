/*
 * random_ops.c: random operations on an arena beside a naive reference, for every source, every fit policy
 * and several sets of flags.
 *
 * The reference is a sorted array of the intervals [start, start + usable) of live blocks. It knows that no
 * two overlap, what each holds, which sizes each may have, and whose it is; the arena's own check runs after
 * every few operations, and its figures and walk are compared with the reference then.
 */
#define _GNU_SOURCE
#include "../support.h"

enum { MOST_BLOCKS = 1200, CHECK_EVERY = 150 };

typedef struct {
    char *start;
    size_t usable, request;
    uint64_t tag;
} interval_t;

typedef struct {
    arena_t *arena;
    arena_options_t options;
    rng_t rng;
    uint64_t next_tag;
    size_t operation;
    unsigned largest_log2; /* of requests */
    bool bounded;          /* NULL with ENOMEM is an answer */
    size_t count, bytes;
    interval_t live[MOST_BLOCKS];
} model_t;

static uint64_t seed;
static char place[200];
static model_t model;
static char buffer[2 * MIB + 8];
static book_t aligned_book, unaligned_book = {.skew = 4096 + 8, .dirty = true};

#define expect(condition) ((condition) ? (void)0 : broken(__LINE__, #condition))

static void broken(int line, const char *condition)
{
    fail_msg("line %d: %s (%s, operation %zu, ARENA_TEST_SEED=%llu)", line, condition, place, model.operation,
             (unsigned long long)seed);
}

/* Where `start` is, or belongs. */
static size_t position_of(const char *start)
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

static size_t alignment_of_request(size_t request)
{
    return request < 16 || model.options.quantum == 8 ? 8 : 16;
}

/* What arena_of answers: that of a single thread it may not look into, if its memory is not in the map. */
static bool is_known_as_owner(const arena_t *owner)
{
    bool single = (model.options.flags & ARENA_SINGLE_THREAD) != 0;
    bool has_bounds = model.options.source == ARENA_SOURCE_HOOKS || model.options.source == ARENA_SOURCE_SBRK;

    return owner == model.arena || (owner == NULL && single && has_bounds);
}

/* A block has come from the arena. */
static void came(void *block, size_t request, size_t alignment)
{
    size_t usable = arena_usable_size(model.arena, block), at = position_of(block);
    char *end = (char *)block + usable;

    expect(usable >= request && usable > 0);
    expect((uintptr_t)block % alignment == 0);
    expect(is_known_as_owner(arena_of(block)));
    expect(at == 0 || model.live[at - 1].start + model.live[at - 1].usable <= (char *)block);
    expect(at == model.count || model.live[at].start >= end);
    memmove(&model.live[at + 1], &model.live[at], (model.count - at) * sizeof model.live[0]);
    model.live[at] = (interval_t){block, usable, request, model.next_tag};
    fill(block, usable, model.next_tag);
    model.next_tag += (uint64_t)1 << 32;
    model.count++;
    model.bytes += usable;
}

/* The block at `at` is about to go. */
static interval_t goes(size_t at)
{
    interval_t gone = model.live[at];

    expect(holds(gone.start, gone.usable, gone.tag));
    expect(arena_usable_size(model.arena, gone.start) == gone.usable);
    model.count--;
    model.bytes -= gone.usable;
    memmove(&model.live[at], &model.live[at + 1], (model.count - at) * sizeof model.live[0]);
    return gone;
}

static bool failed_cleanly(const void *block)
{
    expect(block != NULL || (model.bounded && errno == ENOMEM));
    return block == NULL;
}

static size_t some_size(void)
{
    /* Mostly small; one in sixteen from the whole range. */
    return rng_size(&model.rng, rng_below(&model.rng, 16) == 0 ? model.largest_log2 : 11);
}

static void op_alloc(void)
{
    size_t size = some_size();
    size_t good = arena_good_size(model.arena, size);
    void *block = arena_alloc(model.arena, size);

    if (failed_cleanly(block))
        return;
    expect(!(model.options.flags & ARENA_ZERO) || all_zero(block, size));
    size_t usable = arena_usable_size(model.arena, block);
    bool ends_caches =
        unaligned_book.used == 1; /* unaligned memory has come first of all, perhaps just now */
    expect(good == usable || (ends_caches && good < usable));
    came(block, size, alignment_of_request(size));
}

static void op_calloc(void)
{
    size_t size = some_size() / 3;
    void *block = arena_calloc(model.arena, 3, size);

    if (failed_cleanly(block))
        return;
    expect(all_zero(block, 3 * size));
    came(block, 3 * size, alignment_of_request(3 * size));
}

static void op_aligned(void)
{
    size_t alignment = (size_t)1 << rng_below(&model.rng, 14), size = some_size();
    void *block = arena_aligned_alloc(model.arena, alignment, size);

    if (!failed_cleanly(block))
        came(block, size, alignment < 8 ? 8 : alignment);
}

static void op_realloc(void)
{
    if (model.count == 0)
        return;
    size_t at = rng_below(&model.rng, model.count), size = some_size();
    interval_t old = model.live[at];
    if (rng_below(&model.rng, 2) == 0)
        size = rng_below(&model.rng, 2 * old.usable + 1);
    expect(holds(old.start, old.usable, old.tag));
    char *block = arena_realloc(model.arena, old.start, size);
    if (block == NULL) {
        expect(model.bounded && errno == ENOMEM && size > old.usable);
        expect(holds(old.start, old.usable, old.tag));
        return;
    }
    expect(holds(block, size < old.usable ? size : old.usable, old.tag));
    model.count--;
    model.bytes -= old.usable;
    memmove(&model.live[at], &model.live[at + 1], (model.count - at) * sizeof model.live[0]);
    came(block, size, alignment_of_request(size));
}

static void op_free(void)
{
    if (model.count == 0)
        return;
    interval_t gone = goes(rng_below(&model.rng, model.count));
    int before = errno = (int)rng_below(&model.rng, 100);

    if (rng_below(&model.rng, 3) == 0)
        arena_free_sized(model.arena, gone.start, rng_below(&model.rng, 2) ? gone.usable : gone.request);
    else
        arena_free(model.arena, gone.start);
    expect(errno == before);
}

static void op_alloc_batch(void)
{
    void *blocks[20];
    size_t size = rng_size(&model.rng, 10), count = 1 + rng_below(&model.rng, 20);
    size_t got = arena_alloc_batch(model.arena, size, count, blocks);

    expect(got <= count);
    expect(got == count || (model.bounded && errno == ENOMEM));
    for (size_t i = 0; i < got; i++)
        came(blocks[i], size, alignment_of_request(size));
}

static void op_free_batch(void)
{
    void *blocks[20];
    size_t count = rng_below(&model.rng, 21);

    for (size_t i = 0; i < count; i++)
        blocks[i] = i % 7 == 3 || model.count == 0 ? NULL : goes(rng_below(&model.rng, model.count)).start;
    arena_free_batch(model.arena, blocks, count);
}

static void op_rare(void)
{
    switch (rng_below(&model.rng, 40)) {
    case 0:
        arena_reset(model.arena);
        model.count = 0;
        model.bytes = 0;
        break;
    case 1:
    case 2:
    case 3:
        arena_trim(model.arena, rng_size(&model.rng, 24));
        break;
    case 4:
    case 5:
        arena_thread_flush();
        break;
    default:
        while (model.count > 30 && rng_below(&model.rng, 60) != 0)
            op_free();
        break;
    }
}

static int find_in_model(void *context, const arena_block_t *block)
{
    if (block->state == ARENA_BLOCK_LIVE) {
        size_t at = position_of(block->start);
        if (at == model.count || model.live[at].start != block->start ||
            model.live[at].usable != block->usable)
            return 1;
        ++*(size_t *)context;
    }
    return 0;
}

static void compare_everything(void)
{
    arena_stats_t stats = stats_of(model.arena);
    size_t walked = 0;

    expect(arena_check(model.arena) == 0);
    expect(stats.live_blocks == model.count);
    expect(stats.live_bytes == model.bytes);
    expect(stats_add_up(&stats));
    expect(model.options.limit_bytes == 0 || stats.peak_mapped_bytes <= model.options.limit_bytes);
    expect(arena_walk(model.arena, find_in_model, &walked) == 0);
    expect(walked == model.count);
    for (size_t i = 0; i < model.count; i++)
        expect(holds(model.live[i].start, model.live[i].usable, model.live[i].tag));
}

static void step(void)
{
    size_t choice = rng_below(&model.rng, 100);

    if (model.count + 20 >= MOST_BLOCKS)
        choice = 50 + choice / 2;
    if (choice < 30)
        op_alloc();
    else if (choice < 37)
        op_calloc();
    else if (choice < 42)
        op_aligned();
    else if (choice < 46)
        op_alloc_batch();
    else if (choice < 60)
        op_realloc();
    else if (choice < 93)
        op_free();
    else if (choice < 97)
        op_free_batch();
    else
        op_rare();
}

static void run(const char *source, arena_options_t options, unsigned largest_log2, double until)
{
    static const char *const fits[] = {"good", "first", "best", "worst", "next"};
    static const unsigned flags[] = {0,
                                     ARENA_NO_CACHE,
                                     ARENA_NO_SLABS | ARENA_NO_CACHE,
                                     ARENA_NO_SLABS,
                                     ARENA_CHECKED,
                                     ARENA_ZERO | ARENA_SINGLE_THREAD};
    size_t limit = options.limit_bytes;
    unsigned always = options.flags;
    uint64_t salt = 0;

    do {
        for (size_t i = 0; i < 5 * sizeof flags / sizeof flags[0]; i++) {
            memset(&model, 0, sizeof model);
            options.fit = (arena_fit_t)(i % 5);
            options.flags = flags[i / 5] | always;
            options.quantum = i % 2 ? 8 : 16;
            options.limit_bytes = i % 3 == 0 ? limit : 0;
            snprintf(place, sizeof place, "%s, fit %s, flags %u, quantum %u, limit %zu", source,
                     fits[options.fit], options.flags, options.quantum, options.limit_bytes);
            model.options = options;
            model.rng.state = seed + i + 1000 * salt;
            model.largest_log2 = largest_log2;
            model.bounded = options.limit_bytes != 0 || options.source == ARENA_SOURCE_BUFFER;
            model.arena = arena_create(&options);
            expect(model.arena != NULL);
            size_t operations = 10000 / SLOWNESS;
            for (model.operation = 1; model.operation <= operations; model.operation++) {
                step();
                if (model.operation % CHECK_EVERY == 0 || model.operation == operations)
                    compare_everything();
            }
            arena_destroy(model.arena);
        }
        salt++;
    } while (now_seconds() < until);
}

/* The sources share what ARENA_STRESS_SECONDS gives; by default each goes through once. */
static double deadline(void)
{
    return now_seconds() + test_seconds(0.0) / 7;
}

static void mmap_agrees_with_the_reference(void **state)
{
    (void)state;
    run("mmap", (arena_options_t){.limit_bytes = 2 * MIB}, 21, deadline());
}

static void sbrk_agrees_with_the_reference(void **state)
{
    (void)state;
    run("sbrk", (arena_options_t){.source = ARENA_SOURCE_SBRK, .limit_bytes = 2 * MIB}, 20, deadline());
}

static void a_break_that_moves_by_pages_agrees_with_the_reference(void **state)
{
    (void)state;
    run("sbrk by pages",
        (arena_options_t){.source = ARENA_SOURCE_SBRK,
                          .flags = ARENA_NO_CACHE | ARENA_NO_SLABS,
                          .limit_bytes = 2 * MIB,
                          .growth_bytes = 8192,
                          .trim_threshold_bytes = 32 * KIB},
        20, deadline());
}

static void a_buffer_agrees_with_the_reference(void **state)
{
    (void)state;
    run("buffer", (arena_options_t){.source = ARENA_SOURCE_BUFFER, .buffer = buffer, .buffer_bytes = 2 * MIB},
        18, deadline());
}

static void a_small_unaligned_buffer_agrees_with_the_reference(void **state)
{
    (void)state;
    run("small buffer",
        (arena_options_t){.source = ARENA_SOURCE_BUFFER, .buffer = buffer + 5, .buffer_bytes = 40 * KIB}, 14,
        deadline());
}

static void aligned_hooks_agree_with_the_reference(void **state)
{
    arena_options_t options = {
        .source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&aligned_book), .limit_bytes = 2 * MIB};

    (void)state;
    run("hooks", options, 20, deadline());
    assert_int_equal(aligned_book.held, 0);
}

static void unaligned_hooks_agree_with_the_reference(void **state)
{
    arena_options_t options = {
        .source = ARENA_SOURCE_HOOKS, .hooks = book_hooks(&unaligned_book), .limit_bytes = 2 * MIB};

    (void)state;
    run("unaligned hooks", options, 20, deadline());
    assert_int_equal(unaligned_book.held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mmap_agrees_with_the_reference),
        cmocka_unit_test(sbrk_agrees_with_the_reference),
        cmocka_unit_test(a_break_that_moves_by_pages_agrees_with_the_reference),
        cmocka_unit_test(a_buffer_agrees_with_the_reference),
        cmocka_unit_test(a_small_unaligned_buffer_agrees_with_the_reference),
        cmocka_unit_test(aligned_hooks_agree_with_the_reference),
        cmocka_unit_test(unaligned_hooks_agree_with_the_reference),
    };

    seed = test_seed(20240611);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
