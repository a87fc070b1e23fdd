/*
 * options.c: see options.h. A new field of arena_options_t is a line in one of the tables.
 */
#include "options.h"

#include "../../bench/bench.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char options_help[] =
    "no_cache no_slabs zero prefault huge_pages single_thread checked\n"
    "source=mmap|sbrk  buffer=BYTES (a buffer of that size is the source)\n"
    "fit=good|first|best|worst|next  quantum=8|16\n"
    "limit=BYTES first_region=BYTES growth=BYTES trim_threshold=BYTES|never purge_delay=MS|never\n";

typedef struct {
    const char *name;
    size_t value;
} word_t;

static const word_t flag_words[] = {
    {"no_cache", ARENA_NO_CACHE},
    {"no_slabs", ARENA_NO_SLABS},
    {"zero", ARENA_ZERO},
    {"prefault", ARENA_PREFAULT},
    {"huge_pages", ARENA_HUGE_PAGES},
    {"single_thread", ARENA_SINGLE_THREAD},
    {"checked", ARENA_CHECKED},
    {0},
};

static const word_t source_words[] = {{"mmap", ARENA_SOURCE_MMAP}, {"sbrk", ARENA_SOURCE_SBRK}, {0}};

static const word_t fit_words[] = {
    {"good", ARENA_FIT_GOOD},   {"first", ARENA_FIT_FIRST}, {"best", ARENA_FIT_BEST},
    {"worst", ARENA_FIT_WORST}, {"next", ARENA_FIT_NEXT},   {0},
};

typedef struct {
    const char *name;
    size_t offset;
    const word_t *words; /* NULL: a size */
} field_t;

static const field_t size_fields[] = {
    {"limit", offsetof(arena_options_t, limit_bytes), NULL},
    {"first_region", offsetof(arena_options_t, first_region_bytes), NULL},
    {"growth", offsetof(arena_options_t, growth_bytes), NULL},
    {"trim_threshold", offsetof(arena_options_t, trim_threshold_bytes), NULL},
    {"buffer", offsetof(arena_options_t, buffer_bytes), NULL},
    {0},
};

static const field_t unsigned_fields[] = {
    {"source", offsetof(arena_options_t, source), source_words},
    {"fit", offsetof(arena_options_t, fit), fit_words},
    {"quantum", offsetof(arena_options_t, quantum), NULL},
    {"purge_delay", offsetof(arena_options_t, purge_delay_ms), NULL},
    {0},
};

static _Noreturn void refuse(const char *option)
{
    fprintf(stderr, "replay: no such option of an arena: %s\n%s", option, options_help);
    exit(2);
}

static const word_t *word_find(const word_t *words, const char *name)
{
    for (; words->name != NULL; words++)
        if (strcmp(words->name, name) == 0)
            return words;
    return NULL;
}

static const field_t *field_find(const field_t *fields, const char *name)
{
    for (; fields->name != NULL; fields++)
        if (strcmp(fields->name, name) == 0)
            return fields;
    return NULL;
}

static size_t size_of(const char *option, const char *text)
{
    static const word_t units[] = {{"", 1}, {"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {0}};
    char *end;
    if (strcmp(text, "never") == 0)
        return SIZE_MAX;
    size_t value = strtoull(text, &end, 10);
    const word_t *unit = word_find(units, end);
    if (end == text || unit == NULL || __builtin_mul_overflow(value, unit->value, &value))
        refuse(option);
    return value;
}

static void set_field(arena_options_t *options, const char *name, const char *text)
{
    char *bytes = (char *)options;
    const field_t *field = field_find(size_fields, name);
    if (field != NULL) {
        size_t value = size_of(name, text);
        memcpy(bytes + field->offset, &value, sizeof value);
        return;
    }
    field = field_find(unsigned_fields, name);
    if (field == NULL)
        refuse(name);
    const word_t *word = field->words != NULL ? word_find(field->words, text) : NULL;
    if (field->words != NULL && word == NULL)
        refuse(text);
    size_t value = word != NULL ? word->value : size_of(name, text);
    unsigned narrow = value > UINT_MAX ? UINT_MAX : (unsigned)value;
    memcpy(bytes + field->offset, &narrow, sizeof narrow);
}

static void set_one(arena_options_t *options, char *option)
{
    char *equals = strchr(option, '=');
    const word_t *flag = word_find(flag_words, option);
    if (equals != NULL) {
        *equals = '\0';
        set_field(options, option, equals + 1);
    } else if (flag != NULL) {
        options->flags |= (unsigned)flag->value;
    } else {
        refuse(option);
    }
}

arena_options_t options_parse(const char *text)
{
    arena_options_t options = {0};
    static char copy[1024];
    bench_require(strlen(text) < sizeof copy, "options of less than 1,024 characters");
    strcpy(copy, text);
    char *rest = copy;
    for (char *option = strtok_r(copy, ",", &rest); option != NULL; option = strtok_r(NULL, ",", &rest))
        set_one(&options, option);
    if (options.buffer_bytes > 0) {
        options.source = ARENA_SOURCE_BUFFER;
        options.buffer = bench_space(options.buffer_bytes);
    }
    return options;
}
