/*
 * test_region.c: spans from the sources, their growth up to a limit, and the ways back: cut off, purged, kept when the
 * source refuses.
 */
#define _GNU_SOURCE
#include "../../arena/region.h"

#include "../../arena/os.h"
#include "../../arena/run.h"
#include "layer.h"

#include <limits.h>

static book_t book;

static arena_options_t options_with(arena_source_t source)
{
    memset(&book, 0, sizeof book);
    stock_trim(0);
    return (arena_options_t){.name = "region",
                             .source = source,
                             .flags = ARENA_SINGLE_THREAD,
                             .hooks = source == ARENA_SOURCE_HOOKS ? book_hooks(&book) : (arena_hooks_t){0},
                             .first_region_bytes = 4 * GRANULE,
                             .growth_bytes = GRANULE,
                             .trim_threshold_bytes = SIZE_MAX,
                             .purge_delay_ms = UINT_MAX};
}

static arena_t *create(arena_options_t options)
{
    arena_t *arena = arena_create(&options);

    must(arena != NULL);
    return arena;
}

static size_t regions_of(const arena_t *arena)
{
    size_t count = 0;

    for (const region_t *region = arena->regions; region != NULL; region = region->next) {
        assert_true(region->next == NULL || region->next->start >= region->start + region->bytes);
        assert_true(region->next == NULL || region->next->previous == region);
        count++;
    }
    return count;
}

static void close_sound(arena_t *arena)
{
    assert_int_equal(arena_check(arena), 0);
    arena_destroy(arena);
    book_close(&book);
}

/* Takes the whole of every free run. */
static granule_t take_all(arena_t *arena)
{
    bool zero;
    granule_t first = 0;

    while (arena->totals.free_run_bytes != 0) {
        granule_t run = run_find_locked(arena, 1);
        first = run;
        must(run_take_at_locked(arena, run, pagemap_tag(run)->length, KIND_BUSY, &zero));
    }
    return first;
}

/* Gives `length` granules from `first` on back to the free runs. */
static void put(arena_t *arena, granule_t first, uint32_t length)
{
    run_put_locked(arena, first, length, pagemap_tag(first)->region, KIND_FREE_DIRTY);
}

/* --- growth --- */

static void the_first_region_is_as_large_as_asked_for(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_MMAP));
    assert_null(arena->regions);
    assert_true(layer_grow(arena, 100));
    assert_int_equal(regions_of(arena), 1);
    assert_int_equal(arena->regions->bytes, 4 * GRANULE);
    assert_int_equal(arena->totals.mapped_bytes, 4 * GRANULE);
    assert_int_equal(arena->totals.free_run_bytes, 4 * GRANULE);
    assert_int_equal(arena->totals.dirty_bytes, 0);
    assert_true(is_aligned(arena->regions->start, GRANULE));
    assert_int_equal(run_kind(arena, granule_of(arena->regions->start)), KIND_FREE_ZERO);
    close_sound(arena);
}

static void a_need_beyond_the_usual_growth_is_met(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_MMAP));
    assert_true(layer_grow(arena, 9 * GRANULE + 1));
    assert_true(run_find_locked(arena, 10) != 0);
    close_sound(arena);
}

static void later_regions_grow_with_what_is_mapped(void **state)
{
    arena_options_t options = options_with(ARENA_SOURCE_MMAP);

    (void)state;
    options.first_region_bytes = 64 * GRANULE;
    arena_t *arena = create(options);
    assert_true(layer_grow(arena, 1));
    size_t before_growth = arena->totals.mapped_bytes;
    assert_true(layer_grow(arena, 1));
    size_t grown = arena->totals.mapped_bytes - before_growth;
    assert_true(grown >= before_growth / 8 && grown <= before_growth);
    close_sound(arena);
}

static void an_impossible_need_is_refused(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_MMAP));
    assert_false(layer_grow(arena, PTRDIFF_MAX));
    assert_false(layer_grow(arena, SIZE_MAX));
    assert_false(layer_grow(arena, (size_t)PTRDIFF_MAX / 2));
    assert_int_equal(arena->totals.mapped_bytes, 0);
    assert_null(arena->regions);
    close_sound(arena);
}

static void the_limit_holds_to_the_byte(void **state)
{
    arena_options_t options = options_with(ARENA_SOURCE_MMAP);

    (void)state;
    options.limit_bytes = 7 * GRANULE - 1;
    arena_t *arena = create(options);
    assert_true(layer_grow(arena, 6 * GRANULE));
    assert_false(layer_grow(arena, 1));
    assert_int_equal(arena->totals.mapped_bytes, 6 * GRANULE);
    assert_false(region_reserve(arena, GRANULE));
    assert_true(region_reserve(arena, GRANULE - 1));
    assert_false(region_reserve(arena, 1));
    region_unreserve(arena, GRANULE - 1);
    assert_int_equal(arena->totals.mapped_bytes, 6 * GRANULE);
    assert_int_equal(arena->totals.peak_mapped_bytes,
                     6 * GRANULE); /* what was only reserved does not count */
    close_sound(arena);
}

/* What fits the limit is mapped although the usual growth does not. */
static void near_the_limit_growth_shrinks_to_the_need(void **state)
{
    arena_options_t options = options_with(ARENA_SOURCE_MMAP);

    (void)state;
    options.growth_bytes = 100 * GRANULE;
    options.limit_bytes = 6 * GRANULE;
    arena_t *arena = create(options);
    assert_true(layer_grow(arena, 1));
    assert_true(layer_grow(arena, 2 * GRANULE));
    assert_int_equal(arena->totals.mapped_bytes, 6 * GRANULE);
    close_sound(arena);
}

static void a_mapping_that_touches_a_region_joins_it(void **state)
{
    arena_options_t options = options_with(ARENA_SOURCE_MMAP);
    bool joined = false;

    (void)state;
    options.growth_bytes = 2 * GRANULE;
    arena_t *arena = create(options);
    for (int i = 0; i < 20; i++) {
        size_t regions = regions_of(arena), mapped = arena->totals.mapped_bytes;
        assert_true(layer_grow(arena, 1));
        joined |= mapped != 0 && regions_of(arena) == regions;
        assert_true(arena->totals.mapped_bytes > mapped);
    }
    size_t bytes = 0;
    for (const region_t *region = arena->regions; region != NULL; region = region->next)
        bytes += region->bytes;
    assert_int_equal(bytes, arena->totals.mapped_bytes);
    assert_true(joined); /* the kernel places mappings one below the other */
    close_sound(arena);
}

static void the_stock_serves_before_the_kernel(void **state)
{
    arena_options_t options = options_with(ARENA_SOURCE_MMAP);

    (void)state;
    arena_t *arena = create(options);
    must(layer_grow(arena, 1));
    char *start = arena->regions->start;
    arena_destroy(arena);
    assert_int_equal(stock_bytes(), 4 * GRANULE);
    arena = create(options);
    assert_true(layer_grow(arena, 1));
    assert_ptr_equal(arena->regions->start, start);
    assert_int_equal(arena->totals.dirty_bytes, 4 * GRANULE); /* nobody says that it is zero */
    assert_int_equal(stock_bytes(), 0);
    close_sound(arena);
}

/* --- giving back --- */

static void a_trim_cuts_free_ends_off(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_MMAP));
    must(layer_grow(arena, 10 * GRANULE));
    granule_t first = take_all(arena);
    put(arena, first, 2);
    put(arena, first + 5, 5);
    assert_int_equal(region_trim(arena, 0), 7 * GRANULE);
    assert_int_equal(arena->totals.mapped_bytes, 3 * GRANULE);
    assert_ptr_equal(arena->regions->start, granule_start(first + 2));
    assert_int_equal(arena->regions->bytes, 3 * GRANULE);
    assert_int_equal(pagemap_entry_of(first), 0);
    assert_int_equal(pagemap_entry_of(first + 5), 0);
    assert_int_equal(arena->totals.free_run_bytes, 0);
    assert_int_equal(arena->totals.purged_bytes, 7 * GRANULE);
    close_sound(arena);
}

static void a_trim_stops_at_what_is_to_be_kept(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_MMAP));
    must(layer_grow(arena, 10 * GRANULE));
    assert_int_equal(region_trim(arena, 6 * GRANULE), 4 * GRANULE);
    assert_int_equal(arena->totals.mapped_bytes, 6 * GRANULE);
    assert_int_equal(region_trim(arena, 6 * GRANULE), 0);
    assert_int_equal(region_trim(arena, 5 * GRANULE + 1), GRANULE);
    close_sound(arena);
}

static void a_trim_gives_up_empty_regions(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_MMAP));
    must(layer_grow(arena, 1));
    must(layer_grow(arena, 10 * GRANULE));
    assert_int_equal(region_trim(arena, 0), arena->totals.peak_mapped_bytes);
    assert_null(arena->regions);
    assert_int_equal(arena->totals.mapped_bytes, 0);
    assert_int_equal(arena->totals.free_run_bytes, 0);
    assert_true(layer_grow(arena, 1));
    close_sound(arena);
}

static void a_purge_drops_what_lies_between_blocks(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_MMAP));
    must(layer_grow(arena, 10 * GRANULE));
    granule_t first = take_all(arena);
    for (granule_t i = 0; i < 10; i++)
        fill(granule_start(first + i), GRANULE, i);
    put(arena, first + 2, 3);
    put(arena, first + 6, 1);
    assert_int_equal(arena->totals.dirty_bytes, 4 * GRANULE);
    assert_int_equal(region_purge(arena, 0), 4 * GRANULE);
    assert_int_equal(arena->totals.dirty_bytes, 0);
    assert_int_equal(arena->totals.mapped_bytes, 10 * GRANULE);
    for (granule_t i = 0; i < 10; i++) {
        bool dropped = (i >= 2 && i < 5) || i == 6;
        assert_true(dropped ? all_zero(granule_start(first + i), GRANULE)
                            : holds(granule_start(first + i), GRANULE, i));
        assert_int_equal(run_kind(arena, first + i), dropped ? KIND_FREE_ZERO : KIND_BUSY);
    }
    close_sound(arena);
}

static void a_purge_stops_at_its_target_the_longest_first(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_MMAP));
    must(layer_grow(arena, 20 * GRANULE));
    granule_t first = take_all(arena);
    put(arena, first + 1, 2);
    put(arena, first + 4, 8);
    assert_int_equal(region_purge(arena, 2 * GRANULE), 8 * GRANULE);
    assert_int_equal(run_kind(arena, first + 1), KIND_FREE_DIRTY);
    assert_int_equal(run_kind(arena, first + 4), KIND_FREE_ZERO);
    close_sound(arena);
}

static void only_the_dirty_part_of_a_run_is_dropped(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_MMAP));
    must(layer_grow(arena, 12 * GRANULE));
    granule_t first = take_all(arena);
    put(arena, first + 2, 8);
    must(region_purge(arena, 0) == 8 * GRANULE);
    bool zero;
    must(run_take_at_locked(arena, first + 2, 8, KIND_BUSY, &zero) && zero);
    run_put_locked(arena, first + 2, 8, arena->regions->id, KIND_FREE_ZERO);
    must(run_take_at_locked(arena, first + 2, 1, KIND_BUSY, &zero));
    put(arena, first + 2, 1);
    assert_int_equal(arena->totals.dirty_bytes, GRANULE);
    assert_int_equal(region_purge(arena, 0), GRANULE);
    assert_int_equal(arena->totals.dirty_bytes, 0);
    close_sound(arena);
}

/* --- the break --- */

static void the_break_grows_one_region_and_goes_back(void **state)
{
    char *start = os_break();

    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_SBRK));
    assert_true(layer_grow(arena, 1));
    assert_true(is_aligned(arena->regions->start, GRANULE));
    assert_ptr_equal(arena->regions->start - arena->regions->pad, start);
    assert_true(layer_grow(arena, 1));
    assert_int_equal(regions_of(arena), 1);
    assert_ptr_equal(os_break(), arena->regions->start + arena->regions->bytes);
    assert_true(region_trim(arena, 0) != 0);
    assert_ptr_equal(os_break(), start); /* the pad went too */
    close_sound(arena);
}

static void behind_a_foreign_break_a_new_region_begins(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_SBRK));
    must(layer_grow(arena, 1));
    size_t mapped = arena->totals.mapped_bytes;
    char *foreign = os_break_move(100);
    must(foreign != NULL);
    memset(foreign, 0x5a, 100);
    assert_true(layer_grow(arena, 1));
    assert_int_equal(regions_of(arena), 2);
    region_trim(arena, 0);
    assert_int_equal(regions_of(arena), 1); /* the lower one lies under the foreign bytes */
    assert_int_equal(arena->totals.mapped_bytes, mapped);
    for (int i = 0; i < 100; i++)
        assert_int_equal(foreign[i], 0x5a);
    assert_ptr_equal(os_break(), foreign + 100);
    must(os_break_move(-100) != NULL);
    close_sound(arena);
}

/* --- hooks --- */

static void the_hooks_map_and_take_back(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_HOOKS));
    assert_true(layer_grow(arena, 1));
    assert_true(arena->regions->in_map);
    assert_int_equal(book.held, arena->totals.mapped_bytes);
    assert_int_equal(region_trim(arena, 0), arena->totals.peak_mapped_bytes);
    assert_int_equal(book.held, 0);
    close_sound(arena);
}

static void memory_that_the_hooks_call_dirty_is_not_taken_for_zero(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_HOOKS));
    book.dirty = true;
    must(layer_grow(arena, 1));
    assert_int_equal(run_kind(arena, granule_of(arena->regions->start)), KIND_FREE_DIRTY);
    close_sound(arena);
}

static void what_the_hooks_purged_is_unknown_and_not_zero(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_HOOKS));
    must(layer_grow(arena, 8 * GRANULE - 16));
    granule_t first = take_all(arena);
    put(arena, first + 1, 3);
    assert_int_equal(region_purge(arena, 0), 3 * GRANULE);
    assert_int_equal(book.purges, 1);
    assert_int_equal(run_kind(arena, first + 1), KIND_FREE_PURGED);
    close_sound(arena);
}

static void what_the_hooks_refuse_to_take_back_stays_in_use(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_HOOKS));
    must(layer_grow(arena, 1));
    size_t mapped = arena->totals.mapped_bytes;
    take_all(arena);
    put(arena, granule_of(arena->regions->start), (uint32_t)(mapped / GRANULE));
    book.keep = true;
    region_trim(arena, 0);
    assert_int_equal(arena->totals.mapped_bytes, mapped);
    assert_int_equal(arena->totals.free_run_bytes, mapped);
    assert_int_equal(regions_of(arena), 1);
    assert_true(run_find_locked(arena, (uint32_t)(mapped / GRANULE)) != 0);
    close_sound(arena);
}

static void unaligned_memory_is_found_by_its_bounds(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_HOOKS));
    book.skew = 48;
    assert_true(layer_grow(arena, 1));
    region_t *region = arena->regions;
    assert_false(region->in_map);
    assert_int_equal(region->raw_bytes, region->bytes);
    assert_ptr_equal(region_by_bounds_locked(arena, region->start), region);
    assert_ptr_equal(region_by_bounds_locked(arena, region->start + region->bytes - 1), region);
    assert_null(region_by_bounds_locked(arena, region->start - 1));
    assert_null(region_by_bounds_locked(arena, region->start + region->bytes));
    assert_int_equal(pagemap_entry(region->start), 0);
    lock_acquire(&arena->grow);
    lock_acquire(&arena->lock);
    region_t *last = region_detach_all_locked(arena, false);
    lock_release(&arena->lock);
    region_release(arena, last, false);
    lock_release(&arena->grow);
    assert_int_equal(book.held, 0);
    arena_destroy(arena);
}

static void hooks_without_memory_leave_no_trace(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_HOOKS));
    book.map_limit = GRANULE - 1;
    assert_false(layer_grow(arena, 1));
    assert_int_equal(arena->totals.mapped_bytes, 0);
    assert_null(arena->regions);
    close_sound(arena);
}

/* --- releasing all --- */

static void a_reset_keeps_the_first_region_as_one_free_run(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_HOOKS));
    must(layer_grow(arena, 1));
    take_all(arena);
    arena_reset(arena);
    assert_int_equal(regions_of(arena), 1);
    assert_int_equal(arena->totals.mapped_bytes, arena->regions->bytes);
    assert_int_equal(book.held, arena->regions->bytes);
    assert_int_equal(arena->totals.free_run_bytes, arena->regions->bytes);
    assert_int_equal(pagemap_tag(granule_of(arena->regions->start))->length,
                     arena->regions->bytes >> GRANULE_LOG2);
    close_sound(arena);
}

static void a_reset_gives_back_all_but_a_first_region(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_HOOKS));
    for (size_t granules = 1; granules < 30; granules *= 2)
        must(layer_grow(arena, granules * GRANULE));
    arena_reset(arena);
    assert_true(regions_of(arena) <= 1);
    assert_true(arena->totals.mapped_bytes <= 2 * arena->first_region_bytes);
    assert_int_equal(book.held, arena->totals.mapped_bytes);
    assert_int_equal(arena->totals.free_run_bytes, arena->totals.mapped_bytes);
    close_sound(arena);
}

static void a_destroyed_arenas_addresses_are_nobodys(void **state)
{
    (void)state;
    arena_t *arena = create(options_with(ARENA_SOURCE_HOOKS));
    must(layer_grow(arena, 1));
    char *start = arena->regions->start;
    assert_int_not_equal(pagemap_entry(start), 0);
    arena_destroy(arena);
    assert_int_equal(pagemap_entry(start), 0);
    assert_int_equal(pagemap_entry(start + 3 * GRANULE), 0);
    assert_int_equal(book.held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_region_is_as_large_as_asked_for),
        cmocka_unit_test(a_need_beyond_the_usual_growth_is_met),
        cmocka_unit_test(later_regions_grow_with_what_is_mapped),
        cmocka_unit_test(an_impossible_need_is_refused),
        cmocka_unit_test(the_limit_holds_to_the_byte),
        cmocka_unit_test(near_the_limit_growth_shrinks_to_the_need),
        cmocka_unit_test(a_mapping_that_touches_a_region_joins_it),
        cmocka_unit_test(the_stock_serves_before_the_kernel),
        cmocka_unit_test(a_trim_cuts_free_ends_off),
        cmocka_unit_test(a_trim_stops_at_what_is_to_be_kept),
        cmocka_unit_test(a_trim_gives_up_empty_regions),
        cmocka_unit_test(a_purge_drops_what_lies_between_blocks),
        cmocka_unit_test(a_purge_stops_at_its_target_the_longest_first),
        cmocka_unit_test(only_the_dirty_part_of_a_run_is_dropped),
        cmocka_unit_test(the_break_grows_one_region_and_goes_back),
        cmocka_unit_test(behind_a_foreign_break_a_new_region_begins),
        cmocka_unit_test(the_hooks_map_and_take_back),
        cmocka_unit_test(memory_that_the_hooks_call_dirty_is_not_taken_for_zero),
        cmocka_unit_test(what_the_hooks_purged_is_unknown_and_not_zero),
        cmocka_unit_test(what_the_hooks_refuse_to_take_back_stays_in_use),
        cmocka_unit_test(unaligned_memory_is_found_by_its_bounds),
        cmocka_unit_test(hooks_without_memory_leave_no_trace),
        cmocka_unit_test(a_reset_keeps_the_first_region_as_one_free_run),
        cmocka_unit_test(a_reset_gives_back_all_but_a_first_region),
        cmocka_unit_test(a_destroyed_arenas_addresses_are_nobodys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
