/* survey.c: see survey.h. Trusts nothing that it reads: a broken tag ends its region's survey. */
#include "survey.h"

#include "carve.h"
#include "large.h"
#include "run.h"

/* Visits the chunks of a run from `first` on; returns where the run ends, or NULL. */
static char *survey_chunks(const survey_t *survey, chunk_t *chunk, const char *limit)
{
    survey->chunk_run(survey->context, before(chunk, CHUNK_HEADER));
    while (chunk_class(chunk) != CHUNK_END) {
        size_t size = chunk_size(chunk);
        if (chunk_class(chunk) > CHUNK_LAST || size < CHUNK_MIN || size > distance(chunk, limit)) {
            survey->broken(survey->context, chunk_block(chunk));
            return NULL;
        }
        chunk_t *next = chunk_at(chunk, size);
        survey->chunk(survey->context, chunk);
        chunk = next;
    }
    return (char *)chunk + CHUNK_HEADER;
}

static void survey_region(const arena_t *arena, const survey_t *survey, const region_t *region)
{
    char *at_address = region->start;
    char *end = region->start + region->bytes;
    while (at_address != NULL && at_address < end) {
        granule_t granule = granule_of(at_address);
        uint32_t kind = run_kind(arena, granule);
        if (kind != 0 && kind <= SLAB_CLASSES) {
            survey->slab(survey->context, slab_of(at_address));
            at_address += GRANULE;
        } else if (run_kind_is_free(kind)) {
            uint32_t length = pagemap_tag(granule)->length;
            if (length == 0 || length > distance(at_address, end) >> GRANULE_LOG2) {
                survey->broken(survey->context, at_address);
                return;
            }
            survey->free_run(survey->context, granule, length);
            at_address += (size_t)length << GRANULE_LOG2;
        } else if (kind == KIND_CHUNKS) {
            at_address = survey_chunks(survey, (chunk_t *)(at_address + CHUNK_HEADER), end);
        } else {
            /* BUSY: another thread purges it; anything else is wrong */
            if (kind != KIND_BUSY) {
                survey->broken(survey->context, at_address);
                return;
            }
            at_address += GRANULE;
        }
    }
}

void survey_locked(const arena_t *arena, const survey_t *survey)
{
    for (const region_t *region = arena->regions; region != NULL; region = region->next) {
        if (region->in_map) {
            survey_region(arena, survey, region);
        } else if (!region->raw) {
            char *start = arena->in_buffer ? arena->buffer_chunks : region->start;
            chunk_t *first = (chunk_t *)(align_up((uintptr_t)start, 16) + CHUNK_HEADER);
            survey_chunks(survey, first, region->start + region->bytes);
        }
    }
    for (const struct large *large = arena->larges; large != NULL; large = large->next) {
        survey->large(survey->context, large);
    }
}

typedef struct {
    const void *block;
    misuse_t answer;
} question_t;

static void ask_free_run(void *context, granule_t first, uint32_t length)
{
    question_t *question = context;
    if (contains(granule_start(first), (size_t)length << GRANULE_LOG2, question->block)) {
        question->answer = MISUSE_DOUBLE_FREE;
    }
}

static void ask_chunk(void *context, chunk_t *chunk)
{
    question_t *question = context;
    if (contains(chunk_block(chunk), chunk_size(chunk), question->block)) {
        bool free = chunk_class(chunk) == CHUNK_FREE || chunk_class(chunk) == CHUNK_DEFERRED;
        question->answer = free ? MISUSE_DOUBLE_FREE : MISUSE_INTERIOR;
    }
}

static void ask_broken(void *context, void *where)
{
    question_t *question = context;
    question->answer = where == question->block ? MISUSE_BROKEN_HEADER : question->answer;
}

static void skip_slab(void *context, slab_t *slab)
{
    (void)context;
    (void)slab;
}

static void skip_chunk_run(void *context, void *start)
{
    (void)context;
    (void)start;
}

static void ask_large(void *context, const large_t *large)
{
    question_t *question = context;
    question->answer = contains(large->start, large->bytes, question->block) ? MISUSE_INTERIOR : question->answer;
}

misuse_t survey_diagnose_locked(const arena_t *arena, const void *block, misuse_t otherwise)
{
    question_t question = {block, otherwise};
    survey_t survey = {&question, ask_free_run, skip_slab, skip_chunk_run, ask_chunk, ask_large, ask_broken};
    survey_locked(arena, &survey);
    return question.answer;
}

static void skip_free_run(void *context, granule_t first, uint32_t length)
{
    (void)context;
    (void)first;
    (void)length;
}

static void skip_large(void *context, const large_t *large)
{
    (void)context;
    (void)large;
}

static void skip_broken(void *context, void *where)
{
    (void)context;
    (void)where;
}

static void count_chunk(void *context, chunk_t *chunk)
{
    totals_t *totals = context;
    unsigned class = chunk_class(chunk);
    if (class <= CLASSES || chunk_is_plain(class)) {
        totals->chunk_blocks++;
        totals->chunk_usable += carve_usable(chunk_block(chunk), chunk_header(chunk));
    }
}

void survey_recount_locked(arena_t *arena)
{
    survey_t survey = {&arena->totals, skip_free_run, skip_slab, skip_chunk_run, count_chunk, skip_large, skip_broken};
    arena->totals.chunk_blocks = arena->totals.chunk_usable = 0;
    survey_locked(arena, &survey);
}
