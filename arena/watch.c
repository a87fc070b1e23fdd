/* watch.c: see watch.h. */
#include "watch.h"

#include "alloc.h"
#include "cachehook.h"
#include "name.h"
#include "registry.h"
#include "snapshot.h"
#include "text.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* --- switching --- */

/*
 * Cached blocks go home, and no thread has a cache in its table. The order: `cached` is false before the caches
 * are stopped, and slow paths look at it again under the cache's mutex; so none is filled afterwards. A thread
 * that cannot be stopped (no membarrier) finds its table empty a moment later; what it holds goes home when it ends.
 */
static misuse_t take_caches_locked(arena_t *arena, void **culprit)
{
    cachehook_evict(arena);
    cachehook_stop(arena);
    misuse_t wrong = cachehook_drain_stopped(arena, culprit);
    cachehook_resume(arena);
    return wrong;
}

/* Caller holds the registry lock. */
static misuse_t change_locked(arena_t *arena, unsigned bits, bool on, void **culprit)
{
    unsigned before = watch_of(arena);
    unsigned after = on ? before | bits : before & ~bits;
    bool cached = arena->cacheable && (after & (WATCH_EACH_CALL | WATCH_UNALIGNED)) == 0;
    bool take = atomic_load_explicit(&arena->cached, memory_order_relaxed) && !cached;
    atomic_store_explicit(&arena->cached, cached, memory_order_relaxed);
    atomic_store_explicit(&arena->watch, (uint8_t)after, memory_order_relaxed);
    return take ? take_caches_locked(arena, culprit) : MISUSE_NONE;
}

/* The same, and lets the registry lock go. errno is kept. */
static void change_and_release(arena_t *arena, unsigned bits, bool on)
{
    int error = errno;
    void *culprit = NULL;
    misuse_t wrong = change_locked(arena, bits, on, &culprit);
    lock_release(&registry_lock);
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        misuse(wrong, arena, culprit);
    }
    errno = error;
}

void watch_switch(arena_t *arena, unsigned bits, bool on)
{
    lock_acquire(&registry_lock);
    change_and_release(arena, bits & ~(unsigned)WATCH_LOG, on);
}

bool arena_log_open(arena_t *arena, const char *path)
{
    if (arena == NULL || path == NULL) {
        errno = EINVAL;
        return false;
    }
    alloc_check_alive(arena, NULL);
    int fd = log_open_file(path);
    if (fd < 0) {
        return false;
    }
    lock_acquire(&registry_lock);
    if (log_open(arena, fd)) {
        change_and_release(arena, WATCH_LOG, true);
        return true;
    }
    lock_release(&registry_lock);
    int error = errno;
    close(fd);
    errno = error;
    return false;
}

bool arena_log_close(arena_t *arena)
{
    if (arena == NULL) {
        errno = EINVAL;
        return false;
    }
    lock_acquire(&registry_lock);
    bool done = log_close(arena);
    change_and_release(arena, WATCH_LOG, false);
    return done;
}

/* --- blocks --- */

static bool is_large(const arena_t *arena, const void *block)
{
    return pagemap_entry(block) == (arena->tag | KIND_LARGE);
}

/* Valid as long as the caller's block lives. */
static const char *name_of(arena_t *arena, const void *block)
{
    if (names_of(arena) == NULL) {
        return NULL;
    }
    lock_acquire(&arena->lock);
    const name_t *name = names_find_locked(arena, block);
    lock_release(&arena->lock);
    return name == NULL ? NULL : name->text;
}

void *watch_new(arena_t *arena, void *block, size_t size, log_operation_t operation)
{
    unsigned watch = watch_of(arena);
    if (block == NULL || (watch & WATCH_EACH_CALL) == 0) {
        return block;
    }
    size_t usable = alloc_usable(arena, block);
    bool cleared = operation == LOG_CALLOC || (arena->flags & ARENA_ZERO) != 0;
    if ((watch & WATCH_SCRIBBLE) != 0 && !cleared) {
        memset(block, FRESH_BYTE, usable);
    }
    if ((watch & WATCH_LOG) != 0) {
        const char *name = name_of(arena, block);
        log_add(arena, &(log_line_t){operation, block, size, usable, NULL, name, 0});
    }
    return block;
}

void watch_leave(arena_t *arena, void *block, size_t usable)
{
    if ((watch_of(arena) & WATCH_SCRIBBLE) != 0 && !is_large(arena, block)) { /* that is unmapped */
        memset(block, RELEASED_BYTE, usable);
    }
}

void watch_free(arena_t *arena, void *block)
{
    size_t usable = alloc_usable(arena, block);
    if ((watch_of(arena) & WATCH_LOG) != 0) {
        const char *name = name_of(arena, block);
        log_add(arena, &(log_line_t){LOG_FREE, block, LOG_NONE, usable, NULL, name, 0});
    }
    watch_leave(arena, block, usable);
}

void watch_shrink(arena_t *arena, void *block, size_t size, size_t usable)
{
    if (size < usable && (watch_of(arena) & WATCH_SCRIBBLE) != 0 && !is_large(arena, block)) {
        memset((char *)block + size, RELEASED_BYTE, usable - size);
    }
}

void watch_resized(arena_t *arena, const void *block, size_t usable, void *resized, size_t size,
                   uint64_t when)
{
    unsigned watch = watch_of(arena);
    if (resized == NULL || (watch & WATCH_EACH_CALL) == 0) {
        return;
    }
    size_t now = alloc_usable(arena, resized);
    if ((watch & WATCH_SCRIBBLE) != 0 && now > usable) {
        memset((char *)resized + usable, FRESH_BYTE, now - usable);
    }
    if ((watch & WATCH_LOG) != 0) {
        const char *name = name_of(arena, resized);
        log_add(arena, &(log_line_t){LOG_REALLOC, resized, size, now, block, name, when});
    }
}

/* --- lost blocks --- */

static void report_lost(const arena_t *arena, int fd, const arena_block_t *block)
{
    char room[512];
    text_t text = text_in(room, sizeof room);
    text_put(&text, "libarena: lost: block ");
    text_put_number(&text, (uintptr_t)block->start, 16, 0);
    text_put(&text, ", ");
    text_put_number(&text, block->usable, 10, 0);
    text_put(&text, " bytes, name \"");
    text.room -= 4 + sizeof arena->name * 4 + 16; /* what follows has room, however long the name is */
    const char *name = block->name == NULL ? "" : block->name;
    bool cut = name[text_put_name(&text, name)] != 0;
    text.room = sizeof room - 1;
    text_put(&text, cut ? "...\", arena \"" : "\", arena \"");
    text_put_name(&text, arena->name);
    text_put(&text, "\"\n");
    text_write(fd, text.text, text.length);
}

static void report_totals(const arena_t *arena, int fd, size_t blocks, size_t bytes)
{
    char room[512];
    text_t text = text_in(room, sizeof room);
    text_put(&text, "libarena: lost: ");
    text_put_number(&text, blocks, 10, 0);
    text_put(&text, blocks == 1 ? " block, " : " blocks, ");
    text_put_number(&text, bytes, 10, 0);
    text_put(&text, " bytes in all, arena \"");
    text_put_name(&text, arena->name);
    text_put(&text, "\"\n");
    text_write(fd, text.text, text.length);
}

void watch_report_leaks(arena_t *arena, int fd)
{
    size_t blocks = 0;
    size_t bytes = 0;
    arena_block_t block;
    snapshot_t snapshot;
    int saved = errno;
    if (snapshot_take(arena, false, &snapshot)) {
        while (snapshot_next(&snapshot, &block)) {
            if (block.state == ARENA_BLOCK_LIVE) {
                report_lost(arena, fd, &block);
                blocks++;
                bytes += block.usable;
            }
        }
        snapshot_release(&snapshot);
    } else { /* no memory for the list: the totals at least */
        arena_stats_t stats;
        arena_stats(arena, &stats, sizeof stats);
        blocks = stats.live_blocks;
        bytes = stats.live_bytes;
    }
    if (blocks != 0) {
        report_totals(arena, fd, blocks, bytes);
    }
    errno = saved;
}

void watch_destroy(arena_t *arena)
{
    if ((watch_of(arena) & WATCH_LEAKS) != 0) {
        watch_report_leaks(arena, STDERR_FILENO);
    }
    watch_span(arena, LOG_DESTROY, NULL, LOG_NONE);
}
