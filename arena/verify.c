/*
 * verify.c: arena_check: every invariant of arena/README.md, one function each, by number.
 *
 * Goes over the heap as survey.c does, adds up what it finds and compares: with the neighbours' tags, with
 * the bins, with the totals. Trusts nothing, changes nothing, reports each break with its number and place.
 */
#include "verify.h"
#include "alloc.h"
#include "bin.h"
#include "cachehook.h"
#include "carve.h"
#include "large.h"
#include "name.h"
#include "os.h"
#include "registry.h"
#include "run.h"
#include "survey.h"
#include "tiny.h"

#include <errno.h>

enum { REPORTS_MAX = 8 };

typedef struct {
    const arena_t *arena;
    totals_t found;    /* what the survey adds up */
    granule_t run_end; /* of the last free run, to see two adjoin */
    uint32_t run_region;
    chunk_t *last_chunk; /* of the chunk run being surveyed */
    size_t partial_slabs;
    size_t busy_bytes;
    size_t binned_chunks, binned_runs, free_chunks, free_runs;
    bool quiet; /* no other thread maps or unmaps just now */
    int broken;
    struct {
        int number;
        const void *where;
    } reports[REPORTS_MAX];
} verifier_t;

static void expect(verifier_t *verifier, bool holds, int number, const void *where)
{
    if (holds) {
        return;
    }
    if (verifier->broken < REPORTS_MAX) {
        verifier->reports[verifier->broken].number = number;
        verifier->reports[verifier->broken].where = where;
    }
    verifier->broken++;
}

/* 1: runs tile their region; the first and the last tag of a free run agree. */
static void check_run_tags(verifier_t *verifier, granule_t first, uint32_t length)
{
    const run_tag_t *head = pagemap_tag(first);
    const run_tag_t *tail = pagemap_tag(first + length - 1);
    expect(verifier, tail->length == length && tail->region == head->region, INVARIANT_RUN_TAGS,
           granule_start(first));
}

/* 2: two free runs of one region never adjoin. */
static void check_runs_merged(verifier_t *verifier, granule_t first, uint32_t region)
{
    bool adjoin = verifier->run_end == first && verifier->run_region == region;
    expect(verifier, !adjoin, INVARIANT_RUNS_MERGED, granule_start(first));
}

/* 3: a free run with a dirty granule is in the dirty bins. */
static void check_run_dirt(verifier_t *verifier, granule_t first, uint32_t length)
{
    bool dirty = false;
    for (uint32_t i = 0; i < length; i++) {
        bool one = run_kind(verifier->arena, first + i) == KIND_FREE_DIRTY;
        dirty |= one;
        verifier->found.dirty_bytes += one ? GRANULE : 0;
    }
    bool marked = (pagemap_tag(first)->region & RUN_DIRTY) != 0;
    expect(verifier, marked || !dirty, INVARIANT_RUN_DIRT, granule_start(first));
}

static void verify_free_run(void *context, granule_t first, uint32_t length)
{
    verifier_t *verifier = context;
    uint32_t region = pagemap_tag(first)->region & ~RUN_DIRTY;
    check_run_tags(verifier, first, length);
    check_runs_merged(verifier, first, region);
    check_run_dirt(verifier, first, length);
    verifier->run_end = first + length;
    verifier->run_region = region;
    verifier->free_runs++;
    verifier->found.free_run_bytes += (size_t)length << GRANULE_LOG2;
}

/* 1: each granule of a slab has its class and its place. */
static void check_slab_tags(verifier_t *verifier, const slab_t *slab)
{
    for (unsigned i = 0; i < slab_granules(slab->class); i++) {
        granule_t granule = slab->granule + i;
        bool right = run_kind(verifier->arena, granule) == slab->class && pagemap_tag(granule)->place == i;
        expect(verifier, right, INVARIANT_RUN_TAGS, granule_start(granule));
    }
}

/* 4: the blocks given out are those below bump whose bit is clear; no bit is set at or above bump. */
static void check_slab_count(verifier_t *verifier, const slab_t *slab)
{
    unsigned bits = 0;
    bool beyond = false;
    for (unsigned i = 0; i < (slab->capacity + 63u) / 64 * 64; i++) {
        bits += slab_bit(slab, i);
        beyond |= slab_bit(slab, i) && i >= slab->bump;
    }
    bool first = true;
    for (unsigned word = 0; word < slab->first_word; word++) {
        first &= slab->free[word] == 0;
    }
    expect(verifier, slab->used + bits == slab->bump && !beyond && first && slab->bump <= slab->capacity,
           INVARIANT_SLAB_COUNT, granule_start(slab->granule));
}

/* 5: the slabs with a free block, and no others, are in the list of their fullness. */
static void check_slab_lists(verifier_t *verifier)
{
    size_t listed = 0;
    for (unsigned i = 0; i < (SLAB_CLASSES + 1) * FULLNESS_LISTS; i++) {
        unsigned class = i / FULLNESS_LISTS;
        unsigned list = i % FULLNESS_LISTS;
        const slab_t *slab = slab_first(&verifier->arena->granules->slab_class[class], list);
        for (; slab != NULL && listed <= verifier->found.slabs; slab = slab->next, listed++) {
            bool right = slab->class == class && slab->used < slab->capacity && slab->list == list &&
                         slab->used * (unsigned)FULLNESS_LISTS / slab->capacity == list;
            expect(verifier, right, INVARIANT_SLAB_LISTED, granule_start(slab->granule));
        }
    }
    expect(verifier, listed == verifier->partial_slabs, INVARIANT_SLAB_LISTED, NULL);
}

static void verify_slab(void *context, slab_t *slab)
{
    verifier_t *verifier = context;
    check_slab_tags(verifier, slab);
    check_slab_count(verifier, slab);
    verifier->partial_slabs += slab->used < slab->capacity;
    size_t bytes = sizeclass_bytes[slab->class];
    verifier->found.slabs++;
    verifier->found.slab_bytes += slab_granules(slab->class) * GRANULE;
    verifier->found.slab_blocks += slab->used;
    verifier->found.slab_usable += slab->used * bytes;
    verifier->found.slab_free_usable += (slab->capacity - slab->used) * bytes;
}

static void verify_chunk_run(void *context, void *start)
{
    (void)start;
    verifier_t *verifier = context;
    verifier->last_chunk = NULL;
    verifier->found.chunk_runs++;
}

/* 6: PREV_INUSE says what the chunk before is, and a free chunk's footer is its size. */
static void check_chunk_tags(verifier_t *verifier, const chunk_t *chunk)
{
    const chunk_t *next = chunk_next(chunk);
    bool inuse = chunk_is_inuse(chunk);
    bool footer = inuse || chunk_prev_size(next) == chunk_size(chunk);
    expect(verifier, chunk_prev_is_inuse(next) == inuse && footer, INVARIANT_CHUNK_TAGS, chunk_block(chunk));
}

/* 7: two free chunks never adjoin. */
static void check_chunks_merged(verifier_t *verifier, const chunk_t *chunk)
{
    bool adjoin =
        verifier->last_chunk != NULL && !chunk_is_inuse(verifier->last_chunk) && !chunk_is_inuse(chunk);
    expect(verifier, !adjoin, INVARIANT_CHUNKS_MERGED, chunk_block(chunk));
}

static void verify_tiny_block(void *context, void *block, size_t usable, bool free)
{
    verifier_t *verifier = context;
    (void)block;
    verifier->found.slab_blocks += !free;
    verifier->found.slab_usable += free ? 0 : usable;
    verifier->found.slab_free_usable += free ? usable : 0;
}

static void verify_chunk(void *context, chunk_t *chunk)
{
    verifier_t *verifier = context;
    const arena_t *arena = verifier->arena;
    const void *block = chunk_block(chunk);
    unsigned class = chunk_class(chunk);
    check_chunk_tags(verifier, chunk);
    check_chunks_merged(verifier, chunk);
    verifier->last_chunk = chunk;
    if (class == CHUNK_FREE) {
        verifier->free_chunks++;
        verifier->found.free_chunk_bytes += chunk_size(chunk);
    } else if (class <= CLASSES || chunk_is_plain(class)) {
        verifier->found.chunk_blocks++;
        verifier->found.chunk_usable += carve_usable(block, chunk_header(chunk));
    } else if (class == CHUNK_PIECE && arena->tiny != NULL && tiny_holds(arena, block)) {
        tiny_each(block, verify_tiny_block, verifier);
        verifier->found.slabs++;
        verifier->found.slab_bytes += chunk_size(chunk);
    }
}

/* 8: a large block's first granule leads to its descriptor. */
static void verify_large(void *context, const large_t *large)
{
    verifier_t *verifier = context;
    bool leads = large->moving || (pagemap_entry(large->start) == (verifier->arena->tag | KIND_LARGE) &&
                                   pagemap_tag(granule_of(large->start))->descriptor == large);
    expect(verifier, leads, INVARIANT_LARGE, large->start);
    verifier->found.large_blocks++;
    verifier->found.large_bytes += large->bytes;
}

static void verify_busy(void *context, size_t bytes)
{
    verifier_t *verifier = context;
    verifier->busy_bytes += bytes;
}

/* 9: headers are sealed and sizes lead from chunk to chunk, entries from run to run. */
static void verify_broken(void *context, void *where)
{
    verifier_t *verifier = context;
    verifier->quiet = false; /* the sum is short of what could not be surveyed */
    expect(verifier, false, INVARIANT_TILING, where);
}

/* 10: every free chunk is in the bin of its size, and the bitmaps say which bins hold one. */
static void check_chunk_bins(verifier_t *verifier)
{
    const chunk_bins_t *bins = &verifier->arena->bins;
    for (unsigned bin = 0; bin < bins->levels << bins->steps_log2; bin++) {
        const chunk_t *head = bins->heads[bin];
        expect(verifier, binmap_agrees(&bins->used, bin, bins->steps_log2, head != NULL),
               INVARIANT_CHUNK_BINS, head);
        const chunk_t *previous = NULL;
        for (const chunk_t *chunk = head; chunk != NULL && verifier->binned_chunks <= verifier->free_chunks;
             chunk = chunk->next) {
            bool right = chunk_class(chunk) == CHUNK_FREE && bin_index(bins, chunk_size(chunk)) == bin;
            expect(verifier, right && chunk->previous == previous, INVARIANT_CHUNK_BINS, chunk);
            verifier->binned_chunks++;
            previous = chunk;
            if (!right) {
                break;
            }
        }
    }
    expect(verifier, verifier->binned_chunks == verifier->free_chunks, INVARIANT_CHUNK_BINS, NULL);
}

/* 11: every free run is in a bin, and the bitmaps say which bins hold one. */
static void check_run_bins(verifier_t *verifier, const run_bins_t *bins)
{
    for (unsigned bin = 0; bin < RUN_BINS; bin++) {
        expect(verifier, binmap_agrees(&bins->used, bin, RUN_STEPS_LOG2, bins->heads[bin] != 0),
               INVARIANT_RUN_BINS, granule_start(bins->heads[bin]));
        for (granule_t run = bins->heads[bin]; run != 0; run = pagemap_tag(run)->next) {
            if (!run_kind_is_free(run_kind(verifier->arena, run)) ||
                verifier->binned_runs > verifier->free_runs) {
                expect(verifier, false, INVARIANT_RUN_BINS, granule_start(run));
                return;
            }
            verifier->binned_runs++;
        }
    }
}

static size_t room_of_classes(const granules_t *granules)
{
    size_t bytes = 0;
    for (unsigned class = 1; granules != NULL && class <= SLAB_CLASSES; class ++) {
        bytes += atomic_load_explicit(&granules->slab_class[class].free_bytes, memory_order_relaxed);
    }
    return bytes;
}

/* 12: the totals are what the survey adds up to, and explain every mapped byte. */
static void check_totals(verifier_t *verifier)
{
    const totals_t *kept = &verifier->arena->totals;
    const totals_t *found = &verifier->found;
    bool same = kept->free_run_bytes == found->free_run_bytes && kept->dirty_bytes == found->dirty_bytes &&
                kept->chunk_runs == found->chunk_runs && kept->free_chunk_bytes == found->free_chunk_bytes &&
                kept->chunk_blocks == found->chunk_blocks && kept->chunk_usable == found->chunk_usable &&
                kept->slabs == found->slabs && kept->slab_bytes == found->slab_bytes &&
                kept->slab_blocks == found->slab_blocks && kept->slab_usable == found->slab_usable &&
                kept->slab_free_usable == found->slab_free_usable &&
                (verifier->arena->in_buffer ||
                 room_of_classes(verifier->arena->granules) == found->slab_free_usable) &&
                kept->large_bytes == found->large_bytes && kept->large_blocks == found->large_blocks;
    size_t inside = found->free_run_bytes + kept->chunk_run_bytes + found->large_bytes +
                    verifier->busy_bytes + kept->stuck_bytes + parked_bytes(verifier->arena);
    inside += verifier->arena->in_buffer ? 0 : found->slab_bytes;
    inside += verifier->arena->in_buffer
                  ? distance(verifier->arena->regions->start, verifier->arena->buffer_chunks)
                  : 0;
    bool explained = verifier->quiet ? inside == kept->mapped_bytes : inside <= kept->mapped_bytes;
    expect(verifier, same && explained, INVARIANT_TOTALS, NULL);
}

/* 13: what caches and depots hold is given out as far as the arena knows. */
static void check_cached(void *context, void *block)
{
    verifier_t *verifier = context;
    misuse_t wrong = MISUSE_NONE;
    alloc_usable_locked(verifier->arena, block, &wrong);
    expect(verifier, wrong == MISUSE_NONE, INVARIANT_CACHED, block);
    expect(verifier, names_find_locked(verifier->arena, block) == NULL, INVARIANT_NAMES, block);
}

static bool is_large(const arena_t *arena, const void *block)
{
    const large_t *large = arena->larges; /* not by the map: it may be moving */
    while (large != NULL && large->start != block) {
        large = large->next;
    }
    return large != NULL;
}

/* 14: a name is that of a block given out, and no cached one's (above). */
static void check_name(verifier_t *verifier, const void *block, const name_t *name)
{
    misuse_t wrong = MISUSE_NONE;
    alloc_usable_locked(verifier->arena, block, &wrong);
    bool lives = wrong == MISUSE_NONE || is_large(verifier->arena, block);
    expect(verifier, lives && name->references != 0, INVARIANT_NAMES, block);
}

/*
 * 15: a granule is marked iff the table of granules counts its named blocks. That each count is right shows in a
 * sum: each named block adds a multiple of its granule, each granule takes as many off.
 */
static void check_name_marks(verifier_t *verifier, const names_t *names)
{
    const uint64_t odd = 0x9e3779b97f4a7c15u;
    uint64_t sum = 0;
    for (size_t i = 0; i < names->granules.capacity; i++) {
        granule_t granule = (granule_t)names->granules.slots[i].key;
        uint32_t entry = pagemap_entry_marked(granule_start(granule));
        sum -= granule * odd * names->granules.slots[i].value;
        expect(verifier, granule == 0 || (entry & KIND_NAMED) != 0, INVARIANT_NAME_MARKS,
               granule_start(granule));
    }
    for (size_t i = 0; i < names->blocks.capacity; i++) {
        const void *block = (void *)names->blocks.slots[i].key;
        uint32_t kind = pagemap_entry(block) ^ verifier->arena->tag;
        bool marked = block != NULL && (kind <= SLAB_CLASSES || kind == KIND_CHUNKS);
        sum += marked ? granule_of(block) * odd : 0;
    }
    expect(verifier, sum == 0, INVARIANT_NAME_MARKS, NULL);
}

/* No granule of a region is marked without being counted. */
static void check_counted_marks(verifier_t *verifier, const names_t *names)
{
    size_t marked = 0;
    for (const region_t *region = verifier->arena->regions; region != NULL; region = region->next) {
        for (size_t from = 0; region->in_map && from < region->bytes; from += GRANULE) {
            marked += (pagemap_entry_marked(region->start + from) & KIND_NAMED) != 0;
        }
    }
    expect(verifier, marked == (names == NULL ? 0 : names->granules.used), INVARIANT_NAME_MARKS, NULL);
}

static void verify_names(verifier_t *verifier)
{
    const names_t *names = names_of(verifier->arena);
    check_counted_marks(verifier, names);
    if (names == NULL) {
        return;
    }
    for (size_t i = 0; i < names->blocks.capacity; i++) {
        if (names->blocks.slots[i].key != 0) {
            check_name(verifier, (void *)names->blocks.slots[i].key, (name_t *)names->blocks.slots[i].value);
        }
    }
    check_name_marks(verifier, names);
}

/* 16: the one run of a region of the break that moves by pages begins and ends with it, on a page. */
static void check_break(verifier_t *verifier)
{
    for (const region_t *region = verifier->arena->regions; region != NULL; region = region->next) {
        const char *end = region->start + region->bytes;
        if (verifier->arena->paged && !region->in_map && region->raw_bytes == 0) {
            bool whole = is_aligned(region->start, os_page_bytes()) && is_aligned(end, os_page_bytes()) &&
                         chunk_class(before(end, CHUNK_HEADER)) == CHUNK_END;
            expect(verifier, whole, INVARIANT_BREAK, region->start);
        }
    }
}

static void verify_locked(arena_t *arena, verifier_t *verifier)
{
    survey_t survey = {verifier,     verify_free_run, verify_slab, verify_chunk_run,
                       verify_chunk, verify_large,    verify_busy, verify_broken};
    survey_locked(arena, &survey);
    check_chunk_bins(verifier);
    if (!arena->in_buffer) {
        check_slab_lists(verifier);
        check_run_bins(verifier, &arena->granules->dirty_runs);
        check_run_bins(verifier, &arena->granules->clean_runs);
        expect(verifier, verifier->binned_runs == verifier->free_runs, INVARIANT_RUN_BINS, NULL);
    }
    cache_totals_t cached;
    cachehook_count(arena, &cached);
    if (cached.skipped == 0) { /* what a skipped cache carved is not counted */
        check_totals(verifier);
    }
    cachehook_each_block(arena, check_cached, verifier);
    verify_names(verifier);
    check_break(verifier);
}

int arena_check(arena_t *arena)
{
    if (arena == NULL) {
        errno = EINVAL;
        return -1;
    }
    alloc_check_alive(arena, NULL);
    verifier_t verifier = {.arena = arena};
    lock_acquire(&registry_lock);
    cachehook_stop(arena);
    bool quiet = lock_try_acquire(&arena->grow); /* not by waiting: a hook under it may want the registry */
    verifier.quiet = quiet;
    lock_acquire(&arena->lock);
    verify_locked(arena, &verifier);
    lock_release(&arena->lock);
    if (quiet) {
        lock_release(&arena->grow);
    }
    cachehook_resume(arena);
    lock_release(&registry_lock);
    for (int i = 0; i < verifier.broken && i < REPORTS_MAX; i++) {
        check_report_named(arena->name, verifier.reports[i].number, verifier.reports[i].where);
    }
    return verifier.broken;
}
