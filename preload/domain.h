/*
 * domain.h: the arenas behind malloc's names. The first takes the break, and mappings where the break cannot
 * move; others are added, up to one a CPU, when threads are seen to wait for the mutex, and threads then
 * spread over them. A block always goes home to the arena that it came from; arenas are never destroyed.
 *
 * A thread allocates from one arena, its home, whose cache is in slot 0 of its table (tcache.h). What it frees of
 * another arena goes through a second cache, as in any program with several arenas.
 */
#ifndef ARENA_DOMAIN_H
#define ARENA_DOMAIN_H

#include "../arena/heap.h"

/* The calling thread's home, chosen at the first call; the first of all reads the settings. NULL: no memory. */
HIDDEN arena_t *domain_home(void);

/* Whose a block is, or NULL. Any address. */
HIDDEN arena_t *domain_owner(const void *block);

/* The i-th arena, or NULL; there are no gaps. */
HIDDEN arena_t *domain_arena(unsigned i);

/* Of the calling thread since it last looked: blocks freed that are another arena's, and whose the last one was. */
typedef struct {
    uint32_t frees;
    uint32_t index;    /* of the arena, as page-map entries have it */
    uint32_t looks;    /* so many in a row found many such frees */
    uint32_t patience; /* as many have to before the thread moves for it */
} foreign_t;

extern HIDDEN _Thread_local foreign_t domain_foreign;

INLINE void domain_note_foreign(uint32_t index)
{
    domain_foreign.frees++;
    domain_foreign.index = index;
}

/* To be called now and then by a thread that allocates: leaves a home whose mutex is often taken, or joins the threads
 * whose blocks it frees. */
HIDDEN void domain_look(void);

/* Moves the calling thread to the arena where fewest threads are at home, one made for it if there may be one more;
 * `if_it_helps`: unless it would be as crowded there as at home, or they would go to and fro. */
HIDDEN void domain_spread(bool if_it_helps);

#endif
