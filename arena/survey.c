/* survey.c: see survey.h. Trusts nothing that it reads: a broken tag ends its region's survey. */
#include "survey.h"

#include "carve.h"
#include "large.h"
#include "run.h"

static void report_broken(const survey_t *survey, void *where)
{
    if (survey->broken != NULL) {
        survey->broken(survey->context, where);
    }
}

/* Visits the chunks of the run at `start`, of which `chunk` is the first; returns where it ends, or NULL. */
static char *survey_chunks(const survey_t *survey, char *start, chunk_t *chunk, const char *limit)
{
    if (survey->chunk_run != NULL) {
        survey->chunk_run(survey->context, start);
    }
    while (chunk_class(chunk) != CHUNK_END) {
        size_t size = chunk_size(chunk);
        if (chunk_class(chunk) > CHUNK_LAST || size < CHUNK_MIN || size > distance(chunk, limit)) {
            report_broken(survey, chunk_block(chunk));
            return NULL;
        }
        chunk_t *next = chunk_at(chunk, size);
        if (survey->chunk != NULL) {
            survey->chunk(survey->context, chunk);
        }
        chunk = next;
    }
    return (char *)chunk + CHUNK_HEADER;
}

/* Visits the free run at `granule`; returns where it ends, or NULL. */
static char *survey_free_run(const survey_t *survey, granule_t granule, const char *limit)
{
    char *start = granule_start(granule);
    uint32_t length = pagemap_tag(granule)->length;
    if (length == 0 || length > distance(start, limit) >> GRANULE_LOG2) {
        report_broken(survey, start);
        return NULL;
    }
    if (survey->free_run != NULL) {
        survey->free_run(survey->context, granule, length);
    }
    return start + ((size_t)length << GRANULE_LOG2);
}

static void survey_region(const arena_t *arena, const survey_t *survey, const region_t *region)
{
    char *here = region->start;
    char *end = region->start + region->bytes;
    while (here != NULL && here < end) {
        granule_t granule = granule_of(here);
        uint32_t kind = run_kind(arena, granule);
        if (kind != 0 && kind <= SLAB_CLASSES) {
            if (survey->slab != NULL) {
                survey->slab(survey->context, slab_of(here));
            }
            here += slab_granules(kind) * GRANULE;
        } else if (run_kind_is_free(kind)) {
            here = survey_free_run(survey, granule, end);
        } else if (kind == KIND_CHUNKS) {
            here = survey_chunks(survey, here, (chunk_t *)(here + RUN_FRONT), end);
        } else if (kind == KIND_BUSY) {
            if (survey->busy != NULL) {
                survey->busy(survey->context, GRANULE);
            }
            here += GRANULE;
        } else {
            report_broken(survey, here);
            return;
        }
    }
}

void survey_locked(const arena_t *arena, const survey_t *survey)
{
    for (const region_t *region = arena->regions; region != NULL; region = region->next) {
        if (region->in_map) {
            survey_region(arena, survey, region);
        } else if (region->raw_bytes < region->bytes) {
            char *start = arena->in_buffer ? arena->buffer_chunks : region->start;
            char *run = (char *)align_up((uintptr_t)start, 16);
            survey_chunks(survey, run, (chunk_t *)(run + CHUNK_HEADER), region->start + region->bytes);
        }
    }
    for (const large_t *large = arena->larges; survey->large != NULL && large != NULL; large = large->next) {
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

static void ask_large(void *context, const large_t *large)
{
    question_t *question = context;
    question->answer =
        contains(large->start, large->bytes, question->block) ? MISUSE_INTERIOR : question->answer;
}

misuse_t survey_diagnose_locked(const arena_t *arena, const void *block, misuse_t otherwise)
{
    question_t question = {block, otherwise};
    survey_t survey = {.context = &question,
                       .free_run = ask_free_run,
                       .chunk = ask_chunk,
                       .large = ask_large,
                       .broken = ask_broken};
    survey_locked(arena, &survey);
    return question.answer;
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
    survey_t survey = {.context = &arena->totals, .chunk = count_chunk};
    arena->totals.chunk_blocks = arena->totals.chunk_usable = 0;
    survey_locked(arena, &survey);
}
