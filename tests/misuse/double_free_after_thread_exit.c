/* expect: libarena: double free: block 0x..., arena "test" */
#include "arena.h"
#include <pthread.h>

static arena_t *arena;

static void *release(void *block)
{
    arena_free(arena, block);
    return NULL;
}

int main(void)
{
    pthread_t thread;
    void *block = arena_alloc(arena = arena_create(&(arena_options_t){.name = "test"}), 100);
    pthread_create(&thread, NULL, release, block);
    pthread_join(thread, NULL);
    arena_free(arena, block);
    arena_trim(arena, 0); /* its cache still had it, for another thread */
}
