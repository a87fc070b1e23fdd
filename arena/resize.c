/* resize.c: see resize.h. */
#include "resize.h"

#include "alloc.h"
#include "bin.h"
#include "cachehook.h"
#include "carve.h"
#include "large.h"
#include "name.h"
#include "os.h"
#include "region.h"
#include "run.h"
#include "tiny.h"
#include "want.h"
#include "watch.h"

#include <errno.h>
#include <string.h>

/* Whether a chunk may take granules, or pages of the break, from behind its run. From the threshold on a large block,
 * which moves for nothing, is better. */
static bool may_extend_locked(const arena_t *arena, const want_t *want)
{
    return (want->chunk >= GRANULE || arena->paged) && want->request < arena->large_threshold;
}

/* Whether a chunk of `size` bytes fits into what is free. */
static bool fits_elsewhere_locked(arena_t *arena, size_t size)
{
    size_t bytes =
        align_up(size + CHUNK_HEADER + RUN_FRONT, GRANULE); /* below the threshold of large blocks */
    return bin_find_wide_locked(arena, size) != NULL ||
           run_find_locked(arena, (uint32_t)(bytes >> GRANULE_LOG2)) != 0;
}

/*
 * The break moves up if that is what the chunk needs to grow in place. Not past holes that would take it: whichever
 * block happened to be the last grew the arena then, and left what it had below to nobody.
 */
static bool move_break_behind(arena_t *arena, chunk_t *chunk, const want_t *want)
{
    if (arena->source != ARENA_SOURCE_SBRK) {
        return false;
    }
    char *behind = NULL;
    lock_acquire(&arena->grow);
    lock_acquire(&arena->lock);
    bool may = may_extend_locked(arena, want) && !fits_elsewhere_locked(arena, want->chunk);
    size_t lacks = may ? carve_wants_behind_locked(arena, chunk, want->chunk, &behind) : 0;
    if (lacks != 0 && run_kind_is_free(run_kind(arena, granule_of(behind)))) {
        behind += (size_t)pagemap_tag(granule_of(behind))->length << GRANULE_LOG2;
    }
    lock_release(&arena->lock);
    bool moved = lacks != 0 && behind == os_break() && region_grow_and_lock(arena, lacks);
    if (moved) {
        alloc_adopt_raw_locked(arena);
        lock_release(&arena->lock);
    }
    lock_release(&arena->grow);
    return moved;
}

/* The chunk becomes what is wanted, where it lies: what is behind it joins, or its end goes. */
static bool resize_by(arena_t *arena, chunk_t *chunk, const want_t *want)
{
    lock_acquire(&arena->lock);
    alloc_count_chunk_locked(arena, chunk_class(chunk), -1);
    bool done = carve_resize_locked(arena, chunk, want->chunk, want->mark) ||
                (may_extend_locked(arena, want) && carve_extend_locked(arena, chunk, want->chunk) &&
                 carve_resize_locked(arena, chunk, want->chunk, want->mark));
    alloc_count_chunk_locked(arena, chunk_class(chunk), 1);
    alloc_unlock(arena);
    return done;
}

static void *resize_chunk(arena_t *arena, void *block, size_t request)
{
    if (!cachehook_allowed(arena) && !is_tight(arena) && want_class(arena, request) != 0) {
        return NULL; /* a slab block is what the request gets */
    }
    bool grows = request > carve_usable(block, chunk_header(chunk_of(block)));
    want_t want = grows ? want_grown(arena, request) : want_of(arena, request, arena->quantum);
    chunk_t *chunk = chunk_of(block);
    bool done = resize_by(arena, chunk, &want);
    if (!done && grows && move_break_behind(arena, chunk, &want)) {
        done = resize_by(arena, chunk, &want);
    }
    return done ? block : NULL;
}

/* Much is free between chunks: room for growth that did not come. (Of what pieces gave out some is not counted yet, though
 * it may be back already.) */
static bool is_spread_locked(const arena_t *arena)
{
    size_t usable = arena->totals.chunk_usable;
    return arena->totals.free_chunk_bytes > (usable <= PTRDIFF_MAX ? usable : 0) / 8 + ROOM_BYTES;
}

/*
 * A block for one that grew out of its place, and will likely grow again: with free memory behind it, and not of
 * a size class, so that it goes home when freed and leaves that memory whole. NULL: there is no such place, or
 * too many of them already.
 */
static void *take_roomy(arena_t *arena, size_t request)
{
    if (!cachehook_allowed(arena) || request > LARGE_MIN_BYTES) {
        return NULL;
    }
    want_t want = want_grown(arena, request);
    size_t room = max_size(2 * want.chunk, GRANULE / 2);
    chunk_t *chunk = NULL;
    bool spread = false;
    for (int attempt = 0; attempt < 2 && chunk == NULL && !spread; attempt++) {
        if (attempt != 0 && !alloc_make_room(arena, room)) {
            break;
        }
        lock_acquire(&arena->lock);
        spread = is_spread_locked(arena);
        chunk = spread ? NULL : carve_take_roomy_locked(arena, want.chunk, room, want.mark);
        arena->totals.allocations += chunk != NULL;
        lock_release(&arena->lock);
    }
    return chunk == NULL ? NULL : chunk_block(chunk);
}

/* Without a copy: where the block then is, or NULL. It gets `most` bytes, or else `request` at least. *when: if it is an
 * arena with a log, the moment that counts as that of the change. */
static void *resize_in_place(arena_t *arena, void *block, size_t request, size_t most, uint64_t *when)
{
    uint32_t kind = pagemap_entry(block) ^ arena->tag;
    if (kind == KIND_LARGE) {
        void *resized =
            request >= LARGE_MIN_BYTES / 2 ? large_realloc(arena, block, request, most, when) : NULL;
        alloc_settle(arena);
        return resized;
    }
    bool in_slab = kind <= SLAB_CLASSES || (arena->tiny != NULL && tiny_holds(arena, block));
    if (in_slab || most > PTRDIFF_MAX - GRANULE) {
        return NULL;
    }
    void *resized = resize_chunk(arena, block, most);
    return resized == NULL && request < most ? resize_chunk(arena, block, request) : resized;
}

/*
 * Whether the block, made `size` bytes, had better move through the calling thread's cache than grow where it is:
 * that takes no lock. A buffer that is doubled soon becomes one that moves anyway; one that grows by less is copied
 * too often. (What was asked for may be a fifth less than it has.) Asking counts as a use of the class.
 */
static bool grows_through_cache(arena_t *arena, bool in_slab, size_t usable, size_t size)
{
    size_t most = in_slab ? SLAB_MAX : REALLOC_CACHED_MAX; /* a slab's block moves in any case */
    return size > SMALL_MAX && size <= most && size / 8 * 5 >= usable &&
           cachehook_earn_magazine(arena, sizeclass_of(size));
}

/*
 * Whether a chunk that becomes much smaller had better move: in its place it would stand where the next large one is
 * to be. Buffers of 1 MiB that are filled in part and cut to that, 2,000 of them replaced at random, held 197 MB for 21.
 */
static bool leaves_its_room(const arena_t *arena, bool in_slab, size_t usable, size_t size)
{
    return !in_slab && cachehook_allowed(arena) && usable > SLAB_MAX && size <= SLAB_MAX &&
           size <= usable / 2;
}

/*
 * What a block gets that grows to `size`: a quarter more than it had, so that who appends little by little takes no lock
 * for most steps, and copies each byte a few times and not once a page. In whole classes: rounded up it could be so much
 * that the next step would cut it. Not of the small classes, which move through the cache; nor under a limit, which may
 * be just enough for what was asked for.
 */
static size_t with_room_to_grow(const arena_t *arena, size_t usable, size_t size)
{
    size_t most = usable + usable / GROWTH_SHARE;
    if (size <= max_size(usable, SMALL_MAX) || size >= most || !cachehook_allowed(arena) ||
        arena->limit_bytes != 0) {
        return size;
    }
    return max_size(size, most < CLASS_MAX ? sizeclass_bytes[sizeclass_of(most + 1) - 1] : most);
}

/*
 * memcpy. What is long the C library may copy by `rep movsb`, which on AMD's Zen 3 takes 30 times as long where the
 * destination is 1 to 31 bytes above the source, modulo 4 KiB (see glibc's bug 30994). Pieces that are too short for
 * that take 6 times as long.
 */
static void copy(char *to, const char *from, size_t bytes)
{
    size_t piece = ((uintptr_t)to - (uintptr_t)from) % 4096 - 1 < 31 ? KIB : bytes;
    while (bytes > piece) {
        memcpy(to, from, piece);
        to += piece;
        from += piece;
        bytes -= piece;
    }
    memcpy(to, from, bytes);
}

static void names_move(arena_t *arena, const void *block, const void *moved)
{
    if (names_of(arena) != NULL) {
        lock_acquire(&arena->lock);
        names_move_locked(arena, block, moved);
        lock_release(&arena->lock);
    }
}

/* For a block that moves: with room to grow, if it grows. */
static void *take_place(arena_t *arena, size_t usable, size_t size, bool through_cache)
{
    size_t most = with_room_to_grow(arena, usable, size);
    bool roomy = size > max_size(usable, SMALL_MAX) && !through_cache;
    void *place = roomy ? take_roomy(arena, most) : NULL;
    place = place != NULL ? place : arena_alloc(arena, most);
    return place == NULL && size < most ? arena_alloc(arena, size) : place;
}

static void *move_block(arena_t *arena, void *block, size_t usable, size_t size, bool through_cache,
                        uint64_t *when)
{
    bool watched = UNLIKELY(watch_each_call(arena)); /* no caches then, nor room for more */
    void *moved = watched ? alloc_unwatched(arena, size) : take_place(arena, usable, size, through_cache);
    if (moved == NULL) {
        return NULL;
    }
    copy(moved, block, min_size(usable, size));
    names_move(arena, block, moved);
    if (watched) {
        *when = log_now(); /* both are the caller's just now */
        watch_leave(arena, block, usable);
        alloc_free(arena, block);
    } else {
        arena_free(arena, block);
    }
    return moved;
}

/* `block` has `usable` bytes. NULL: it cannot be made `size` bytes, and is as it was. */
static void *resize(arena_t *arena, void *block, size_t usable, size_t size, uint64_t *when)
{
    if (size <= usable && size >= usable - usable / 4) {
        return block;
    }
    bool in_slab = (pagemap_entry(block) ^ arena->tag) <= SLAB_CLASSES;
    bool between_slabs = in_slab && size <= SMALL_MAX;
    if (size < usable && (between_slabs ? sizeclass_bytes[sizeclass_of(size)] == usable
                                        : arena_good_size(arena, size) == usable)) {
        return block;
    }
    int saved = errno;
    if (UNLIKELY(watch_each_call(arena)) && size < usable) {
        *when = log_now(); /* before another thread can get what is cut off */
        watch_shrink(arena, block, size, usable);
    }
    bool through_cache = between_slabs || grows_through_cache(arena, in_slab, usable, size) ||
                         leaves_its_room(arena, in_slab, usable, size);
    size_t most = with_room_to_grow(arena, usable, size);
    void *resized = through_cache ? NULL : resize_in_place(arena, block, size, most, when);
    if (resized == NULL) {
        resized = move_block(arena, block, usable, size, through_cache, when);
    }
    if (resized == NULL && !in_slab &&
        (through_cache || size > usable)) { /* perhaps there is room behind it by now */
        resized = resize_in_place(arena, block, size, size, when);
    }
    errno = resized != NULL ? saved : errno;
    if (resized == NULL && size <= usable) {
        errno = saved; /* shrinking never fails: it stays as large as it was */
        return block;
    }
    return resized;
}

/* From one small class to another, through the cache: that takes no lock, as growing in place would. NULL: no memory. */
static void *resize_small(arena_t *arena, void *block, size_t usable, size_t size)
{
    if (sizeclass_bytes[sizeclass_small[size]] == usable || (size <= usable && size >= usable - usable / 4)) {
        return block;
    }
    int saved = errno;
    void *moved = arena_alloc(arena, size);
    if (UNLIKELY(moved == NULL)) {
        errno = saved;
        return NULL;
    }
    memcpy(moved, block, min_size(usable, size));
    names_move(arena, block, moved);
    arena_free(arena, block);
    return moved;
}

void *resize_block(arena_t *arena, void *block, size_t usable, size_t size)
{
    if (LIKELY(max_size(usable, size) <= SMALL_MAX && cachehook_allowed(arena))) {
        void *moved = resize_small(arena, block, usable, size);
        if (moved != NULL) {
            return moved;
        }
    }
    uint64_t when = 0;
    void *resized = resize(arena, block, usable, size, &when);
    if (UNLIKELY(watch_each_call(arena))) {
        watch_resized(arena, block, usable, resized, size, when);
    }
    return resized;
}
