/*
 * walk_beside.c: arena_check, arena_walk, arena_stats and arena_trim go on in a loop beside eight busy
 * threads. A block that lives throughout is seen exactly once by each walk; a healthy arena is never called
 * broken.
 */
#define _GNU_SOURCE
#include "../support.h"

#include <stdatomic.h>

enum { BUSY = 8, HELD = 150, KEPT = 500 };

static uint64_t seed;
static arena_t *arena;
static _Atomic bool stop;
static _Atomic(char *) passed[64]; /* blocks on their way from one thread to another, 48 bytes each */
static char *kept[KEPT];           /* live throughout, ascending */

static size_t busy_size(rng_t *rng)
{
    return rng_below(rng, 300) == 0 ? rng_size(rng, 20) : rng_size(rng, 10);
}

static void *be_busy(void *number)
{
    rng_t rng = {seed + (uintptr_t)number};
    char *blocks[HELD] = {NULL};
    size_t bytes[HELD] = {0};

    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        size_t i = rng_below(&rng, HELD), wanted = busy_size(&rng);
        must(blocks[i] == NULL || holds(blocks[i], bytes[i], i));
        if (blocks[i] != NULL && rng_below(&rng, 4) == 0) {
            blocks[i] = arena_realloc(arena, blocks[i], wanted);
        } else {
            arena_free(arena, blocks[i]);
            blocks[i] = rng_below(&rng, 8) ? arena_alloc(arena, wanted) : arena_calloc(arena, 1, wanted);
        }
        must(blocks[i] != NULL);
        bytes[i] = wanted;
        fill(blocks[i], wanted, i);
        char *pass = arena_alloc(arena, 48);
        must(pass != NULL);
        fill(pass, 48, 5);
        pass = atomic_exchange(&passed[rng_below(&rng, 64)], pass);
        must(pass == NULL || holds(pass, 48, 5));
        arena_free(arena, pass);
    }
    for (size_t i = 0; i < HELD; i++)
        arena_free(arena, blocks[i]);
    return NULL;
}

static int compare_blocks(const void *a, const void *b)
{
    uintptr_t left = (uintptr_t) * (char *const *)a, right = (uintptr_t) * (char *const *)b;

    return left < right ? -1 : left > right;
}

typedef struct {
    unsigned char seen[KEPT];
    size_t bad, blocks;
} view_t;

static int look(void *context, const arena_block_t *block)
{
    view_t *view = context;
    char *start = block->start;
    char **found = bsearch(&start, kept, KEPT, sizeof kept[0], compare_blocks);

    view->blocks++;
    view->bad += block->usable == 0 || block->state > ARENA_BLOCK_FREE;
    if (found != NULL) {
        view->seen[found - kept]++;
        view->bad += block->state != ARENA_BLOCK_LIVE || block->usable < 100;
    }
    return 0;
}

static void start(pthread_t *threads)
{
    must((arena = arena_create(NULL)) != NULL);
    stop = false;
    for (size_t i = 0; i < KEPT; i++)
        must((kept[i] = arena_alloc(arena, 100 + i * i % 3000)) != NULL);
    qsort(kept, KEPT, sizeof kept[0], compare_blocks);
    for (size_t i = 0; i < KEPT; i++)
        fill(kept[i], 100, i);
    for (size_t i = 0; i < BUSY; i++)
        must(pthread_create(&threads[i], NULL, be_busy, (void *)(uintptr_t)i) == 0);
}

static void finish(pthread_t *threads)
{
    stop = true;
    for (size_t i = 0; i < BUSY; i++)
        must(pthread_join(threads[i], NULL) == 0);
    for (size_t i = 0; i < KEPT; i++) {
        must(holds(kept[i], 100, i));
        arena_free(arena, kept[i]);
    }
    for (size_t i = 0; i < 64; i++)
        arena_free(arena, atomic_exchange(&passed[i], NULL));
    arena_stats_t stats = stats_of(arena);
    must(stats.live_blocks == 0 && stats.live_bytes == 0 && stats_add_up(&stats));
    must(arena_check(arena) == 0);
    arena_destroy(arena);
}

static void checks_and_walks_go_on_beside_eight_busy_threads(void **state)
{
    static view_t view;
    pthread_t threads[BUSY];
    size_t rounds = 0;

    (void)state;
    start(threads);
    for (double until = now_seconds() + test_seconds(2.0); rounds < 3 || now_seconds() < until; rounds++) {
        must(arena_check(arena) == 0);
        memset(&view, 0, sizeof view);
        must(arena_walk(arena, look, &view) == 0);
        must(view.bad == 0 && view.blocks >= KEPT);
        for (size_t i = 0; i < KEPT; i++)
            must(view.seen[i] == 1);
    }
    finish(threads);
    printf("%zu rounds\n", rounds);
}

static void trims_and_figures_go_on_beside_eight_busy_threads(void **state)
{
    pthread_t threads[BUSY];
    rng_t rng = {seed};

    (void)state;
    start(threads);
    for (double until = now_seconds() + test_seconds(2.0); now_seconds() < until;) {
        arena_trim(rng_below(&rng, 2) ? arena : NULL, rng_size(&rng, 23));
        arena_stats_t stats = stats_of(arena), process = stats_of(NULL);
        must(stats.mapped_bytes <= stats.peak_mapped_bytes);
        must(stats.live_blocks >= KEPT && stats.allocations >= stats.frees);
        must(stats.live_bytes <= stats.mapped_bytes);
        must(process.arenas == 1 && stats.caches <= BUSY + 1);
        must(arena_check(arena) == 0);
    }
    finish(threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_and_walks_go_on_beside_eight_busy_threads),
        cmocka_unit_test(trims_and_figures_go_on_beside_eight_busy_threads),
    };

    seed = test_seed(8);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
