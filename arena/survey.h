/*
 * survey.h: goes over everything an arena holds, region by region in ascending addresses: what walk, verify
 * and stats are made of. Caller holds the mutex.
 */
#ifndef ARENA_SURVEY_H
#define ARENA_SURVEY_H

#include "check.h"
#include "chunk.h"
#include "heap.h"
#include "slab.h"

/* What is NULL is passed over. */
typedef struct {
    void *context;
    void (*free_run)(void *context, granule_t first, uint32_t length);
    void (*slab)(void *context, slab_t *slab);
    void (*chunk_run)(void *context, void *start);
    void (*chunk)(void *context, chunk_t *chunk); /* all but the sentinel */
    void (*large)(void *context, const struct large *large);
    void (*busy)(void *context, size_t bytes); /* granules that another thread purges just now */
    /* A tag that does not lead on; the survey skips the rest of the region. */
    void (*broken)(void *context, void *where);
} survey_t;

HIDDEN void survey_locked(const arena_t *arena, const survey_t *survey);

/* What an address that is no block in use is, or `otherwise` if that cannot be told. */
HIDDEN misuse_t survey_diagnose_locked(const arena_t *arena, const void *block, misuse_t otherwise);

/* Counts the blocks in chunks anew, when whoever counted them is no more. */
HIDDEN void survey_recount_locked(arena_t *arena);

#endif
