/*
 * arena-run.c: runs a program under libarena_malloc.so. Turns options into the library's environment
 * variables, puts the library in front of LD_PRELOAD and becomes the program. It allocates nothing itself
 * that outlives it and knows nothing of the engine: what an option means is told in the manual's table of
 * variables. Values are checked here, so that a slip ends in a message and not in a default.
 *
 * Exit status, as env(1): 125 if arena-run fails, 126 if the program cannot be started, 127 if there is none.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_OURS = 125, EXIT_CANNOT_START = 126, EXIT_NOT_FOUND = 127 };

/* What an option's argument must be. */
typedef enum { NOTHING, SIZE, COUNT, WORD, PATH } argument_t;

/* One option and the variable it sets. */
typedef struct {
    const char *name;
    argument_t argument;
    const char *variable;
    const char *value; /* without an argument: what the variable becomes; NULL: an argument is required */
    const char *shown; /* the argument in --help; WORD: the words there are, separated by '|' */
    const char *help;
} setting_t;

static const setting_t settings[] = {
    {"fit", WORD, "ARENA_FIT", NULL, "good|first|best|worst|next", "which free chunk serves a request"},
    {"limit", SIZE, "ARENA_LIMIT", NULL, "BYTES", "most bytes to map; beyond, malloc fails"},
    {"stats", WORD, "ARENA_STATS", "text", "text|json", "a report at exit, on standard error"},
    {"stats-file", PATH, "ARENA_STATS_FILE", NULL, "FILE", "the report goes there"},
    {"check", NOTHING, "ARENA_CHECK", "1", NULL, "verify every invariant of the heap at exit"},
    {"checked", NOTHING, "ARENA_CHECKED", "1", NULL, "no caches; every double free is found"},
    {"leaks", NOTHING, "ARENA_LEAKS", "1", NULL, "report blocks that are live at exit"},
    {"scribble", NOTHING, "ARENA_SCRIBBLE", "1", NULL, "overwrite blocks when they are given out and freed"},
    {"log", PATH, "ARENA_LOG", NULL, "FILE", "record every call there"},
    {"print", PATH, "ARENA_PRINT", NULL, "FILE", "write there at exit what the heap holds, each block"},
    {"no-cache", NOTHING, "ARENA_NO_CACHE", "1", NULL, "no thread caches"},
    {"no-slabs", NOTHING, "ARENA_NO_SLABS", "1", NULL, "every block is a chunk with its size in front"},
    {"arenas", COUNT, "ARENA_ARENAS", NULL, "N", "most arenas that threads spread over"},
    {"trim-threshold", SIZE, "ARENA_TRIM_THRESHOLD", NULL, "BYTES", "free tail that goes back by itself"},
    {"purge-delay", COUNT, "ARENA_PURGE_DELAY", NULL, "MS", "how long free pages may stay resident"},
    {"huge-pages", NOTHING, "ARENA_HUGE_PAGES", "1", NULL, "ask for transparent huge pages"},
    {"deepbind", NOTHING, "ARENA_DEEPBIND", "1", NULL, "let dlopen bind deeply, past the library"},
    {"no-membarrier", NOTHING, "ARENA_MEMBARRIER", "0", NULL, "make no membarrier system call"},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

/* What getopt_long answers: a setting's index, or one of these. */
enum { OPTION_LIBRARY = SETTINGS, OPTION_HELP, OPTION_VERSION };

__attribute__((format(printf, 1, 2))) _Noreturn static void fail(const char *format, ...)
{
    va_list arguments;

    fputs("arena-run: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(EXIT_OURS);
}

_Noreturn static void refuse_usage(void)
{
    fputs("Try 'arena-run --help'.\n", stderr);
    exit(EXIT_OURS);
}

/* --- help --- */

static void print_setting(const setting_t *setting)
{
    char left[64];

    if (setting->shown == NULL)
        snprintf(left, sizeof left, "--%s", setting->name);
    else if (setting->value != NULL)
        snprintf(left, sizeof left, "--%s[=%s]", setting->name, setting->shown);
    else
        snprintf(left, sizeof left, "--%s=%s", setting->name, setting->shown);
    printf("  %-33s %s\n", left, setting->help);
}

static void print_help(void)
{
    puts("Usage: arena-run [OPTION]... [--] PROGRAM [ARGUMENT]...\n"
         "Runs PROGRAM with libarena as its malloc.\n");
    for (size_t i = 0; i < SETTINGS; i++)
        print_setting(&settings[i]);
    puts(
        "  --library=FILE                    preload this file, not the libarena_malloc.so beside arena-run\n"
        "  --help                            print this and exit\n"
        "  --version                         print the version and exit\n"
        "\n"
        "BYTES may end in K, M, G or T, powers of 1,024. Each option sets one environment variable of the\n"
        "library, ARENA_FIT for --fit; what is already set there and not named here stays.\n"
        "\n"
        "Exit status: PROGRAM's own; 125 if arena-run fails, 126 if PROGRAM cannot be started, 127 if it is\n"
        "not found.");
}

/* Output that got lost, on a full disk say, is a failure too. */
_Noreturn static void exit_after_output(void)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        fail("cannot write: %s", strerror(errno));
    exit(EXIT_SUCCESS);
}

/* --- values --- */

/* Decimal digits and an optional suffix, as a number of bytes. */
static bool parse_size(const char *text, uint64_t *bytes)
{
    static const char suffixes[] = "KMGT";
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *bytes = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    if (*end == '\0')
        return *bytes <= SIZE_MAX;
    const char *suffix = strchr(suffixes, *end & ~('a' - 'A'));
    if (suffix == NULL || end[1] != '\0')
        return false;
    unsigned shift = 10 * (unsigned)(suffix - suffixes + 1);
    if (*bytes > SIZE_MAX >> shift)
        return false;
    *bytes <<= shift;
    return true;
}

/* Whether `word` is one of `words`; "best_fit" is accepted for "best". Answers the word's length, or 0. */
static size_t find_word(const char *words, const char *word)
{
    while (*words != '\0') {
        size_t length = strcspn(words, "|");
        if (strncmp(words, word, length) == 0 && (word[length] == '\0' || strcmp(word + length, "_fit") == 0))
            return length;
        words += length + (words[length] == '|');
    }
    return 0;
}

/* The program may change its directory before the file is opened. */
static void absolute_path(const char *path, char *result, size_t result_bytes)
{
    char directory[PATH_MAX] = "";

    if (path[0] != '/' && getcwd(directory, sizeof directory) == NULL)
        fail("cannot tell the current directory: %s", strerror(errno));
    const char *slash = path[0] == '/' ? "" : "/";
    if ((size_t)snprintf(result, result_bytes, "%s%s%s", directory, slash, path) >= result_bytes)
        fail("path too long: %s", path);
}

static void set_variable(const char *variable, const char *value)
{
    if (setenv(variable, value, 1) != 0)
        fail("cannot set %s: %s", variable, strerror(errno));
}

static void apply(const setting_t *setting, const char *argument)
{
    char value[2 * PATH_MAX];
    uint64_t number = 0;
    bool good = true;

    if (argument == NULL) {
        set_variable(setting->variable, setting->value);
        return;
    }
    if (setting->argument == SIZE) {
        good = parse_size(argument, &number);
        snprintf(value, sizeof value, "%llu", (unsigned long long)number);
    } else if (setting->argument == COUNT) {
        good = parse_size(argument, &number) && number <= UINT_MAX &&
               strspn(argument, "0123456789") == strlen(argument);
        snprintf(value, sizeof value, "%llu", (unsigned long long)number);
    } else if (setting->argument == WORD) {
        size_t length = find_word(setting->shown, argument);
        good = length != 0;
        snprintf(value, sizeof value, "%.*s", (int)length, argument);
    } else {
        good = *argument != '\0';
        if (good)
            absolute_path(argument, value, sizeof value);
    }
    if (!good)
        fail("--%s: '%s' is not %s", setting->name, argument,
             setting->argument == SIZE    ? "a number of bytes"
             : setting->argument == COUNT ? "a number"
             : setting->argument == PATH  ? "a file name"
                                          : setting->shown);
    set_variable(setting->variable, value);
}

/* --- the library --- */

/* Where the library lies, seen from the directory of this executable: installed, then in the build tree. */
static const char *const places[] = {ARENA_LIBRARY_FROM_BIN, "../preload"};

static void find_library(char *path, size_t path_bytes)
{
    char own[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);

    if (length < 0)
        fail("cannot tell where arena-run is: %s; name the library with --library", strerror(errno));
    own[length] = '\0';
    *strrchr(own, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char candidate[2 * PATH_MAX];
        snprintf(candidate, sizeof candidate, "%s/%s/" ARENA_LIBRARY_NAME, own, places[i]);
        char *found = realpath(candidate, NULL);
        if (found == NULL)
            continue;
        snprintf(path, path_bytes, "%s", found);
        free(found);
        return;
    }
    fail("no " ARENA_LIBRARY_NAME " in %s/%s or %s/%s; name it with --library", own, places[0], own,
         places[1]);
}

/* Puts `library` in front of what is already preloaded. */
static void preload(const char *library)
{
    const char *others = getenv("LD_PRELOAD");

    if (access(library, R_OK) != 0)
        fail("cannot read %s: %s", library, strerror(errno));
    if (strpbrk(library, ": \t\n") != NULL)
        fail("'%s' has a colon or a space in its name, which LD_PRELOAD cannot hold", library);
    if (others == NULL || *others == '\0') {
        set_variable("LD_PRELOAD", library);
        return;
    }
    size_t bytes = strlen(library) + 1 + strlen(others) + 1;
    char *both = malloc(bytes);
    if (both == NULL)
        fail("%s", strerror(errno));
    snprintf(both, bytes, "%s:%s", library, others);
    set_variable("LD_PRELOAD", both);
    free(both);
}

/* --- main --- */

static void list_options(struct option *options)
{
    for (int i = 0; i < SETTINGS; i++) {
        const setting_t *setting = &settings[i];
        int arguments = setting->argument == NOTHING ? no_argument
                        : setting->value != NULL     ? optional_argument
                                                     : required_argument;
        options[i] = (struct option){setting->name, arguments, NULL, i};
    }
    options[OPTION_LIBRARY] = (struct option){"library", required_argument, NULL, OPTION_LIBRARY};
    options[OPTION_HELP] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    options[OPTION_VERSION] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
    options[OPTION_VERSION + 1] = (struct option){0};
}

int main(int argc, char **argv)
{
    struct option options[OPTION_VERSION + 2];
    char library[2 * PATH_MAX] = "";
    int option;

    list_options(options);
    while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        if (option >= 0 && option < SETTINGS) {
            apply(&settings[option], optarg);
        } else if (option == OPTION_LIBRARY) {
            absolute_path(optarg, library, sizeof library);
        } else if (option == OPTION_HELP) {
            print_help();
            exit_after_output();
        } else if (option == OPTION_VERSION) {
            puts("arena-run " ARENA_RUN_VERSION);
            exit_after_output();
        } else {
            refuse_usage();
        }
    }
    if (optind == argc) {
        fputs("arena-run: no program given\n", stderr);
        refuse_usage();
    }
    if (getenv("ARENA_STATS_FILE") != NULL && getenv("ARENA_STATS") == NULL)
        set_variable("ARENA_STATS", "text");
    if (*library == '\0')
        find_library(library, sizeof library);
    preload(library);
    execvp(argv[optind], argv + optind);
    int error = errno;
    fprintf(stderr, "arena-run: cannot run '%s': %s\n", argv[optind], strerror(error));
    return error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_START;
}
