/*
 * test_verify.c: each invariant of arena/verify.h, broken once by hand on a healthy arena: arena_check must report that
 * number, and no other, and nothing again once the damage is repaired.
 */
#define _GNU_SOURCE
#include "../../arena/verify.h"

#include "../../arena/bin.h"
#include "../../arena/carve.h"
#include "../../arena/large.h"
#include "../../arena/name.h"
#include "../../arena/run.h"
#include "../../arena/slab.h"
#include "layer.h"

#if ARENA_TCACHE
#include "../../arena/alloc.h"
#include "../../tcache/tcache.h"
#endif

enum { GRANULES = 40, INVARIANTS = 16, SLAB_BLOCKS = 200 };

/*
 * The heap that is broken: [chunk run][slab][busy][free: purged, dirty][busy][free: zero], and a large block.
 */
static arena_t *arena;
static granule_t base;
static chunk_t *row[6]; /* of 64 bytes each; the second and the fourth are free */
static slab_t *slab;
static granule_t dirty_run, zero_run, last_busy; /* free runs; one granule at the end that is BUSY */
static char *large;

static unsigned reported[INVARIANTS + 2]; /* how often each number was; the last: what was not understood */

static void note(void *context, const char *message, const void *block)
{
    unsigned number = INVARIANTS + 1;

    (void)context;
    (void)block;
    if (sscanf(message, "libarena: broken invariant %u: block", &number) != 1 || number > INVARIANTS)
        number = INVARIANTS + 1;
    reported[number]++;
}

static void make_chunks(void)
{
    bool zero;

    must(carve_grow_locked(arena, 4096));
    for (size_t i = 0; i < 6; i++) {
        must((row[i] = carve_take_locked(arena, 64, CHUNK_PLAIN, &zero)) != NULL);
        must(i == 0 || row[i] == chunk_at(row[i - 1], 64));
    }
    must(carve_put_locked(arena, row[1]) == MISUSE_NONE && carve_put_locked(arena, row[3]) == MISUSE_NONE);
}

static void make_slab(void)
{
    static void *blocks[SLAB_BLOCKS];

    must(slab_take_locked(arena, 2, blocks, SLAB_BLOCKS) == SLAB_BLOCKS);
    slab = slab_of(blocks[0]);
    must(put_back(arena, blocks[70]) == MISUSE_NONE && put_back(arena, blocks[3]) == MISUSE_NONE);
}

static void make_runs(void)
{
    bool zero;
    uint32_t region = arena->regions->id;

    zero_run = run_take_locked(arena, 20, KIND_BUSY, &zero);
    dirty_run = zero_run + 1;
    must(zero_run != 0 && zero);
    run_put_locked(arena, dirty_run, 4, region, KIND_FREE_ZERO);
    run_put_locked(arena, dirty_run + 4, 4, region, KIND_FREE_DIRTY);
    zero_run = run_find_long_locked(&arena->granules->clean_runs);
    must(zero_run != 0 && zero_run != dirty_run);
    uint32_t length = pagemap_tag(zero_run)->length;
    last_busy = zero_run + length - 1;
    must(run_take_at_locked(arena, zero_run, length, KIND_BUSY, &zero));
    run_put_locked(arena, zero_run, length - 1, region, KIND_FREE_ZERO);
}

static int open_heap(void **state)
{
    bool zero;

    (void)state;
    arena = layer_arena(0, GRANULES);
    base = layer_region(arena, GRANULES);
    make_chunks();
    make_slab();
    make_runs();
    must(last_busy == base + GRANULES - 1);
    must((large = large_alloc(arena, 300000, 16, &zero)) != NULL);
    arena_set_error_handler(note, NULL);
    return 0;
}

static int close_heap(void **state)
{
    (void)state;
    arena_set_error_handler(NULL, NULL);
    arena_destroy(arena);
    return 0;
}

static void expect_none(arena_t *checked)
{
    memset(reported, 0, sizeof reported);
    assert_int_equal(arena_check(checked), 0);
    for (unsigned number = 0; number <= INVARIANTS + 1; number++)
        assert_int_equal(reported[number], 0);
}

static void expect_only(arena_t *checked, unsigned expected)
{
    memset(reported, 0, sizeof reported);
    int broken = arena_check(checked);
    assert_true(broken > 0);
    for (unsigned number = 0; number <= INVARIANTS + 1; number++) {
        if (number != expected)
            assert_int_equal(reported[number], 0);
    }
    assert_true(reported[expected] > 0 && reported[expected] <= (unsigned)broken);
}

static void a_healthy_heap_is_not_reported(void **state)
{
    (void)state;
    expect_none(arena);
}

/* --- 1 to 3: runs --- */

static void runs_whose_tags_disagree_are_invariant_1(void **state)
{
    run_tag_t *tail = pagemap_tag(dirty_run + 7);

    (void)state;
    expect_none(arena);
    tail->length--;
    expect_only(arena, INVARIANT_RUN_TAGS);
    tail->length++;
    tail->region ^= 4;
    expect_only(arena, INVARIANT_RUN_TAGS);
    tail->region ^= 4;
    expect_none(arena);
}

static void granules_of_a_slab_that_have_another_place_are_invariant_1(void **state)
{
    void *block = NULL;
    bool zero;

    (void)state;
    must((block = slab_take_one_locked(arena, SLAB_CLASSES, &zero)) != NULL);
    run_tag_t *last = pagemap_tag(granule_of(block) + slab_granules(SLAB_CLASSES) - 1);
    expect_none(arena);
    last->place--;
    expect_only(arena, INVARIANT_RUN_TAGS);
    last->place++;
    must(put_back(arena, block) == MISUSE_NONE);
    expect_none(arena);
}

static void free_runs_that_adjoin_are_invariant_2(void **state)
{
    (void)state;
    expect_none(arena);
    uint32_t region = pagemap_tag(zero_run)->region;
    uint32_t length = run_remove_locked(arena, zero_run);
    run_restore_locked(arena, zero_run, 3, region);
    run_restore_locked(arena, zero_run + 3, length - 3, region);
    expect_only(arena, INVARIANT_RUNS_MERGED);
    run_remove_locked(arena, zero_run);
    run_remove_locked(arena, zero_run + 3);
    run_restore_locked(arena, zero_run, length, region);
    expect_none(arena);
}

static void dirt_in_the_clean_bins_is_invariant_3(void **state)
{
    (void)state;
    expect_none(arena);
    uint32_t region = pagemap_tag(dirty_run)->region;
    uint32_t length = run_remove_locked(arena, dirty_run);
    run_restore_locked(arena, dirty_run, length, region & ~RUN_DIRTY);
    expect_only(arena, INVARIANT_RUN_DIRT);
    run_remove_locked(arena, dirty_run);
    run_restore_locked(arena, dirty_run, length, region);
    expect_none(arena);
}

/* --- 4 and 5: slabs --- */

static void a_slab_that_miscounts_is_invariant_4(void **state)
{
    (void)state;
    expect_none(arena);
    slab->bump++;
    expect_only(arena, INVARIANT_SLAB_COUNT);
    slab->bump--;
    slab->free[1] ^= 1; /* a block that is given out */
    expect_only(arena, INVARIANT_SLAB_COUNT);
    slab->free[1] ^= 1;
    slab->free[slab->bump / 64 + 1] ^= 1; /* one that never was */
    expect_only(arena, INVARIANT_SLAB_COUNT);
    slab->free[slab->bump / 64 + 1] ^= 1;
    slab->first_word = 1; /* block 3's bit lies before it */
    expect_only(arena, INVARIANT_SLAB_COUNT);
    slab->first_word = 0;
    expect_none(arena);
}

static void a_slab_in_no_or_the_wrong_list_is_invariant_5(void **state)
{
    slab_class_t *class = &arena->granules->slab_class[slab->class];

    (void)state;
    must(class->partial[0] == slab->granule);
    expect_none(arena);
    class->partial[0] = 0;
    expect_only(arena, INVARIANT_SLAB_LISTED);
    class->partial[2] = slab->granule;
    expect_only(arena, INVARIANT_SLAB_LISTED);
    class->partial[2] = 0;
    arena->granules->slab_class[5].partial[0] = slab->granule;
    expect_only(arena, INVARIANT_SLAB_LISTED);
    arena->granules->slab_class[5].partial[0] = 0;
    class->partial[0] = slab->granule;
    expect_none(arena);
    slab->list = 1; /* it would be unlinked from there */
    expect_only(arena, INVARIANT_SLAB_LISTED);
    slab->list = 0;
    expect_none(arena);
}

/* --- 6, 7, 9, 10: chunks --- */

static void neighbours_that_disagree_are_invariant_6(void **state)
{
    uint64_t *footer = before(row[2], sizeof(uint64_t));

    (void)state;
    expect_none(arena);
    chunk_set_prev_inuse(row[2], true);
    expect_only(arena, INVARIANT_CHUNK_TAGS);
    chunk_set_prev_inuse(row[2], false);
    chunk_set_prev_inuse(row[5], false);
    expect_only(arena, INVARIANT_CHUNK_TAGS);
    chunk_set_prev_inuse(row[5], true);
    *footer += 16;
    expect_only(arena, INVARIANT_CHUNK_TAGS);
    *footer -= 16;
    expect_none(arena);
}

/* Cuts the free chunk row[1] into two. */
static void free_chunks_that_adjoin_are_invariant_7(void **state)
{
    chunk_t *second = chunk_at(row[1], 32);

    (void)state;
    expect_none(arena);
    bin_remove_locked(arena, row[1]);
    chunk_set_free(second, 32, 0);
    chunk_set_free(row[1], 32, CHUNK_PREV_INUSE);
    bin_insert_locked(arena, row[1]);
    bin_insert_locked(arena, second);
    expect_only(arena, INVARIANT_CHUNKS_MERGED);
    bin_remove_locked(arena, row[1]);
    bin_remove_locked(arena, second);
    chunk_set_free(row[1], 64, CHUNK_PREV_INUSE);
    bin_insert_locked(arena, row[1]);
    expect_none(arena);
}

/* The last granule is BUSY, as while another thread purges it; then it is nobody's inside our region. */
static void an_entry_that_leads_nowhere_is_invariant_9(void **state)
{
    (void)state;
    expect_none(arena);
    pagemap_set(last_busy, 1, 0);
    arena->totals.mapped_bytes -= GRANULE; /* so that nothing else is missed */
    expect_only(arena, INVARIANT_TILING);
    arena->totals.mapped_bytes += GRANULE;
    pagemap_set(last_busy, 1, arena->tag | KIND_BUSY);
    expect_none(arena);
}

/* What lies behind a broken header cannot be surveyed, so that other numbers may follow, but 9 is the first. */
static void a_header_without_its_seal_is_invariant_9(void **state)
{
    uint64_t header = chunk_header(row[2]);

    (void)state;
    expect_none(arena);
    for (unsigned bit = 56; bit < 64; bit++) {
        atomic_store(&row[2]->header, header ^ (uint64_t)1 << bit);
        memset(reported, 0, sizeof reported);
        assert_true(arena_check(arena) > 0);
        assert_int_equal(reported[INVARIANT_TILING], 1);
        assert_int_equal(reported[INVARIANTS + 1], 0);
    }
    atomic_store(&row[2]->header, header);
    expect_none(arena);
}

static void a_free_chunk_missing_from_its_bin_is_invariant_10(void **state)
{
    (void)state;
    expect_none(arena);
    size_t free_bytes = arena->totals.free_chunk_bytes;
    bin_remove_locked(arena, row[1]);
    arena->totals.free_chunk_bytes = free_bytes;
    expect_only(arena, INVARIANT_CHUNK_BINS);
    bin_insert_locked(arena, row[1]);
    arena->totals.free_chunk_bytes = free_bytes;
    expect_none(arena);
}

static void a_wrong_bitmap_of_chunk_bins_is_invariant_10(void **state)
{
    chunk_bins_t *bins = &arena->bins;
    unsigned bin = bin_index(bins, 64), level = bin >> bins->steps_log2;
    uint16_t bit = binmap_bit(bin, bins->steps_log2);

    (void)state;
    expect_none(arena);
    bins->used.steps[level] ^= bit;
    expect_only(arena, INVARIANT_CHUNK_BINS);
    bins->used.steps[level] ^= bit;
    bins->used.steps[level] ^= bit << 1; /* of an empty bin */
    expect_only(arena, INVARIANT_CHUNK_BINS);
    bins->used.steps[level] ^= bit << 1;
    bins->used.levels ^= 1u << level;
    expect_only(arena, INVARIANT_CHUNK_BINS);
    bins->used.levels ^= 1u << level;
    expect_none(arena);
}

static void a_chunk_in_the_bin_of_another_size_is_invariant_10(void **state)
{
    chunk_bins_t *bins = &arena->bins;
    unsigned bin = bin_index(bins, 64);

    (void)state;
    expect_none(arena);
    must(bins->heads[bin] != NULL && bins->heads[bin + 1] == NULL);
    chunk_t *list = bins->heads[bin];
    unsigned level = bin >> bins->steps_log2;
    uint16_t bit = binmap_bit(bin, bins->steps_log2);
    must((bin + 1) >> bins->steps_log2 == level);
    bins->heads[bin] = NULL;
    bins->heads[bin + 1] = list;
    bins->used.steps[level] ^= bit | bit << 1;
    expect_only(arena, INVARIANT_CHUNK_BINS);
    bins->heads[bin] = list;
    bins->heads[bin + 1] = NULL;
    bins->used.steps[level] ^= bit | bit << 1;
    expect_none(arena);
}

static void a_broken_link_of_a_bin_is_invariant_10(void **state)
{
    chunk_t *head = arena->bins.heads[bin_index(&arena->bins, 64)];

    (void)state;
    must(head != NULL && head->next != NULL);
    expect_none(arena);
    chunk_t *link = head->next->previous;
    head->next->previous = NULL;
    expect_only(arena, INVARIANT_CHUNK_BINS);
    head->next->previous = link;
    expect_none(arena);
}

/* --- 8: large blocks --- */

static void a_large_block_without_its_entry_is_invariant_8(void **state)
{
    run_tag_t *tag = pagemap_tag(granule_of(large));
    large_t impostor = *(large_t *)tag->descriptor;
    void *descriptor = tag->descriptor;

    (void)state;
    expect_none(arena);
    pagemap_set(granule_of(large), 1, 0);
    expect_only(arena, INVARIANT_LARGE);
    pagemap_set(granule_of(large), 1, arena->tag | KIND_LARGE);
    impostor.start += GRANULE;
    tag->descriptor = &impostor;
    expect_only(arena, INVARIANT_LARGE);
    tag->descriptor = descriptor;
    expect_none(arena);
}

/* --- 11: bins of runs --- */

static void a_free_run_missing_from_its_bin_is_invariant_11(void **state)
{
    (void)state;
    expect_none(arena);
    uint32_t region = pagemap_tag(zero_run)->region;
    size_t free_bytes = arena->totals.free_run_bytes;
    uint32_t length = run_remove_locked(arena, zero_run);
    arena->totals.free_run_bytes = free_bytes;
    expect_only(arena, INVARIANT_RUN_BINS);
    run_restore_locked(arena, zero_run, length, region);
    arena->totals.free_run_bytes = free_bytes;
    expect_none(arena);
}

static void a_wrong_bitmap_of_run_bins_is_invariant_11(void **state)
{
    run_bins_t *bins = &arena->granules->dirty_runs;
    unsigned level = lowest_bit(bins->used.levels);
    uint16_t steps = bins->used.steps[level];

    (void)state;
    expect_none(arena);
    bins->used.steps[level] = 0;
    expect_only(arena, INVARIANT_RUN_BINS);
    bins->used.steps[level] = steps;
    arena->granules->clean_runs.used.steps[level + 3] ^= 1;
    expect_only(arena, INVARIANT_RUN_BINS);
    arena->granules->clean_runs.used.steps[level + 3] ^= 1;
    expect_none(arena);
}

/* A level that the map hides is a run that nobody finds. */
static void a_wrong_level_map_of_run_bins_is_invariant_11(void **state)
{
    run_bins_t *bins = &arena->granules->dirty_runs;
    uint32_t levels = bins->used.levels;

    (void)state;
    expect_none(arena);
    bins->used.levels = 0;
    expect_only(arena, INVARIANT_RUN_BINS);
    bins->used.levels = levels;
    expect_none(arena);
}

/* --- 12: totals --- */

static void any_total_that_is_wrong_is_invariant_12(void **state)
{
    totals_t *totals = &arena->totals;
    size_t *const each[] = {
        &totals->free_run_bytes,   &totals->dirty_bytes, &totals->chunk_runs,  &totals->free_chunk_bytes,
        &totals->chunk_usable,     &totals->slab_bytes,  &totals->slabs,       &totals->slab_usable,
        &totals->slab_free_usable, &totals->slab_blocks, &totals->large_bytes, &totals->large_blocks,
        &totals->chunk_blocks,
    };

    (void)state;
    expect_none(arena);
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        *each[i] += 8;
        expect_only(arena, INVARIANT_TOTALS);
        *each[i] -= 8;
        expect_none(arena);
    }
    arena->granules->slab_class[5].free_bytes += 8;
    expect_only(arena, INVARIANT_TOTALS);
    arena->granules->slab_class[5].free_bytes -= 8;
    expect_none(arena);
}

static void more_inside_than_is_mapped_is_invariant_12(void **state)
{
    size_t busy = 0;

    (void)state;
    expect_none(arena);
    for (granule_t granule = base; granule < base + GRANULES; granule++)
        busy += run_kind(arena, granule) == KIND_BUSY ? GRANULE : 0;
    arena->totals.mapped_bytes -= busy + 8;
    expect_only(arena, INVARIANT_TOTALS);
    arena->totals.mapped_bytes += busy + 8;
    expect_none(arena);
}

/* --- 13: caches --- */

static void a_cached_block_that_went_home_is_invariant_13(void **state)
{
    (void)state;
#if ARENA_TCACHE
    bool settle = false;
    arena_t *cached = arena_create(NULL);
    void *blocks[400], *culprit;
    for (size_t i = 0; i < 400; i++)
        must((blocks[i] = arena_alloc(cached, 64)) != NULL);
    arena_free(cached, blocks[399]);
    cache_t *cache = table_lookup(cached);
    must(cache->arena == cached);
    unsigned class = sizeclass_of(64);
    must(*cache->top[class] == blocks[399]);
    expect_none(cached);
    must(alloc_drain(cached, &blocks[399], 1, &settle, &culprit) == MISUSE_NONE); /* yet it is still cached */
    expect_only(cached, INVARIANT_CACHED);
    cache_set_top(cache, class, cache->top[class] - 1); /* gone from the cache, too */
    expect_none(cached);
    arena_destroy(cached);
#else
    skip();
#endif
}

/* --- 14 and 15: names --- */

/* A chunk's and the large block's; others come and go in the tests. */
static void *name_two(void)
{
    void *block = chunk_block(row[2]);

    must(arena_set_name(arena, block, "chunk"));
    must(arena_set_name(arena, large, "large"));
    return block;
}

/* Puts another key in the place of a name's. */
static void move_key(void *from, void *to)
{
    map_t *blocks = &names_of(arena)->blocks;
    uintptr_t text = *map_find(blocks, (uintptr_t)from);

    map_remove(blocks, (uintptr_t)from);
    map_add(blocks, (uintptr_t)to, text);
}

static void a_name_of_no_live_block_is_invariant_14(void **state)
{
    char *block = name_two();
    void *freed = chunk_block(row[1]);

    (void)state;
    must(granule_of(freed) == granule_of(block));
    expect_none(arena);
    move_key(block, block + 8);
    expect_only(arena, INVARIANT_NAMES);
    move_key(block + 8, freed);
    expect_only(arena, INVARIANT_NAMES);
    move_key(freed, block);
    move_key(large, large + GRANULE);
    expect_only(arena, INVARIANT_NAMES);
    move_key(large + GRANULE, large);
    names_find_locked(arena, large)->references = 0;
    expect_only(arena, INVARIANT_NAMES);
    names_find_locked(arena, large)->references = 1;
    expect_none(arena);
}

static void a_name_of_a_cached_block_is_invariant_14(void **state)
{
    (void)state;
#if ARENA_TCACHE
    arena_t *cached = arena_create(NULL);
    void *block = arena_alloc(cached, 64);
    arena_free(cached, block);
    must(*table_lookup(cached)->top[sizeclass_of(64)] == block);
    expect_none(cached);
    must(arena_set_name(cached, block, "freed before")); /* which no one can tell, but the check */
    expect_only(cached, INVARIANT_NAMES);
    must(arena_set_name(cached, block, NULL));
    expect_none(cached);
    arena_destroy(cached);
#else
    skip();
#endif
}

static void a_mark_that_does_not_match_the_names_is_invariant_15(void **state)
{
    void *block = name_two();
    granule_t granule = granule_of(block), other = slab->granule;
    uintptr_t *count = map_find(&names_of(arena)->granules, granule);

    (void)state;
    expect_none(arena);
    pagemap_set(granule, 1, pagemap_entry_of(granule)); /* not marked, but counted */
    expect_only(arena, INVARIANT_NAME_MARKS);
    pagemap_set(granule, 1, pagemap_entry_of(granule) | KIND_NAMED);
    pagemap_set(other, 1, pagemap_entry_of(other) | KIND_NAMED); /* marked, but not counted */
    expect_only(arena, INVARIANT_NAME_MARKS);
    pagemap_set(other, 1, pagemap_entry_of(other));
    ++*count;
    expect_only(arena, INVARIANT_NAME_MARKS);
    --*count;
    expect_none(arena);
}

/* --- 16: the break --- */

static void a_region_of_pages_that_ends_elsewhere_is_invariant_16(void **state)
{
    (void)state;
    arena_t *paged = arena_create(&(arena_options_t){
        .source = ARENA_SOURCE_SBRK, .flags = ARENA_NO_CACHE | ARENA_NO_SLABS, .growth_bytes = 4096});
    must(paged != NULL && arena_alloc(paged, 10000) != NULL);
    expect_none(paged);
    if (sbrk(0) != paged->regions->start + paged->regions->bytes) {
        arena_destroy(paged);
        skip(); /* the C library's malloc has moved it since, and its blocks lie behind */
    }
    must(sbrk(4096) != (void *)-1);
    paged->regions->bytes += 4096; /* where no sentinel is */
    expect_only(paged, INVARIANT_BREAK);
    paged->regions->bytes -= 4096;
    must(sbrk(-4096) != (void *)-1);
    expect_none(paged);
    arena_destroy(paged);
}

#define in_heap(test) cmocka_unit_test_setup_teardown(test, open_heap, close_heap)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_heap(a_healthy_heap_is_not_reported),
        in_heap(runs_whose_tags_disagree_are_invariant_1),
        in_heap(granules_of_a_slab_that_have_another_place_are_invariant_1),
        in_heap(free_runs_that_adjoin_are_invariant_2),
        in_heap(dirt_in_the_clean_bins_is_invariant_3),
        in_heap(a_slab_that_miscounts_is_invariant_4),
        in_heap(a_slab_in_no_or_the_wrong_list_is_invariant_5),
        in_heap(neighbours_that_disagree_are_invariant_6),
        in_heap(free_chunks_that_adjoin_are_invariant_7),
        in_heap(a_large_block_without_its_entry_is_invariant_8),
        in_heap(an_entry_that_leads_nowhere_is_invariant_9),
        in_heap(a_header_without_its_seal_is_invariant_9),
        in_heap(a_free_chunk_missing_from_its_bin_is_invariant_10),
        in_heap(a_wrong_bitmap_of_chunk_bins_is_invariant_10),
        in_heap(a_chunk_in_the_bin_of_another_size_is_invariant_10),
        in_heap(a_broken_link_of_a_bin_is_invariant_10),
        in_heap(a_free_run_missing_from_its_bin_is_invariant_11),
        in_heap(a_wrong_bitmap_of_run_bins_is_invariant_11),
        in_heap(a_wrong_level_map_of_run_bins_is_invariant_11),
        in_heap(any_total_that_is_wrong_is_invariant_12),
        in_heap(more_inside_than_is_mapped_is_invariant_12),
        in_heap(a_cached_block_that_went_home_is_invariant_13),
        in_heap(a_name_of_no_live_block_is_invariant_14),
        in_heap(a_name_of_a_cached_block_is_invariant_14),
        in_heap(a_mark_that_does_not_match_the_names_is_invariant_15),
        in_heap(a_region_of_pages_that_ends_elsewhere_is_invariant_16),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
