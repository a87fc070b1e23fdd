/*
 * split.c: when a class gets two magazines, and one again.
 */
#include "split.h"

#include "../arena/meta.h"
#include "../arena/slab.h"

static split_t *splits_of(cache_t *cache)
{
    if (cache->split == NULL) {
        cache->split = meta_try_calloc((GRANULE_CLASSES + 1) * sizeof *cache->split);
    }
    return cache->split;
}

/* Whether another attempt is worth its while: none failed lately, or the class has grown since. */
static bool is_due(const cache_t *cache, unsigned class, split_t *split)
{
    size_t slabs = slab_count(cache->arena, class);
    if (slabs > split->slabs_then + split->slabs_then / SPARSE_SHARE) {
        *split = (split_t){.slabs_then = slabs};
    }
    return cache->ticks >= split->rests_until;
}

void split_consider(cache_t *cache, unsigned class)
{
    if (class > GRANULE_CLASSES || cache->top[class] == magazine_top_of_dummy() ||
        !slab_is_sparse(cache->arena, class) || splits_of(cache) == NULL) {
        return;
    }
    split_t *split = &cache->split[class];
    magazine_t *magazine = is_due(cache, class, split) ? cache_take_spare(cache) : NULL;
    if (magazine == NULL) {
        return;
    }
    cache_empty_loaded(cache, class);
    while (cache->full[class] != NULL) {
        cache_empty_full(cache, class, cache_unchain(cache, class));
    }
    split->out = cache->top[class];
    split->in = magazine_make_empty(magazine, class);
    split->allocated = split->freed = true; /* neither is known */
    cache->split_classes |= (uint64_t)1 << class;
    cache_set_top(cache, class, magazine_top_of_dummy());
}

void split_end(cache_t *cache, unsigned class)
{
    if (!cache_is_split(cache, class)) {
        return;
    }
    split_t *split = &cache->split[class];
    while (!magazine_top_is_full(split->in) && *split->out != NULL) {
        *++split->in = *split->out--;
    }
    cache->split_classes &= ~((uint64_t)1 << class);
    if (*split->out == NULL) {
        cache_set_top(cache, class, split->in);
        cache_put_spare(cache, magazine_of(split->out));
    } else {
        cache_set_top(cache, class, split->out);
        cache_chain(cache, class, magazine_of(split->in));
    }
}

void split_end_all(cache_t *cache)
{
    for (uint64_t bits = cache->split_classes; bits != 0; bits &= bits - 1) {
        split_end(cache, lowest_bit(bits));
    }
}

void split_review(cache_t *cache, unsigned class)
{
    if (!cache_is_split(cache, class)) {
        return;
    }
    split_t *split = &cache->split[class];
    bool dense = !slab_is_sparse(cache->arena, class);
    bool alone = !split->freed && cache->fill[class] >= magazine_capacity(class);
    if (dense || alone) {
        split->rest = dense ? 0 : split->rest;
        split->rests_until = cache->ticks + SPLIT_PAUSE;
        split_end(cache, class);
    }
    split->freed = false;
}

size_t split_count(const cache_t *cache, unsigned class)
{
    size_t in = 0, out = 0;
    if (cache_is_split(cache, class)) {
        magazine_blocks(cache->split[class].in, class, &in);
        magazine_blocks(cache->split[class].out, class, &out);
    }
    return in + out;
}

/*
 * Blocks that live for long, one in each slab, keep all of them in use, whatever is done: it is tried again later, and
 * twice as much later each time.
 */
static void judge(cache_t *cache, unsigned class)
{
    split_t *split = &cache->split[class];
    size_t slabs = slab_count(cache->arena, class);
    if (slabs > split->slabs_then - split->slabs_then / SPARSE_SHARE) {
        split->rest = max_size(2 * split->rest, SPLIT_REST * split->sent / TICK_ALLOCATIONS + SPLIT_PAUSE);
        split->rests_until = cache->ticks + split->rest;
        split_end(cache, class);
    }
    split->slabs_then = slabs;
    split->sent = 0;
}

void split_send_home(cache_t *cache, unsigned class)
{
    split_t *split = &cache->split[class];
    size_t count;
    void **blocks = magazine_blocks(split->in, class, &count);
    split->in = blocks - 1;
    cache_send_home(cache, blocks, count);
    split->sent += count;
    if (!split->allocated) {
        split_end(cache, class);
    } else if (split->sent >= SPLIT_TURNS * slab_used_blocks(cache->arena, class) ||
               lock_sleepers(&cache->arena->lock) >= SPLIT_SLEEPERS) {
        judge(cache, class);
    }
    split->allocated = false;
}
