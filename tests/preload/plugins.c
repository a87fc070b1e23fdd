/*
 * plugins.c: blocks that cross between the program and a plugin loaded late, in every direction and under
 * every way of loading. RTLD_DEEPBIND has the plugin look for malloc in its own libraries first, the C
 * library among them; a new namespace (dlmopen) has a C library, and so an allocator, of its own.
 */
#define _GNU_SOURCE
#include "preload_support.h"

#include "programs/plugin.h"

#include <limits.h>

static const size_t sizes[] = {1, 24, 100, 1032, 5000, 40000, 200000, 400000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Beside this program. */
static const char *plugin_path(void)
{
    static _Thread_local char path[PATH_MAX]; /* four threads ask at once */
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 40);

    must(length > 0);
    path[length] = '\0';
    strcpy(strrchr(path, '/'), "/preload_plugin.so");
    return path;
}

static const plugin_t *look_up(void *handle)
{
    if (handle == NULL)
        fprintf(stderr, "%s\n", dlerror());
    must(handle != NULL);
    const plugin_t *plugin = dlsym(handle, "plugin");
    must(plugin != NULL);
    return plugin;
}

static void check_constructor_block(const plugin_t *plugin, void (*release)(void *))
{
    char *block = plugin->take_from_constructor();

    must(block != NULL);
    for (size_t i = 0; i < PLUGIN_BLOCK; i++)
        must(block[i] == 'c');
    release(block);
}

/* Who allocates, who grows, who frees: each of the two in each part. */
static void cross(const plugin_t *plugin)
{
    for (size_t who = 0; who < 8; who++) {
        for (size_t i = 0; i < SIZES; i++) {
            char *block = who & 1 ? plugin->malloc(sizes[i]) : malloc(sizes[i]);
            must(block != NULL);
            fill(block, sizes[i], i);
            block = who & 2 ? plugin->realloc(block, 2 * sizes[i]) : realloc(block, 2 * sizes[i]);
            must(block != NULL && holds(block, sizes[i] & ~(size_t)7, i));
            who & 4 ? plugin->free(block) : free(block);
            block = who & 1 ? plugin->calloc(3, sizes[i]) : calloc(3, sizes[i]);
            must(all_zero(block, 3 * sizes[i]));
            who & 4 ? plugin->free(block) : free(block);
            block = who & 1 ? plugin->aligned(64, sizes[i]) : aligned_alloc(64, sizes[i]);
            must(aligned_to(block, 64));
            who & 4 ? plugin->free(block) : free(block);
        }
        char *text = who & 1 ? plugin->strdup("crosses") : strdup("crosses");
        must(strcmp(text, "crosses") == 0);
        text = who & 2 ? plugin->realloc(text, 500) : realloc(text, 500);
        must(strcmp(text, "crosses") == 0);
        who & 4 ? plugin->free(text) : free(text);
    }
}

/* Alone, it is loaded anew each round, and its constructor runs. */
static void load_cross_unload(int flags, bool alone)
{
    for (size_t round = 0; round < 8; round++) {
        void *handle = dlopen(plugin_path(), flags);
        const plugin_t *plugin = look_up(handle);
        if (alone && round % 3 != 0)
            check_constructor_block(plugin, round % 3 == 1 ? free : plugin->free);
        cross(plugin);
        char *survivor = plugin->malloc(1000);
        fill(survivor, 1000, 9);
        must(dlclose(handle) == 0);
        must(holds(survivor, 1000, 9));
        free(survivor);
    }
}

static void blocks_cross_a_plugins_boundary(void **state)
{
    (void)state;
    load_cross_unload(RTLD_NOW | RTLD_LOCAL, true);
    load_cross_unload(RTLD_LAZY | RTLD_LOCAL, true);
    load_cross_unload(RTLD_NOW | RTLD_GLOBAL, true);
}

static void blocks_cross_a_deeply_bound_plugins_boundary(void **state)
{
    (void)state;
    load_cross_unload(RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND, true);
    load_cross_unload(RTLD_LAZY | RTLD_GLOBAL | RTLD_DEEPBIND, true);
}

/* Nothing crosses here, but two allocators share the process and its break. */
static void a_plugin_in_a_new_namespace_has_its_own_malloc(void **state)
{
    (void)state;
    void *handle = dlmopen(LM_ID_NEWLM, plugin_path(), RTLD_NOW);
    const plugin_t *plugin = look_up(handle);
    check_constructor_block(plugin, plugin->free);
    char *theirs[200], *ours[200];
    for (size_t i = 0; i < 200; i++) {
        must((theirs[i] = plugin->malloc(sizes[i % SIZES])) != NULL &&
             (ours[i] = malloc(sizes[i % SIZES])) != NULL);
        fill(theirs[i], sizes[i % SIZES], i);
        fill(ours[i], sizes[i % SIZES], ~i);
    }
    for (size_t i = 0; i < 200; i++) {
        must(holds(theirs[i], sizes[i % SIZES], i) && holds(ours[i], sizes[i % SIZES], ~i));
        plugin->free(theirs[i]);
        free(ours[i]);
    }
    must(dlclose(handle) == 0);
}

static void *load_and_unload(void *unused)
{
    (void)unused;
    load_cross_unload(RTLD_NOW | RTLD_LOCAL, false);
    return NULL;
}

static void threads_load_plugins_while_others_allocate(void **state)
{
    (void)state;
    run_threads(4, load_and_unload);
}

/* It lies in a folder that only the plugin's RUNPATH names, which dlopen finds by who called it. */
static void a_plugin_finds_its_own_plugins(void **state)
{
    (void)state;
    void *handle = dlopen(plugin_path(), RTLD_NOW);
    const plugin_t *plugin = look_up(handle);
    assert_null(dlopen("preload_inner_plugin.so", RTLD_NOW));
    void *inner_handle = plugin->open("preload_inner_plugin.so", RTLD_NOW | RTLD_DEEPBIND);
    const plugin_t *inner = look_up(inner_handle);
    check_constructor_block(inner, free);
    cross(inner);
    must(dlclose(inner_handle) == 0 && dlclose(handle) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_cross_a_plugins_boundary),
        cmocka_unit_test(a_plugin_in_a_new_namespace_has_its_own_malloc),
        cmocka_unit_test(threads_load_plugins_while_others_allocate),
        cmocka_unit_test(a_plugin_finds_its_own_plugins),
        cmocka_unit_test(blocks_cross_a_deeply_bound_plugins_boundary),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
