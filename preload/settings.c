/* settings.c: see settings.h. */
#include "settings.h"

#include "../arena/text.h"
#include "../arena/util.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

settings_t settings = {.membarrier = true, .report_fd = -1};
static struct stat report_stat; /* of report_fd */

/* Each parser returns false, and changes nothing, if the text is not what it takes. */
typedef bool parse_fn(const char *text, void *value);

static bool parse_flag(const char *text, void *value)
{
    bool known = (text[0] == '0' || text[0] == '1') && text[1] == 0;
    if (known) {
        *(bool *)value = text[0] == '1';
    }
    return known;
}

/* The power of 1,024 that a suffix stands for: K, M, G or T, with or without "B" or "iB"; -1: none of them. */
static int parse_suffix(const char *text)
{
    static const char letters[] = "KMGT";
    if (text[0] == 0) {
        return 0;
    }
    const char *letter = strchr(letters, text[0] & ~0x20);
    bool ends = text[1] == 0 || strcmp(text + 1, "B") == 0 || strcmp(text + 1, "iB") == 0;
    return letter != NULL && *letter != 0 && ends ? (int)(letter - letters) + 1 : -1;
}

static bool parse_number(const char *text, size_t *number, const char **end)
{
    size_t value = 0;
    *end = text;
    while (**end >= '0' && **end <= '9') {
        if (__builtin_mul_overflow(value, (size_t)10, &value) ||
            __builtin_add_overflow(value, (size_t)(**end - '0'), &value)) {
            return false;
        }
        ++*end;
    }
    *number = value;
    return *end != text;
}

static bool parse_bytes(const char *text, void *value)
{
    const char *end;
    size_t bytes;
    int power = parse_number(text, &bytes, &end) ? parse_suffix(end) : -1;
    if (power < 0 || bytes > SIZE_MAX >> (10 * power)) {
        return false;
    }
    *(size_t *)value = bytes << (10 * power);
    return true;
}

static bool parse_count(const char *text, void *value)
{
    const char *end;
    size_t count;
    if (!parse_number(text, &count, &end) || *end != 0 || count > UINT_MAX) {
        return false;
    }
    *(size_t *)value = count;
    return true;
}

/* An arena's 0 means its default; here it is as soon as may be. */
static bool parse_delay(const char *text, void *value)
{
    bool known = parse_count(text, value);
    *(size_t *)value += known && *(size_t *)value == 0;
    return known;
}

static bool parse_path(const char *text, void *value)
{
    if (text[0] != 0) {
        *(const char **)value =
            text; /* the environment outlives us, or is changed by a program's own fault */
    }
    return text[0] != 0;
}

/* One of `names`, which a NULL ends; with or without `tail`. -1: none. */
static int parse_name(const char *text, const char *const *names, const char *tail)
{
    for (int i = 0; names[i] != NULL; i++) {
        size_t length = strlen(names[i]);
        if (strncmp(text, names[i], length) == 0 && (text[length] == 0 || strcmp(text + length, tail) == 0)) {
            return i;
        }
    }
    return -1;
}

static bool parse_fit(const char *text, void *value)
{
    static const char *const names[] = {"good", "first", "best", "worst", "next", NULL};
    int fit = parse_name(text, names, "_fit");
    if (fit >= 0) {
        *(arena_fit_t *)value = (arena_fit_t)fit;
    }
    return fit >= 0;
}

static bool parse_stats(const char *text, void *value)
{
    static const char *const names[] = {"0", "text", "json", NULL};
    int format = strcmp(text, "1") == 0 ? STATS_TEXT : parse_name(text, names, "");
    if (format >= 0) {
        *(stats_format_t *)value = (stats_format_t)format;
    }
    return format >= 0;
}

typedef struct {
    const char *name;
    parse_fn *parse;
    void *value;
} variable_t;

static const variable_t variables[] = {
    {"ARENA_ARENAS", parse_count, &settings.arenas},
    {"ARENA_CHECK", parse_flag, &settings.check},
    {"ARENA_CHECKED", parse_flag, &settings.checked},
    {"ARENA_DEEPBIND", parse_flag, &settings.deepbind},
    {"ARENA_FIT", parse_fit, &settings.fit},
    {"ARENA_HUGE_PAGES", parse_flag, &settings.huge_pages},
    {"ARENA_LEAKS", parse_flag, &settings.leaks},
    {"ARENA_LIMIT", parse_bytes, &settings.limit_bytes},
    {"ARENA_LOG", parse_path, &settings.log},
    {"ARENA_MEMBARRIER", parse_flag, &settings.membarrier},
    {"ARENA_NO_CACHE", parse_flag, &settings.no_cache},
    {"ARENA_NO_SLABS", parse_flag, &settings.no_slabs},
    {"ARENA_PRINT", parse_path, &settings.print},
    {"ARENA_PURGE_DELAY", parse_delay, &settings.purge_delay_ms},
    {"ARENA_SCRIBBLE", parse_flag, &settings.scribble},
    {"ARENA_STATS", parse_stats, &settings.stats},
    {"ARENA_STATS_FILE", parse_path, &settings.stats_file},
    {"ARENA_TRIM_THRESHOLD", parse_bytes, &settings.trim_threshold_bytes},
};
enum { VARIABLES = sizeof variables / sizeof variables[0] };

void settings_complain(const char *name, const char *what)
{
    char room[256];
    text_t line = text_in(room, sizeof room);
    text_put(&line, "libarena: ");
    text_put(&line, name);
    text_put(&line, what);
    text_put(&line, "\n");
    text_write(STDERR_FILENO, line.text, line.length);
}

enum { NAME_BYTES = 64 };
static const char unknown[] = ": unknown variable, ignored";

static void read_variable(const char *name)
{
    const char *value = secure_getenv(name);
    if (value == NULL) {
        return; /* raised privileges */
    }
    for (size_t i = 0; i < VARIABLES; i++) {
        if (strcmp(name, variables[i].name) == 0) {
            if (!variables[i].parse(value, variables[i].value)) {
                settings_complain(name, ": malformed value, ignored");
            }
            return;
        }
    }
    settings_complain(name, unknown);
}

void settings_read(void)
{
    static bool done;
    for (char **entry = done ? NULL : environ; entry != NULL && *entry != NULL; entry++) {
        char name[NAME_BYTES];
        if (strncmp(*entry, "ARENA_", 6) == 0) {
            size_t length = min_size(strcspn(*entry, "="), sizeof name - 1);
            memcpy(name, *entry, length);
            name[length] = 0;
            if (length == sizeof name - 1) {
                settings_complain(name, unknown);
            } else {
                read_variable(name);
            }
        }
    }
    done = true;
    if (settings.stats != STATS_NONE || settings.leaks || settings.print != NULL) {
        settings.report_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 64);
        fstat(settings.report_fd, &report_stat);
    }
}

int settings_report_fd(void)
{
    struct stat now;
    bool same = settings.report_fd >= 0 && fstat(settings.report_fd, &now) == 0 &&
                now.st_dev == report_stat.st_dev && now.st_ino == report_stat.st_ino;
    return same ? settings.report_fd : STDERR_FILENO;
}
