/*
 * name.h: the names of blocks, in tables apart from the blocks: address -> name, granule -> how many of its
 * blocks have one, and each text once, however many blocks share it. An arena without names has none of this.
 *
 * So that an arena_free without a lock does not miss a name, a granule with a named block has the mark KIND_NAMED
 * in its page-map entry, and the fast path takes no such granule's blocks. The mark goes with the last name.
 * What is in no page map (buffers, unaligned hook memory) and large blocks take the mutex anyway.
 *
 * Guarded by the arena's mutex. Memory for tables and texts is asked for with no lock held, before anything changes.
 */
#ifndef ARENA_NAME_H
#define ARENA_NAME_H

#include "heap.h"
#include "map.h"

typedef struct name {
    struct name *next;  /* another text of the same hash */
    size_t references;  /* blocks that have it */
    size_t bytes;       /* of this and the text with its 0 */
    uintptr_t hash;     /* never 0 */
    const char *copied; /* snapshot.c's, while it holds the mutex */
    char text[];
} name_t;

typedef struct names {
    map_t blocks;   /* block -> name_t * */
    map_t granules; /* granule -> its named blocks, if it is marked */
    map_t texts;    /* hash -> name_t * */
    size_t bytes;   /* of the mapping that this begins, with the three tables */
} names_t;

/* A text to be handed to names_put_locked; NULL: no memory. No lock held. */
HIDDEN name_t *names_make_text(const char *text);
HIDDEN void names_free_text(name_t *text);

/* Names a live block, in place of the name it had. False: no room; call names_grow with no lock held, and look
 * again. *text: NULL afterwards, or the caller's to free because the arena has this text already. */
HIDDEN bool names_put_locked(arena_t *arena, const void *block, name_t **text);
HIDDEN bool names_grow(arena_t *arena);

/* The block's name, or NULL; valid until it is freed or named anew. */
HIDDEN name_t *names_find_locked(const arena_t *arena, const void *block);

/* The block goes, or its name does. */
HIDDEN void names_forget_slow_locked(arena_t *arena, const void *block);

/* The block is at `to` now. */
HIDDEN void names_move_locked(arena_t *arena, const void *from, const void *to);

/* Takes all names away from an arena whose page-map entries are gone, and gives their memory up. */
HIDDEN names_t *names_detach_locked(arena_t *arena);
HIDDEN void names_release(names_t *names);

/* Bytes mapped for the tables of all arenas. */
HIDDEN size_t names_mapped_bytes(void);

/* Relaxed: a thread that has a named block saw its naming. Without the mutex only for the comparison with NULL. */
INLINE names_t *names_of(const arena_t *arena)
{
    return atomic_load_explicit(&arena->names, memory_order_relaxed);
}

INLINE void names_forget_locked(arena_t *arena, const void *block)
{
    if (UNLIKELY(names_of(arena) != NULL)) {
        names_forget_slow_locked(arena, block);
    }
}

#endif
