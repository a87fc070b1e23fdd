/*
 * cxx_plugins.c: a program without C++ loads plugins in C++, whose runtime comes as late as they do, hidden from all others.
 */
#define _GNU_SOURCE
#include "preload_support.h"

#include <limits.h>

typedef unsigned promises_fn(size_t size);

/* The plugin lies beside this program. */
static promises_fn *look_up(const char *file, int flags, const char *symbol)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 40);
    promises_fn *found;

    must(length > 0);
    path[length] = '\0';
    strcpy(strrchr(path, '/') + 1, file);
    void *handle = dlopen(path, flags);
    if (handle == NULL)
        fprintf(stderr, "%s\n", dlerror());
    must(handle != NULL);
    *(void **)&found = dlsym(handle, symbol);
    must(found != NULL);
    return found;
}

/* In processes of their own: only the first has no runtime yet. */
typedef struct {
    const char *file;
    int flags;
} plugin_t;

static int ask_for_too_much(void *argument)
{
    const plugin_t *plugin = argument;
    promises_fn *keep_promises = look_up(plugin->file, plugin->flags, "keep_promises");

    assert_int_equal(keep_promises(too_large), 0x1ff);
    assert_int_equal(keep_promises(PTRDIFF_MAX / 2), 0x1ff);
    assert_int_equal(look_up(plugin->file, plugin->flags, "keep_quiet")(too_large), 3);
    return 0;
}

/* Down to the last byte: looking for the runtime must not need what is not there. The first throw is made while there is
 * some, because glibc ends a program that has none left for thread-local data. */
static int use_memory_up(void *argument)
{
    const plugin_t *plugin = argument;
    promises_fn *keep_promises = look_up(plugin->file, plugin->flags, "keep_promises");
    void **last = NULL;

    assert_int_equal(keep_promises(too_large), 0x1ff);
    limit_address_space(16 * MIB);
    for (size_t size = MIB; size >= sizeof(void *); size /= 2) {
        for (void **block = malloc(size); block != NULL; block = malloc(size)) {
            *block = last;
            last = block;
        }
    }
    unsigned kept = keep_promises(100), quiet = look_up(plugin->file, plugin->flags, "keep_quiet")(100);
    while (last != NULL) {
        void **next = *last;
        free(last);
        last = next;
    }
    assert_int_equal(kept, 0x1ff);
    assert_int_equal(quiet, 3);
    return 0;
}

static void run(int (*body)(void *), const char *file)
{
    plugin_t local = {file, RTLD_NOW | RTLD_LOCAL}, global = {file, RTLD_NOW | RTLD_GLOBAL};

    must_end_well(status_of_child(body, &local, 60));
    must_end_well(status_of_child(body, &global, 60));
}

static void a_plugin_catches_bad_alloc(void **state)
{
    (void)state;
    run(ask_for_too_much, "preload_cxx_plugin.so");
}

static void a_plugin_with_a_runtime_of_its_own_catches_bad_alloc(void **state)
{
    (void)state;
    run(ask_for_too_much, "preload_cxx_plugin_alone.so");
}

static void a_plugin_catches_bad_alloc_when_nothing_is_left(void **state)
{
    (void)state;
    run(use_memory_up, "preload_cxx_plugin.so");
    run(use_memory_up, "preload_cxx_plugin_alone.so");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plugin_catches_bad_alloc),
        cmocka_unit_test(a_plugin_with_a_runtime_of_its_own_catches_bad_alloc),
        cmocka_unit_test(a_plugin_catches_bad_alloc_when_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
