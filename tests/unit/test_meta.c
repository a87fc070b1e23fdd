/* test_meta.c: memory for descriptors: alignment, reuse, and granules that go back when they are empty. */
#define _GNU_SOURCE
#include "../../arena/meta.h"

#include "../../arena/util.h"
#include "../support.h"

/* The largest power of two that divides the size rounded up to 64. */
static size_t promised_alignment(size_t bytes)
{
    size_t rounded = (bytes + 63) / 64 * 64, alignment = 1;

    while (rounded % (2 * alignment) == 0)
        alignment *= 2;
    return alignment;
}

static void every_size_is_aligned_as_promised(void **state)
{
    (void)state;
    for (size_t bytes = 1; bytes <= META_MAX_BYTES; bytes += bytes < 600 ? 1 : 61) {
        void *first = meta_alloc(bytes), *second = meta_alloc(bytes);
        assert_non_null(first);
        assert_non_null(second);
        assert_true(is_aligned(first, promised_alignment(bytes)));
        assert_true(is_aligned(second, promised_alignment(bytes)));
        meta_free(first);
        meta_free(second);
    }
    void *largest = meta_alloc(META_MAX_BYTES);
    assert_non_null(largest);
    assert_true(is_aligned(largest, META_MAX_BYTES));
    meta_free(largest);
}

static void objects_of_many_sizes_do_not_overlap(void **state)
{
    enum { OBJECTS = 1500 };
    static void *objects[OBJECTS];
    static size_t bytes[OBJECTS];
    rng_t rng = {1};

    (void)state;
    for (size_t i = 0; i < OBJECTS; i++) {
        bytes[i] = 1 + rng_size(&rng, 14) % META_MAX_BYTES;
        must((objects[i] = meta_alloc(bytes[i])) != NULL);
        fill(objects[i], bytes[i], i);
    }
    for (size_t i = 0; i < OBJECTS; i += 2) {
        assert_true(holds(objects[i], bytes[i], i));
        meta_free(objects[i]);
        bytes[i] = 1 + rng_size(&rng, 14) % META_MAX_BYTES;
        must((objects[i] = meta_alloc(bytes[i])) != NULL);
        fill(objects[i], bytes[i], i);
    }
    for (size_t i = 0; i < OBJECTS; i++) {
        assert_true(holds(objects[i], bytes[i], i));
        meta_free(objects[i]);
    }
}

static void what_was_freed_serves_again(void **state)
{
    (void)state;
    void *first = meta_alloc(200);
    void *second = meta_alloc(200);
    meta_free(first);
    assert_ptr_equal(meta_alloc(193), first); /* the same size, rounded */
    meta_free(first);
    meta_free(second);
}

static uintptr_t granule_of(const void *object)
{
    return align_down((uintptr_t)object, GRANULE);
}

/* A process that holds a few objects touches few pages. */
static void the_first_granule_is_shared_by_all_sizes(void **state)
{
    enum { OBJECTS = 12 };
    char *objects[OBJECTS];

    (void)state;
    assert_int_equal(meta_mapped_bytes(), 0);
    for (size_t i = 0; i < OBJECTS; i++) {
        must((objects[i] = meta_calloc(64 * (i + 1))) != NULL);
        assert_true(all_zero(objects[i], 64 * (i + 1)));
        assert_int_equal(granule_of(objects[i]), granule_of(objects[0]));
        assert_true(distance(objects[0], objects[i]) < 3 * 4096);
    }
    assert_int_equal(meta_mapped_bytes(), GRANULE);
    for (size_t i = 0; i < OBJECTS; i++)
        meta_free(objects[i]);
    for (size_t i = OBJECTS; i-- > 0;) /* each size finds its own again */
        assert_ptr_equal(meta_alloc(64 * (i + 1)), objects[i]);
    for (size_t i = 0; i < OBJECTS; i++)
        meta_free(objects[i]);
}

static void different_sizes_do_not_share_a_later_granule(void **state)
{
    enum { LARGE = 40 };
    char *large[LARGE];

    (void)state;
    for (int i = 0; i < LARGE; i++) /* until the first granule and one of its own are full */
        must((large[i] = meta_alloc(4032)) != NULL);
    for (int i = 0; i < 1024; i++)
        must(meta_alloc(64) != NULL); /* kept: what the large ones left */
    char *small = meta_alloc(64);
    for (int i = 20; i < LARGE; i++)
        assert_int_not_equal(granule_of(small), granule_of(large[i]));
    for (int i = 0; i < LARGE; i++)
        meta_free(large[i]);
    meta_free(small);
}

static void calloc_clears_what_was_used_before(void **state)
{
    (void)state;
    char *dirty = meta_alloc(300);
    memset(dirty, 0xff, 300);
    meta_free(dirty);
    char *clean = meta_calloc(300);
    assert_ptr_equal(clean, dirty);
    assert_true(all_zero(clean, 300));
    meta_free(clean);
}

static void freeing_nothing_is_allowed(void **state)
{
    (void)state;
    meta_free(NULL);
}

/* A granule holds 15 objects of 4,096 bytes besides its header. */
static void an_empty_granule_goes_back_but_the_last(void **state)
{
    enum { OBJECTS = 100 };
    void *objects[OBJECTS];

    (void)state;
    size_t before_all = meta_mapped_bytes();
    for (int i = 0; i < OBJECTS; i++)
        must((objects[i] = meta_alloc(4096)) != NULL);
    size_t mapped = meta_mapped_bytes();
    assert_in_range((mapped - before_all) / GRANULE, OBJECTS / 15,
                    (OBJECTS + 14) / 15); /* one may have been there */
    for (int i = 0; i < OBJECTS; i++)
        meta_free(objects[i]);
    assert_true(meta_mapped_bytes() <= before_all + GRANULE);
    assert_int_equal(meta_mapped_bytes() % GRANULE, 0);
    void *again = meta_alloc(4096); /* the one that stayed */
    assert_true(meta_mapped_bytes() <= before_all + GRANULE);
    meta_free(again);
}

static void a_granule_with_one_object_left_stays(void **state)
{
    enum { OBJECTS = 45 };
    char *objects[OBJECTS];

    (void)state;
    for (int i = 0; i < OBJECTS; i++)
        must((objects[i] = meta_alloc(4000)) != NULL);
    fill(objects[20], 4000, 7);
    for (int i = 0; i < OBJECTS; i++) {
        if (i != 20)
            meta_free(objects[i]);
    }
    assert_true(holds(objects[20], 4000, 7));
    meta_free(objects[20]);
}

static void *hammer(void *number)
{
    enum { HELD = 64 };
    void *objects[HELD] = {NULL};
    size_t bytes[HELD] = {0};
    rng_t rng = {(uintptr_t)number};

    for (int round = 0; round < 20000 / SLOWNESS; round++) {
        size_t i = rng_below(&rng, HELD);
        must(objects[i] == NULL || holds(objects[i], bytes[i], (uintptr_t)number + i));
        meta_free(objects[i]);
        bytes[i] = 1 + rng_below(&rng, 2000);
        must((objects[i] = meta_alloc(bytes[i])) != NULL);
        fill(objects[i], bytes[i], (uintptr_t)number + i);
    }
    for (size_t i = 0; i < HELD; i++)
        meta_free(objects[i]);
    return NULL;
}

static void threads_share_it(void **state)
{
    (void)state;
    run_threads(3, hammer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_granule_is_shared_by_all_sizes),
        cmocka_unit_test(every_size_is_aligned_as_promised),
        cmocka_unit_test(objects_of_many_sizes_do_not_overlap),
        cmocka_unit_test(what_was_freed_serves_again),
        cmocka_unit_test(different_sizes_do_not_share_a_later_granule),
        cmocka_unit_test(calloc_clears_what_was_used_before),
        cmocka_unit_test(freeing_nothing_is_allowed),
        cmocka_unit_test(an_empty_granule_goes_back_but_the_last),
        cmocka_unit_test(a_granule_with_one_object_left_stays),
        cmocka_unit_test(threads_share_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
