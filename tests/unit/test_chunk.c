/* test_chunk.c: the boundary tags: the bits of a header, its seal, and the steps from chunk to chunk. */
#define _GNU_SOURCE
#include "../../arena/chunk.h"

#include "../../arena/sizeclass.h"
#include "../support.h"

static _Alignas(16) char memory[8192];

static chunk_t *chunk_in_memory(size_t offset)
{
    return (chunk_t *)(memory + 8 + offset);
}

static void the_block_begins_eight_bytes_behind_the_chunk(void **state)
{
    chunk_t *chunk = chunk_in_memory(0);

    (void)state;
    assert_ptr_equal(chunk_block(chunk), memory + 16);
    assert_ptr_equal(chunk_of(chunk_block(chunk)), chunk);
}

static void class_size_and_flags_do_not_disturb_each_other(void **state)
{
    static const size_t sizes[] = {0, 8, 32, 48, 65536, (size_t)1 << 40, (size_t)CHUNK_SIZE_MASK};
    chunk_t *chunk = chunk_in_memory(0);

    (void)state;
    for (unsigned class = 0; class <= 0xff; class ++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            for (uint64_t flags = 0; flags <= CHUNK_FLAGS; flags++) {
                chunk_set(chunk, class, sizes[i], flags);
                assert_int_equal(chunk_class(chunk), class);
                assert_int_equal(chunk_size(chunk), sizes[i]);
                assert_int_equal(chunk_is_inuse(chunk), flags & CHUNK_INUSE);
                assert_int_equal(chunk_prev_is_inuse(chunk), (flags & CHUNK_PREV_INUSE) != 0);
                assert_int_equal(chunk_has_flag(chunk, CHUNK_ZERO), (flags & CHUNK_ZERO) != 0);
            }
        }
    }
}

static void flipping_prev_inuse_leaves_all_else(void **state)
{
    chunk_t *chunk = chunk_in_memory(0);

    (void)state;
    for (uint64_t flags = 0; flags <= CHUNK_FLAGS; flags++) {
        chunk_set(chunk, 17, 4096, flags);
        chunk_set_prev_inuse(chunk, true);
        assert_int_equal(chunk_header(chunk) & CHUNK_FLAGS, flags | CHUNK_PREV_INUSE);
        chunk_set_prev_inuse(chunk, false);
        assert_int_equal(chunk_header(chunk) & CHUNK_FLAGS, flags & ~(uint64_t)CHUNK_PREV_INUSE);
        assert_int_equal(chunk_class(chunk), 17);
        assert_int_equal(chunk_size(chunk), 4096);
    }
}

/* Whether a word, taken for the header of `block`, says that it is no header. */
static bool is_rejected(const void *block, uint64_t word)
{
    return chunk_class_of(block, word) > 0xff;
}

static void a_header_copied_elsewhere_is_nearly_always_rejected(void **state)
{
    const char *from = (const char *)((uintptr_t)0x7f12 << 24);
    size_t accepted = 0, tried = 0;

    (void)state;
    for (size_t offset = 0; offset < 4096; offset += 16) {
        uint64_t word = ((uint64_t)5 << 48 ^ chunk_seal(from + offset)) | 64 | CHUNK_INUSE;
        assert_int_equal(chunk_class_of(from + offset, word), 5);
        for (ptrdiff_t far = -65536; far <= 65536; far += 16, tried++)
            accepted += far != 0 && !is_rejected(from + offset + far, word);
    }
    assert_true(accepted * 100 < tried); /* one in 256 */
}

static void the_neighbours_header_is_rejected(void **state)
{
    size_t accepted = 0;

    (void)state;
    for (size_t i = 0; i < 10000; i++) {
        const char *block = (const char *)((uintptr_t)0x7f12 << 24) + i * 48;
        uint64_t word = ((uint64_t)9 << 48 ^ chunk_seal(block)) | 48 | CHUNK_INUSE;
        accepted += !is_rejected(block + 48, word);
        accepted += !is_rejected(block - 48, word);
    }
    assert_true(accepted <= 2 * 10000 / 100);
}

static void zeroes_ones_text_and_pointers_are_nearly_always_rejected(void **state)
{
    size_t accepted = 0, tried = 0;

    (void)state;
    for (size_t i = 0; i < 10000; i++, tried += 4) {
        const char *block = (const char *)((uintptr_t)0x7f12 << 24) + i * 16;
        accepted += !is_rejected(block, 0);
        accepted += !is_rejected(block, ~(uint64_t)0);
        accepted += !is_rejected(block, 0x4141414141414141);
        accepted += !is_rejected(block, (uint64_t)(uintptr_t)block);
    }
    assert_true(accepted * 100 < tried);
}

static void a_flipped_bit_of_the_seal_is_always_rejected(void **state)
{
    chunk_t *chunk = chunk_in_memory(0);

    (void)state;
    chunk_set(chunk, 33, 512, CHUNK_INUSE);
    for (unsigned bit = 56; bit < 64; bit++)
        assert_true(is_rejected(chunk_block(chunk), chunk_header(chunk) ^ (uint64_t)1 << bit));
}

static void chunks_lead_to_the_next_by_size(void **state)
{
    chunk_t *chunk = chunk_in_memory(0);

    (void)state;
    chunk_set(chunk, 3, 96, CHUNK_INUSE);
    assert_ptr_equal(chunk_next(chunk), chunk_in_memory(96));
    assert_ptr_equal(chunk_at(chunk, 128), chunk_in_memory(128));
}

static void a_free_chunk_tells_its_size_at_its_end_and_to_the_next(void **state)
{
    chunk_t *chunk = chunk_in_memory(0), *next = chunk_in_memory(160);

    (void)state;
    chunk_set(next, 3, 96, CHUNK_INUSE | CHUNK_PREV_INUSE);
    chunk_set_free(chunk, 160, CHUNK_PREV_INUSE | CHUNK_ZERO);
    assert_int_equal(chunk_class(chunk), CHUNK_FREE);
    assert_int_equal(chunk_size(chunk), 160);
    assert_false(chunk_is_inuse(chunk));
    assert_true(chunk_has_flag(chunk, CHUNK_ZERO));
    assert_true(chunk_prev_is_inuse(chunk));
    assert_false(chunk_prev_is_inuse(next));
    assert_true(chunk_is_inuse(next));
    assert_int_equal(chunk_prev_size(next), 160);
    assert_ptr_equal(chunk_prev(next), chunk);
}

static void a_chunk_has_room_for_its_header_and_a_free_ones_links(void **state)
{
    (void)state;
    for (unsigned quantum = 8; quantum <= 16; quantum += 8) {
        for (size_t usable = 0; usable < 1000; usable++) {
            size_t size = chunk_size_for(usable, quantum);
            assert_true(size >= usable + CHUNK_HEADER && size >= CHUNK_MIN);
            assert_int_equal(size % quantum, 0);
            assert_true(size == CHUNK_MIN || size - quantum < usable + CHUNK_HEADER);
        }
    }
}

static void a_plain_chunk_can_be_told_from_all_others(void **state)
{
    (void)state;
    for (unsigned class = 0; class <= CLASSES; class ++)
        assert_false(chunk_is_plain(class));
    for (unsigned pad = 0; pad < CHUNK_PADS; pad++)
        assert_true(chunk_is_plain(CHUNK_PLAIN + pad));
    assert_false(chunk_is_plain(CHUNK_PLAIN + CHUNK_PADS));
    for (unsigned class = CHUNK_FREE; class <= CHUNK_LAST; class ++)
        assert_false(chunk_is_plain(class));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_block_begins_eight_bytes_behind_the_chunk),
        cmocka_unit_test(class_size_and_flags_do_not_disturb_each_other),
        cmocka_unit_test(flipping_prev_inuse_leaves_all_else),
        cmocka_unit_test(a_header_copied_elsewhere_is_nearly_always_rejected),
        cmocka_unit_test(the_neighbours_header_is_rejected),
        cmocka_unit_test(zeroes_ones_text_and_pointers_are_nearly_always_rejected),
        cmocka_unit_test(a_flipped_bit_of_the_seal_is_always_rejected),
        cmocka_unit_test(chunks_lead_to_the_next_by_size),
        cmocka_unit_test(a_free_chunk_tells_its_size_at_its_end_and_to_the_next),
        cmocka_unit_test(a_chunk_has_room_for_its_header_and_a_free_ones_links),
        cmocka_unit_test(a_plain_chunk_can_be_told_from_all_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
