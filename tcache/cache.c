/*
 * cache.c: what a cache holds: set up for an arena, sent home, forgotten, counted. The slow paths of allocations and
 * frees are in refill.c and overflow.c; all work under the cache's mutex.
 */
#include "cache.h"

#include "../arena/alloc.h"
#include "depot.h"
#include "split.h"

#include <string.h>

void cache_init(cache_t *cache, arena_t *arena)
{
    cache->arena = arena;
    cache->tag = arena->tag;
    cache->counted_from += cache_allocations(cache); /* ticks go on: arenas may be shorter than one */
    memset(cache->fill, 0, sizeof cache->fill);
    memset(cache->missed, 0, sizeof cache->missed);
    cache->graduated = 0;
    meta_free(cache->split);
    cache->split = NULL;
    cache->full_most = CACHE_FIRST_BYTES;
    cache->next_piece_bytes = PIECE_FIRST_BYTES;
    cache->plain_usable = 0;
    cache->plain_blocks = 0;
    cache->plain_freed = false;
    cache->piece_then = NULL;
    memset(cache->carved, 0, sizeof cache->carved);
    memset(cache->carved_noted, 0, sizeof cache->carved_noted);
}

void cache_free_spares(cache_t *cache, unsigned keep)
{
    while (cache->spare_count > keep) {
        meta_free(cache_take_spare(cache));
    }
}

void cache_unload(cache_t *cache, unsigned class)
{
    if (cache->top[class] != magazine_top_of_dummy()) {
        cache_put_spare(cache, magazine_of(cache->top[class]));
        cache_set_top(cache, class, magazine_top_of_dummy());
    }
    cache->used[class / 64] &= ~((uint64_t)1 << (class % 64));
}

void cache_begin_slow(cache_t *cache)
{
    cache_leave(&thread_self);
    lock_acquire(&cache->lock);
}

void cache_send_home(cache_t *cache, void **blocks, size_t count)
{
    void *culprit = NULL;
    misuse_t wrong = alloc_drain(cache->arena, blocks, count, &cache->settle_due, &culprit);
    if (UNLIKELY(wrong != MISUSE_NONE && cache->wrong == MISUSE_NONE)) {
        cache->wrong = wrong;
        cache->culprit = culprit;
    }
}

void cache_empty_full(cache_t *cache, unsigned class, magazine_t *magazine)
{
    size_t count;
    void **blocks = magazine_blocks(magazine_load_full(magazine, class), class, &count);
    cache_send_home(cache, blocks, count);
    cache_put_spare(cache, magazine);
}

void cache_empty_loaded(cache_t *cache, unsigned class)
{
    size_t count;
    void **blocks = magazine_blocks(cache->top[class], class, &count);
    if (count != 0) {
        cache_set_top(cache, class, blocks - 1);
        cache_send_home(cache, blocks, count);
    }
}

void cache_end_slow(cache_t *cache)
{
    arena_t *arena = cache->arena;
    misuse_t wrong = cache->wrong;
    const void *culprit = cache->culprit;
    bool tick = cache->tick_due, settle = cache->settle_due, review = cache->review_due;
    cache->wrong = MISUSE_NONE;
    cache->tick_due = cache->settle_due = cache->review_due = false;
    lock_release(&cache->lock);
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        misuse(wrong, arena, culprit);
    }
    if (tick) {
        alloc_tick(arena);
    } else if (settle) {
        alloc_settle(arena);
    }
    if (UNLIKELY(review)) {
        thread_review(1);
    }
    check_paranoid(arena_check(arena) == 0);
}

/* Blocks on their way home, of many classes under one hold of the arena's mutex. */
typedef struct {
    void *blocks[2 * MAGAZINE_SLOTS];
    size_t count;
} parcel_t;

static void send_parcel(cache_t *cache, parcel_t *parcel)
{
    cache_send_home(cache, parcel->blocks, parcel->count);
    parcel->count = 0;
}

static void move_loaded(cache_t *cache, unsigned class, parcel_t *parcel)
{
    size_t count;
    void **blocks = magazine_blocks(cache->top[class], class, &count);
    if (count == 0) {
        return; /* perhaps the dummy */
    }
    if (parcel->count + count > 2 * MAGAZINE_SLOTS) {
        send_parcel(cache, parcel);
    }
    memcpy(parcel->blocks + parcel->count, blocks, count * sizeof *blocks);
    parcel->count += count;
    cache_set_top(cache, class, blocks - 1);
}

misuse_t cache_drain(cache_t *cache, unsigned least, void **culprit)
{
    parcel_t parcel; /* its blocks need no beginning */
    parcel.count = 0;
    split_end_all(cache);
    for (unsigned word = 0; word < USED_WORDS; word++) {
        for (uint64_t bits = cache->used[word]; bits != 0; bits &= bits - 1) {
            unsigned class = word * 64 + lowest_bit(bits);
            if (class < least) {
                continue;
            }
            do {
                move_loaded(cache, class, &parcel);
            } while (cache_load_own(cache, class));
            cache_unload(cache, class);
        }
    }
    send_parcel(cache, &parcel);
    misuse_t wrong = cache->wrong;
    cache->wrong = MISUSE_NONE;
    *culprit = wrong == MISUSE_NONE ? *culprit : cache->culprit;
    return wrong;
}

void cache_discard(cache_t *cache)
{
    split_end_all(cache);
    for (unsigned word = 0; word < USED_WORDS; word++) {
        for (uint64_t bits = cache->used[word]; bits != 0; bits &= bits - 1) {
            unsigned class = word * 64 + lowest_bit(bits);
            while (cache_load_own(cache, class)) {
            }
            cache_unload(cache, class);
        }
    }
    cache->piece = NULL;
    cache->piece_bytes = 0;
}

size_t cache_held_of(const cache_t *cache, unsigned class)
{
    size_t count;
    magazine_blocks(cache->top[class], class, &count);
    count += split_count(cache, class);
    return count * sizeclass_bytes[class] + cache->full_count[class] * magazine_bytes(class);
}

size_t cache_held_bytes(const cache_t *cache, unsigned least)
{
    size_t bytes = 0;
    for (unsigned word = 0; word < USED_WORDS; word++) {
        uint64_t bits = cache->used[word] | (word == 0 ? cache->split_classes : 0);
        for (; bits != 0; bits &= bits - 1) {
            unsigned class = word * 64 + lowest_bit(bits);
            bytes += class < least ? 0 : cache_held_of(cache, class);
        }
    }
    return bytes;
}

void cache_each_block(const cache_t *cache, void (*visit)(void *context, void *block), void *context)
{
    for (unsigned class = 1; class <= CLASSES; class ++) {
        for (void **top = cache->top[class]; *top != NULL; top--) {
            visit(context, *top);
        }
        depot_each_block(cache->full[class], class, visit, context);
    }
}
