/* naming.c: the public calls for names of blocks. */
#include "alloc.h"
#include "large.h"
#include "name.h"
#include "watch.h"

#include <errno.h>

static misuse_t validate_locked(arena_t *arena, const void *block)
{
    misuse_t wrong = MISUSE_NONE;
    if (pagemap_entry(block) == (arena->tag | KIND_LARGE)) {
        return large_find_locked(arena, block) != NULL ? MISUSE_NONE : MISUSE_INTERIOR;
    }
    alloc_usable_locked(arena, block, &wrong);
    return wrong;
}

/* False: there is no room for it yet. *text NULL takes the name away. */
static bool try_to_name(arena_t *arena, const void *block, name_t **text)
{
    bool done = true;
    lock_acquire(&arena->lock);
    misuse_t wrong = validate_locked(arena, block);
    if (wrong == MISUSE_NONE && *text != NULL) {
        done = names_put_locked(arena, block, text);
    } else if (wrong == MISUSE_NONE) {
        names_forget_locked(arena, block);
    }
    lock_release(&arena->lock);
    if (UNLIKELY(wrong != MISUSE_NONE)) {
        alloc_report(arena, block, wrong);
    }
    return done;
}

static bool set_name(arena_t *arena, void *block, const char *name)
{
    name_t *text = NULL;
    if (name != NULL && name[0] != 0) {
        text = names_make_text(name);
        if (text == NULL) {
            errno = ENOMEM;
            return false;
        }
    }
    bool done = try_to_name(arena, block, &text);
    while (!done && names_grow(arena)) {
        done = try_to_name(arena, block, &text);
    }
    names_free_text(text);
    if (!done) {
        errno = ENOMEM;
    }
    return done;
}

bool arena_set_name(arena_t *arena, void *block, const char *name)
{
    if (arena == NULL || block == NULL) {
        errno = EINVAL;
        return false;
    }
    bool done = set_name(arena, block, name);
    if (UNLIKELY((watch_of(arena) & WATCH_LOG) != 0) && done) {
        size_t usable = alloc_usable(arena, block);
        log_add(arena, &(log_line_t){LOG_NAME, block, LOG_NONE, usable, NULL, name, 0});
    }
    return done;
}

/* If the arena is watched, its line is to have the name. */
void *arena_alloc_named(arena_t *arena, size_t size, const char *name)
{
    bool watched = arena != NULL && watch_each_call(arena);
    void *block = watched ? alloc_unwatched(arena, size) : arena_alloc(arena, size);
    if (block != NULL && name != NULL && !set_name(arena, block, name)) {
        alloc_free(arena, block);
        alloc_count(arena, -1);
        errno = ENOMEM;
        return NULL;
    }
    return watched ? watch_new(arena, block, size, LOG_ALLOC) : block;
}

const char *arena_name_of(arena_t *arena, const void *block)
{
    if (arena == NULL || block == NULL) {
        errno = EINVAL;
        return NULL;
    }
    lock_acquire(&arena->lock);
    const name_t *name = names_find_locked(arena, block);
    lock_release(&arena->lock);
    return name == NULL ? NULL : name->text;
}
