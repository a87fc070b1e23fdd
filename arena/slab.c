/* slab.c: see slab.h. Guarded by the arena's mutex throughout. */
#include "slab.h"

#include "list.h"
#include "meta.h"
#include "os.h"
#include "run.h"
#include "source.h"

const uint64_t slab_reciprocal[SLAB_CLASSES + 1] = {
    0,          137438953472, 68719476736, 34359738368, 22906492246, 17179869184, 13743895348, 11453246123,
    9817068106, 8589934592,   7635497416,  6871947674,  6247225158,  5726623062,  5286113596,  4908534053,
    4581298450, 4294967296,   3817748708,  3435973837,  3123612579,  2863311531,  2643056798,  2454267027,
    2290649225, 2147483648,   1908874354,  1717986919,  1561806290,  1431655766,  1321528399,  1227133514,
    1145324613, 1073741824,   1010580541,  954437177,   858993460,   780903145,   715827883,   660764200,
    613566757,  572662307,    536870912,   505290271,   477218589,   429496730,   390451573,   357913942,
    330382100,  306783379,    286331154,   268435456,   251719696,   235340674,   220254734,   202116109,
    184729777,  168430091,    152034241,   134217728,   117670337,   101058055,   84215046,    67108864,
    59652324,   51130564,     42949673,    33554432,    29826162,    25565282,    21053762,    16777216,
};

static slab_class_t *class_of(arena_t *arena, const slab_t *slab)
{
    return &arena->granules->slab_class[slab->class];
}

/* Blocks that slabs of the class now hold, or no longer do. */
static void count_free(arena_t *arena, unsigned class, ptrdiff_t blocks)
{
    _Atomic(size_t) *free_bytes = &arena->granules->slab_class[class].free_bytes;
    size_t bytes = (size_t)blocks * sizeclass_bytes[class];
    atomic_store_explicit(free_bytes, atomic_load_explicit(free_bytes, memory_order_relaxed) + bytes,
                          memory_order_relaxed);
    arena->totals.slab_free_usable += bytes;
}

/* Into the list of its fullness. The bounds spare most calls the division. */
static void link_slab(arena_t *arena, slab_t *slab)
{
    unsigned capacity = slab->capacity;
    unsigned list = slab->used * (unsigned)FULLNESS_LISTS / capacity;
    slab->list = (uint8_t)list;
    slab->least = (uint16_t)max_size((list * capacity + FULLNESS_LISTS - 1) / FULLNESS_LISTS, 1);
    slab->most = (uint16_t)(((list + 1) * capacity - 1) / FULLNESS_LISTS);
    slab_class_t *class = class_of(arena, slab);
    slab_t *first = slab_first(class, list);
    LIST_PUSH(first, slab, next, previous);
    class->partial[list] = slab->granule;
}

static void unlink_slab(arena_t *arena, slab_t *slab)
{
    if (slab->list == FULLNESS_LISTS) {
        return;
    }
    slab_t *first = slab;
    LIST_UNLINK(first, slab, next, previous);
    if (first != slab) {
        class_of(arena, slab)->partial[slab->list] = first == NULL ? 0 : first->granule;
    }
    slab->list = FULLNESS_LISTS;
}

static slab_t *new_slab(arena_t *arena, unsigned class)
{
    unsigned granules = slab_granules(class);
    uint16_t capacity = (uint16_t)(granules * GRANULE / sizeclass_bytes[class]);
    slab_t *slab = meta_try_calloc(sizeof *slab + (size_t)(capacity + 63) / 64 * sizeof slab->free[0]);
    if (slab == NULL) {
        return NULL;
    }
    slab->granule = run_take_locked(arena, granules, class, &slab->zero);
    if (slab->granule == 0) {
        meta_free(slab);
        return NULL;
    }
    slab->capacity = capacity;
    slab->class = (uint8_t) class;
    for (unsigned i = 0; i < granules; i++) {
        run_tag_t *tag = pagemap_tag(slab->granule + i);
        tag->place = i;
        tag->descriptor = slab;
    }
    link_slab(arena, slab);
    class_of(arena, slab)->slabs++;
    arena->totals.slabs++;
    arena->totals.slab_bytes += granules * GRANULE;
    count_free(arena, class, capacity);
    return slab;
}

/* The slab must be empty. */
static void release_slab(arena_t *arena, slab_t *slab)
{
    uint32_t region = pagemap_tag(slab->granule)->region;
    unsigned granules = slab_granules(slab->class);
    unlink_slab(arena, slab);
    class_of(arena, slab)->slabs--;
    arena->totals.slabs--;
    arena->totals.slab_bytes -= granules * GRANULE;
    count_free(arena, slab->class, -(ptrdiff_t)slab->capacity);
    run_put_locked(arena, slab->granule, granules, region, KIND_FREE_DIRTY);
    meta_free(slab);
}

/* Free blocks in address order: those of the bitmap, then those never given out. *fresh: how many of these. */
static size_t take_blocks(slab_t *slab, void **out, size_t count, size_t *fresh)
{
    char *start = granule_start(slab->granule);
    size_t bytes = sizeclass_bytes[slab->class];
    size_t got = 0;
    unsigned words = (slab->bump + 63u) / 64;
    unsigned word = slab->first_word;
    while (got < count && word < words) {
        uint64_t bits = slab->free[word];
        while (bits != 0 && got < count) {
            out[got++] = start + (word * 64 + lowest_bit(bits)) * bytes;
            bits &= bits - 1;
        }
        slab->free[word] = bits;
        word += bits == 0;
    }
    slab->first_word = (uint16_t)word;
    *fresh = min_size(count - got, (size_t)slab->capacity - slab->bump);
    char *next = start + slab->bump * bytes;
    for (size_t end = got + *fresh; got < end; next += bytes) {
        out[got++] = next;
    }
    slab->bump = (uint16_t)(slab->bump + *fresh);
    return got;
}

static slab_t *fullest_with_room(const slab_class_t *class)
{
    unsigned list = FULLNESS_LISTS - 1;
    while (list > 0 && class->partial[list] == 0) {
        list--;
    }
    return slab_first(class, list);
}

/* Its number of used blocks left the bounds of its list: a full one is in none, an empty one goes unless it is its
 * class's last. */
static void relist(arena_t *arena, slab_t *slab)
{
    unlink_slab(arena, slab);
    if (slab->used == slab->capacity) {
        slab->least = slab->capacity;
    } else if (slab->used == 0 && (class_of(arena, slab)->slabs > 1 || slab->class > GRANULE_CLASSES)) {
        release_slab(arena, slab);
    } else {
        link_slab(arena, slab);
    }
}

/* *zero: of the last block. */
static size_t take(arena_t *arena, unsigned class, void **out, size_t count, bool *zero)
{
    check_debug(lock_is_held(&arena->lock));
    size_t got = 0;
    while (got < count) {
        slab_t *slab = fullest_with_room(&arena->granules->slab_class[class]);
        slab = slab != NULL ? slab : new_slab(arena, class);
        if (slab == NULL) {
            break;
        }
        if (UNLIKELY(slab->purged_bytes != 0)) {
            arena->granules->retaken_bytes += slab->purged_bytes;
            slab->purged_bytes = 0;
        }
        size_t fresh;
        size_t taken = take_blocks(slab, out + got, count - got, &fresh);
        *zero = slab->zero && fresh != 0;
        slab->used = (uint16_t)(slab->used + taken);
        got += taken;
        if (slab->used > slab->most) {
            relist(arena, slab);
        }
    }
    arena->totals.slab_blocks += got;
    arena->totals.slab_usable += got * sizeclass_bytes[class];
    count_free(arena, class, -(ptrdiff_t)got);
    return got;
}

size_t slab_take_locked(arena_t *arena, unsigned class, void **out, size_t count)
{
    bool zero;
    return take(arena, class, out, count, &zero);
}

void *slab_take_one_locked(arena_t *arena, unsigned class, bool *zero)
{
    void *block = NULL;
    return take(arena, class, &block, 1, zero) == 1 ? block : NULL;
}

void *slab_take_left_locked(arena_t *arena, unsigned class)
{
    bool any = fullest_with_room(&arena->granules->slab_class[class]) != NULL;
    bool zero;
    return any ? slab_take_one_locked(arena, class, &zero) : NULL;
}

static misuse_t validate(const slab_t *slab, size_t offset, unsigned index)
{
    if (offset != (size_t)index * sizeclass_bytes[slab->class]) {
        return MISUSE_INTERIOR;
    }
    if (index >= slab->bump) {
        return MISUSE_FOREIGN;
    }
    return slab_bit(slab, index) ? MISUSE_DOUBLE_FREE : MISUSE_NONE;
}

misuse_t slab_validate_locked(const void *block)
{
    const slab_t *slab = slab_of(block);
    size_t offset = slab_offset(slab->class, block);
    return validate(slab, offset, slab_index(slab->class, offset));
}

/* The slab in which a block lies if that is of the class which `entry` says, and has no names; else NULL. */
INLINE slab_t *slab_by(const void *block, uint32_t entry)
{
    granule_t granule = granule_of(block);
    pagemap_leaf_t *leaf = pagemap_leaf(granule);
    uint32_t low = granule & ((1 << LEAF_LOG2) - 1);
    bool is = leaf != NULL && atomic_load_explicit(&leaf->entry[low], memory_order_relaxed) == entry;
    return is ? leaf->tag[low].descriptor : NULL;
}

/* Sets the bit of the block at an offset; false: there is none, or it is free. */
INLINE bool put_back(slab_t *slab, size_t bytes, uint64_t reciprocal, size_t offset)
{
    unsigned index = slab_index_by(reciprocal, offset);
    uint64_t bit = (uint64_t)1 << (index % 64);
    uint64_t *word = &slab->free[index / 64];
    if (UNLIKELY(offset != index * bytes || index >= slab->bump || (*word & bit) != 0)) {
        return false;
    }
    *word |= bit;
    if (UNLIKELY(index / 64 < slab->first_word)) {
        slab->first_word = (uint16_t)(index / 64);
    }
    return true;
}

/* Whether the slab is to be listed anew, now that so many came back. */
INLINE bool count_back(slab_t *slab, size_t count)
{
    slab->used = (uint16_t)(slab->used - count);
    slab->freed = true;
    return slab->used < slab->least;
}

size_t slab_put_locked(arena_t *arena, void *const *blocks, size_t count, misuse_t *wrong)
{
    slab_t *slab = slab_of(*blocks);
    unsigned class = slab->class;
    size_t bytes = sizeclass_bytes[class], span = slab_granules(class) * GRANULE;
    uint64_t reciprocal = slab_reciprocal[class];
    const uint32_t entry = arena->tag | class;
    size_t done = 0, first, counted = 0;
    do {
        const char *start = granule_start(slab->granule);
        size_t offset = distance(start, blocks[done]);
        first = done;
        while (LIKELY(put_back(slab, bytes, reciprocal, offset)) && ++done < count &&
               (offset = distance(start, blocks[done])) < span) {
        }
        if (UNLIKELY(count_back(slab, done - first))) {
            count_free(arena, class, (ptrdiff_t)(done - counted));
            counted = done;
            relist(arena, slab);
        }
    } while (done != first && done < count && (slab = slab_by(blocks[done], entry)) != NULL);
    count_free(arena, class, (ptrdiff_t)(done - counted));
    arena->totals.slab_blocks -= done;
    arena->totals.slab_usable -= done * bytes;
    *wrong = done == 0 ? slab_validate_locked(*blocks) : *wrong;
    return max_size(done, 1);
}

void slab_release_empty_locked(arena_t *arena)
{
    for (unsigned class = 1; !arena->in_buffer && class <= SLAB_CLASSES; class ++) {
        slab_t *slab = slab_first(&arena->granules->slab_class[class], 0);
        while (slab != NULL) {
            slab_t *next = slab->next;
            if (slab->used == 0) {
                release_slab(arena, slab);
            }
            slab = next;
        }
    }
}

/* Whether no block that is given out touches [from, to), offsets in the slab. */
static bool range_is_free(const slab_t *slab, size_t from, size_t to)
{
    size_t bytes = sizeclass_bytes[slab->class];
    for (size_t index = from / bytes; index < slab->bump && index * bytes < to; index++) {
        if (!slab_bit(slab, (unsigned)index)) {
            return false;
        }
    }
    return true;
}

size_t slab_purge_locked(arena_t *arena, slab_t *slab)
{
    size_t page = os_page_bytes();
    size_t end = slab_granules(slab->class) * GRANULE;
    char *start = granule_start(slab->granule);
    size_t purged = 0;
    for (size_t from = 0; from < end;) {
        size_t to = from;
        while (to < end && range_is_free(slab, to, to + page)) {
            to += page;
        }
        if (to > from && source_drop(arena, start + from, to - from)) {
            purged += to - from;
        }
        arena->totals.kernel_calls += to > from;
        from = to + page;
    }
    slab->freed = false;
    size_t before = slab->purged_bytes; /* all of it is free still, and was purged again */
    size_t more = purged - min_size(purged, before);
    slab->purged_bytes = (uint32_t)(before + more);
    arena->totals.purged_bytes += more;
    return more;
}
