/*
 * check.h: asserts in three tiers, and the one table of misuse messages.
 *
 * check_always() stays in every build and guards O(1) properties of data that the application could
 * have overwritten; check_debug() and check_paranoid() guard our own logic and vanish from release builds.
 * misuse() never returns: it writes one line by write(2) (no stdio, no allocation) or calls the
 * application's handler, then aborts. It may only be called with no lock held, so code under a lock
 * returns a misuse_t to its caller, who unlocks first.
 */
#ifndef ARENA_CHECK_H
#define ARENA_CHECK_H

#include "config.h"

struct arena;

/* X(name, text): the line is "libarena: <text>: block 0x..., arena "name"". The manual lists them all. */
#define MISUSE_TABLE(X)                                   \
    X(DOUBLE_FREE, "double free")                         \
    X(FOREIGN, "not a block of this library")             \
    X(INTERIOR, "pointer into the middle of a block")     \
    X(WRONG_ARENA, "block of another arena")              \
    X(BROKEN_HEADER, "broken chunk header")               \
    X(BROKEN_NEIGHBOUR, "broken header behind the block") \
    X(WRONG_SIZE, "freed with a size above the usable")   \
    X(DEAD_ARENA, "use of a destroyed arena")

typedef enum {
    MISUSE_NONE,
#define X(name, text) MISUSE_##name,
    MISUSE_TABLE(X)
#undef X
} misuse_t;

/* Reports and aborts; `arena` and `block` may be NULL. Call it with no lock held. */
HIDDEN _Noreturn void misuse(misuse_t what, const struct arena *arena, const void *block);

/* The same for what is no struct arena: a range arena. */
HIDDEN _Noreturn void misuse_named(misuse_t what, const char *name, const void *block);

/* arena_check's report of invariant `number`: the same line and handler, but it returns. */
HIDDEN void check_report_named(const char *name, int number, const void *where);

/* A broken promise of our own code: names the place, then aborts. */
HIDDEN _Noreturn void check_failed(const char *file, int line, const char *condition);

/* Names the two ranks of a lock order that was broken, then aborts. */
HIDDEN _Noreturn void check_lock_inversion(int wanted, int held);

#define check_always(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
#define check_debug(condition) \
    (!CHECK_DEBUG || (condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
#define check_paranoid(condition) \
    (!CHECK_PARANOID || (condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

#endif
