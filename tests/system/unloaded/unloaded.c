/*
 * unloaded.c: what README.md says of dlclose: a plugin with libarena in it, or linked to it, goes, and the threads that used its
 * arenas live on, end, and fork as ever. The first argument is the plugin. If there is a second one, it destroys its arenas
 * before, as who has the library in it must.
 */
#include "../../support.h"

#include <dlfcn.h>

static const char *path;
static bool destroys;

typedef struct {
    void *library;
    void *(*alloc)(size_t size);
    void (*end)(void);
} plugin_t;

static plugin_t load(void)
{
    plugin_t plugin = {.library = dlopen(path, RTLD_NOW)};
    assert_non_null(plugin.library);
    *(void **)&plugin.alloc = dlsym(plugin.library, "plugin_alloc");
    *(void **)&plugin.end = dlsym(plugin.library, "plugin_end");
    return plugin;
}

static void unload(const plugin_t *plugin)
{
    if (destroys) {
        plugin->end();
    }
    assert_int_equal(dlclose(plugin->library), 0);
}

typedef struct {
    plugin_t plugin;
    pthread_barrier_t barrier;
} shared_t;

static void *use_it_and_outlive_it(void *argument)
{
    shared_t *shared = argument;
    void *block = shared->plugin.alloc(100);
    pthread_barrier_wait(&shared->barrier); /* used */
    pthread_barrier_wait(&shared->barrier); /* unloaded */
    return block;
}

static void threads_outlive_the_library(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) { /* the next one often lies where the last one was */
        shared_t shared = {.plugin = load()};
        void *block = NULL;
        pthread_t thread;
        pthread_barrier_init(&shared.barrier, NULL, 2);
        pthread_create(&thread, NULL, use_it_and_outlive_it, &shared);
        pthread_barrier_wait(&shared.barrier);
        assert_non_null(shared.plugin.alloc(100));
        unload(&shared.plugin);
        pthread_barrier_wait(&shared.barrier);
        pthread_join(thread, &block);
        assert_non_null(block);
        pthread_barrier_destroy(&shared.barrier);
    }
}

static int end_at_once(void *context)
{
    (void)context;
    return 0;
}

static void a_fork_outlives_the_library(void **state)
{
    (void)state;
    plugin_t plugin = load();
    assert_non_null(plugin.alloc(100));
    unload(&plugin);
    assert_int_equal(status_of_child(end_at_once, NULL, 10), 0);
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_outlive_the_library),
        cmocka_unit_test(a_fork_outlives_the_library),
    };

    path = count > 1 ? arguments[1] : "";
    destroys = count > 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
