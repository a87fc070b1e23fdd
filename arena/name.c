/* name.c: see name.h. */
#include "name.h"

#include "check.h"
#include "meta.h"
#include "os.h"

#include <string.h>

enum { FIRST_CAPACITY = 64 };

static _Atomic size_t mapped_bytes; /* relaxed: a statistic */

/* FNV-1a. */
static uintptr_t hash_of(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text != 0; text++) {
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    }
    return (uintptr_t)hash == 0 ? 1 : (uintptr_t)hash;
}

name_t *names_make_text(const char *text)
{
    size_t bytes = sizeof(name_t) + strlen(text) + 1;
    name_t *name = bytes <= META_MAX_BYTES ? meta_alloc(bytes) : os_map(bytes, 16, (os_map_options_t){0});
    if (name != NULL) {
        *name = (name_t){.bytes = bytes, .hash = hash_of(text)};
        memcpy(name->text, text, bytes - sizeof(name_t));
    }
    return name;
}

void names_free_text(name_t *text)
{
    if (text != NULL && text->bytes > META_MAX_BYTES) {
        os_unmap(text, text->bytes);
    } else {
        meta_free(text);
    }
}

/* The arena's text that reads the same, or NULL. */
static name_t *find_text(const names_t *names, const name_t *text)
{
    uintptr_t *chain = map_find(&names->texts, text->hash);
    name_t *name = chain == NULL ? NULL : (name_t *)*chain;
    while (name != NULL && strcmp(name->text, text->text) != 0) {
        name = name->next;
    }
    return name;
}

static void add_text(names_t *names, name_t *text)
{
    uintptr_t *chain = map_find(&names->texts, text->hash);
    if (chain == NULL) {
        map_add(&names->texts, text->hash, (uintptr_t)text);
    } else {
        text->next = (name_t *)*chain;
        *chain = (uintptr_t)text;
    }
}

static void drop_reference(names_t *names, name_t *text)
{
    if (--text->references != 0) {
        return;
    }
    uintptr_t *chain = map_find(&names->texts, text->hash);
    if ((name_t *)*chain != text) {
        name_t *before_it = (name_t *)*chain;
        while (before_it->next != text) {
            before_it = before_it->next;
        }
        before_it->next = text->next;
    } else if (text->next != NULL) {
        *chain = (uintptr_t)text->next;
    } else {
        map_remove(&names->texts, text->hash);
    }
    names_free_text(text);
}

/* A slab's or a chunk run's granule of this arena: others have no mark. */
static bool can_be_marked(const arena_t *arena, const void *block)
{
    uint32_t kind = pagemap_entry(block) ^ arena->tag;
    return kind <= SLAB_CLASSES || kind == KIND_CHUNKS;
}

static void mark(const arena_t *arena, names_t *names, const void *block)
{
    granule_t granule = granule_of(block);
    if (!can_be_marked(arena, block)) {
        return;
    }
    uintptr_t *count = map_find(&names->granules, granule);
    if (count != NULL) {
        ++*count;
        return;
    }
    map_add(&names->granules, granule, 1);
    pagemap_set(granule, 1, pagemap_entry(block) | KIND_NAMED);
}

static void unmark(names_t *names, const void *block)
{
    granule_t granule = granule_of(block);
    uintptr_t *count = map_find(&names->granules, granule);
    if (count != NULL && --*count == 0) {
        map_remove(&names->granules, granule);
        pagemap_set(granule, 1, pagemap_entry(block));
    }
}

bool names_put_locked(arena_t *arena, const void *block, name_t **text)
{
    check_debug(lock_is_held(&arena->lock));
    names_t *names = names_of(arena);
    if (names == NULL || !map_has_room(&names->blocks, 1)) {
        return false;
    }
    name_t *name = find_text(names, *text);
    if (name == NULL) {
        name = *text;
        *text = NULL;
        add_text(names, name);
    }
    name->references++;
    uintptr_t *value = map_find(&names->blocks, (uintptr_t)block);
    if (value != NULL) {
        name_t *old = (name_t *)*value;
        *value = (uintptr_t)name;
        drop_reference(names, old);
    } else {
        map_add(&names->blocks, (uintptr_t)block, (uintptr_t)name);
        mark(arena, names, block);
    }
    return true;
}

/* The tables in one mapping; neither granules nor texts can be more than blocks, but for one between two steps. */
static names_t *map_tables(size_t capacity)
{
    size_t table = capacity * sizeof(map_slot_t);
    size_t bytes = align_up(sizeof(names_t) + 3 * table, os_page_bytes());
    names_t *names = os_map(bytes, os_page_bytes(), (os_map_options_t){0});
    if (names == NULL) {
        return NULL;
    }
    char *start = (char *)(names + 1);
    names->blocks = map_in((map_slot_t *)start, capacity);
    names->granules = map_in((map_slot_t *)(start + table), capacity);
    names->texts = map_in((map_slot_t *)(start + 2 * table), capacity);
    names->bytes = bytes;
    atomic_fetch_add_explicit(&mapped_bytes, bytes, memory_order_relaxed);
    return names;
}

static void unmap_tables(names_t *names)
{
    if (names != NULL) {
        atomic_fetch_sub_explicit(&mapped_bytes, names->bytes, memory_order_relaxed);
        os_unmap(names, names->bytes);
    }
}

static size_t capacity_of(const names_t *names)
{
    return names == NULL ? 0 : names->blocks.capacity;
}

bool names_grow(arena_t *arena)
{
    lock_acquire(&arena->lock);
    size_t capacity = capacity_of(names_of(arena));
    lock_release(&arena->lock);
    names_t *fresh = map_tables(max_size(2 * capacity, FIRST_CAPACITY));
    if (fresh == NULL) {
        return false;
    }
    lock_acquire(&arena->lock);
    names_t *old = names_of(arena);
    if (capacity_of(old) < capacity_of(fresh)) { /* else another thread was faster */
        if (old != NULL) {
            map_add_all(&fresh->blocks, &old->blocks);
            map_add_all(&fresh->granules, &old->granules);
            map_add_all(&fresh->texts, &old->texts);
        }
        atomic_store_explicit(&arena->names, fresh, memory_order_relaxed);
        fresh = old;
    }
    lock_release(&arena->lock);
    unmap_tables(fresh);
    return true;
}

name_t *names_find_locked(const arena_t *arena, const void *block)
{
    const names_t *names = names_of(arena);
    const uintptr_t *value = names == NULL ? NULL : map_find(&names->blocks, (uintptr_t)block);
    return value == NULL ? NULL : (name_t *)*value;
}

void names_forget_slow_locked(arena_t *arena, const void *block)
{
    check_debug(lock_is_held(&arena->lock));
    if (can_be_marked(arena, block) && (pagemap_entry_marked(block) & KIND_NAMED) == 0) {
        return; /* most blocks that caches send home */
    }
    names_t *names = names_of(arena);
    uintptr_t *value = map_find(&names->blocks, (uintptr_t)block);
    if (value != NULL) {
        name_t *text = (name_t *)*value;
        map_remove(&names->blocks, (uintptr_t)block);
        unmark(names, block);
        drop_reference(names, text);
    }
}

void names_move_locked(arena_t *arena, const void *from, const void *to)
{
    names_t *names = names_of(arena);
    uintptr_t *value = names == NULL ? NULL : map_find(&names->blocks, (uintptr_t)from);
    if (value != NULL) {
        uintptr_t text = *value;
        map_remove(&names->blocks, (uintptr_t)from); /* so that there is room in each table */
        unmark(names, from);
        map_add(&names->blocks, (uintptr_t)to, text);
        mark(arena, names, to);
    }
}

names_t *names_detach_locked(arena_t *arena)
{
    names_t *names = names_of(arena);
    atomic_store_explicit(&arena->names, NULL, memory_order_relaxed);
    return names;
}

void names_release(names_t *names)
{
    for (size_t i = 0; i < capacity_of(names); i++) {
        name_t *text = (name_t *)names->texts.slots[i].value;
        for (name_t *next; text != NULL; text = next) {
            next = text->next;
            names_free_text(text);
        }
    }
    unmap_tables(names);
}

size_t names_mapped_bytes(void)
{
    return atomic_load_explicit(&mapped_bytes, memory_order_relaxed);
}
