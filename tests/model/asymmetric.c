/*
 * asymmetric.c: every interleaving of the asymmetric lock of thread caches (tcache/tcache.h), by an explicit-state
 * model checker: all states that the threads' steps can reach are visited breadth first.
 *
 * Memory is TSO: a thread's stores wait in a buffer of its own, in order, and reach memory at any later time; its own
 * loads see them. Taking a mutex needs an empty buffer, as a locked instruction does; releasing one is a plain store.
 * membarrier empties the other threads' buffers at that point. Weaker memory is covered where the barrier orders, not
 * where the release store of busy does.
 *
 *   owner     uses arena A or B, whose caches share one slot of its table: busy = 1, load the slot, compare the cache's
 *             arena, use the cache, busy = 0; or, if it is another's, busy = 0, fill the slot under the registry lock,
 *             use the cache under its mutex
 *   revoker   registry lock, the cache's mutex, slot = none, membarrier, wait for busy == 0, use the cache
 *   destroyer forgets arena A, which nobody uses, while the owner is at B: takes A's cache out of the slot and retires it
 *   newcomer  another thread that gets its first cache of B then
 *
 * Checked in every state: no two threads are inside one cache; when nobody can go on, all are at their end and no use
 * of a cache was lost. That the check can fail is shown by variants, each with one step of the protocol left out.
 */
#define _GNU_SOURCE
#include "../support.h"

enum { NONE, CACHE_A, CACHE_B, CACHE_NEW, CACHES };
enum { ARENA_A = 1, ARENA_B = 2 };

/* Memory. */
enum {
    BUSY,
    SLOT,
    REGISTRY,
    RETIRED,  /* a cache that the owner may make another arena's */
    FREED,    /* a cache that any thread may: the broken variant */
    CACHE_OF, /* the owner's, by arena */
    MUTEX = CACHE_OF + 3,
    ARENA_OF = MUTEX + CACHES,
    DATA = ARENA_OF + CACHES, /* how often a cache was used, as the users wrote it */
    WORDS = DATA + CACHES
};

enum { THREADS = 4, BUFFER = 4 };

typedef struct {
    uint8_t at, left, inside, arena, cache, seen; /* at: next step; left: rounds; the last three: registers */
    uint8_t buffered;
    uint8_t buffer[BUFFER][2]; /* word, value; oldest first */
} thread_state_t;

typedef struct {
    uint8_t memory[WORDS];
    uint8_t uses[CACHES]; /* how often a cache was used, in truth */
    thread_state_t thread[THREADS];
} state_t;

/* What is left out of the protocol; 0: nothing, as shipped. */
enum {
    NO_BARRIER = 1,
    SLOT_BEFORE_BUSY = 2,   /* the owner loads the slot before it stores busy */
    POLL_BEFORE_EVICT = 4,  /* the revoker waits first, then empties the slot */
    NO_REGISTRY_LOCK = 8,   /* the owner fills the slot with no lock held */
    LEAVE_BEFORE_USE = 16,  /* the owner stores busy = 0 before its last store to the cache */
    RECYCLE_TO_ANYONE = 32, /* a retired cache serves the next thread that asks */
    NO_MUTEX = 64,          /* the owner's slow path uses the cache without its mutex */
    MISS_INSIDE = 128       /* the owner takes its locks while busy is still 1 */
};

enum { OWNER, REVOKER_A, REVOKER_B, DESTROYER, NEWCOMER, NOBODY };

typedef struct {
    unsigned variant;
    uint8_t role[THREADS], rounds[THREADS];
    bool only_b;    /* the owner uses arena B alone */
    bool impatient; /* a revoker may also give up waiting */
} model_t;

/* --- memory --- */

static uint8_t load(const state_t *state, int thread, unsigned word)
{
    const thread_state_t *self = &state->thread[thread];

    for (int i = self->buffered; i-- > 0;) {
        if (self->buffer[i][0] == word)
            return self->buffer[i][1];
    }
    return state->memory[word];
}

static bool store(state_t *state, int thread, unsigned word, unsigned value)
{
    thread_state_t *self = &state->thread[thread];

    if (self->buffered == BUFFER)
        return false; /* something has to reach memory first */
    self->buffer[self->buffered][0] = (uint8_t)word;
    self->buffer[self->buffered++][1] = (uint8_t)value;
    return true;
}

static bool drain_one(state_t *state, int thread)
{
    thread_state_t *self = &state->thread[thread];

    if (self->buffered == 0)
        return false;
    state->memory[self->buffer[0][0]] = self->buffer[0][1];
    self->buffered--;
    memmove(self->buffer[0], self->buffer[1], sizeof self->buffer - sizeof self->buffer[0]);
    memset(self->buffer[self->buffered], 0, sizeof self->buffer[0]);
    return true;
}

static bool take(state_t *state, int thread, unsigned mutex)
{
    if (state->thread[thread].buffered != 0 || state->memory[mutex] != 0)
        return false;
    state->memory[mutex] = (uint8_t)(thread + 1);
    return true;
}

/* --- the threads: each function is one step; false: it cannot be taken now --- */

static bool go(thread_state_t *self, unsigned at)
{
    self->at = (uint8_t)at;
    return true;
}

/* Two steps: read the cache, write it back with one use more. `at`: the first of them. */
static bool use_begin(state_t *state, int thread, unsigned at)
{
    thread_state_t *self = &state->thread[thread];

    self->inside = self->cache;
    self->seen = load(state, thread, DATA + self->cache);
    return go(self, at);
}

static bool use_end(state_t *state, int thread, unsigned at)
{
    thread_state_t *self = &state->thread[thread];

    if (!store(state, thread, DATA + self->cache, self->seen + 1u))
        return false;
    state->uses[self->cache]++;
    return go(self, at);
}

enum {
    O_START,
    O_BUSY,
    O_SLOT,
    O_COMPARE,
    O_USE,
    O_USED,
    O_LEAVE,
    O_MISS,
    O_LOOK,
    O_REGISTRY,
    O_FILL,
    O_FILLED,
    O_MUTEX,
    O_SLOW_USE,
    O_SLOW_USED,
    O_SLOW_END,
    O_EARLY
};

static bool owner_choose(const model_t *model, thread_state_t *self, unsigned choice)
{
    if (self->left == 0 || (model->only_b && choice != 0))
        return false;
    self->left--;
    self->arena = choice == 0 ? ARENA_B : ARENA_A;
    return go(self, model->variant & SLOT_BEFORE_BUSY ? O_SLOT : O_BUSY);
}

/* The owner's own cache of the arena; a retired one becomes it if there is none. */
static bool owner_fill(state_t *state, int thread)
{
    thread_state_t *self = &state->thread[thread];

    if (self->buffered > BUFFER - 3)
        return false;
    self->cache = load(state, thread, CACHE_OF + self->arena);
    if (self->cache == NONE) {
        self->cache = load(state, thread, RETIRED);
        self->cache = self->cache == NONE ? CACHE_B : self->cache; /* a fresh one */
        store(state, thread, ARENA_OF + self->cache, self->arena);
        store(state, thread, CACHE_OF + self->arena, self->cache);
    }
    store(state, thread, SLOT, self->cache);
    return go(self, O_FILLED);
}

static bool owner_fast(const model_t *model, state_t *state, int thread)
{
    thread_state_t *self = &state->thread[thread];
    bool early = (model->variant & SLOT_BEFORE_BUSY) != 0;
    bool leaves = (model->variant & LEAVE_BEFORE_USE) != 0;

    switch (self->at) {
    case O_BUSY:
        return store(state, thread, BUSY, 1) && go(self, early ? O_COMPARE : O_SLOT);
    case O_SLOT:
        self->cache = load(state, thread, SLOT);
        return go(self, early ? O_BUSY : O_COMPARE);
    case O_COMPARE:
        return go(self, load(state, thread, ARENA_OF + self->cache) == self->arena ? O_USE : O_MISS);
    case O_USE:
        return use_begin(state, thread, leaves ? O_EARLY : O_USED);
    case O_EARLY:
        return store(state, thread, BUSY, 0) && go(self, O_USED);
    case O_USED:
        return use_end(state, thread, O_LEAVE);
    default: /* O_LEAVE */
        if (!leaves && !store(state, thread, BUSY, 0))
            return false;
        self->inside = 0;
        return go(self, O_START);
    }
}

static bool owner_slow(const model_t *model, state_t *state, int thread)
{
    thread_state_t *self = &state->thread[thread];
    bool locks = !(model->variant & NO_REGISTRY_LOCK), mutex = !(model->variant & NO_MUTEX);
    bool stays = (model->variant & MISS_INSIDE) != 0;

    switch (self->at) {
    case O_MISS:
        return (stays || store(state, thread, BUSY, 0)) && go(self, O_LOOK);
    case O_LOOK: /* the miss may have been the cache's */
        self->cache = load(state, thread, SLOT);
        return go(self, load(state, thread, ARENA_OF + self->cache) == self->arena ? O_MUTEX : O_REGISTRY);
    case O_REGISTRY:
        return (!locks || take(state, thread, REGISTRY)) && go(self, O_FILL);
    case O_FILL:
        return owner_fill(state, thread);
    case O_FILLED:
        return (!locks || store(state, thread, REGISTRY, 0)) && go(self, O_MUTEX);
    case O_MUTEX:
        return (!mutex || take(state, thread, MUTEX + self->cache)) && go(self, O_SLOW_USE);
    case O_SLOW_USE:
        return use_begin(state, thread, O_SLOW_USED);
    case O_SLOW_USED:
        return use_end(state, thread, O_SLOW_END);
    default: /* O_SLOW_END */
        if (self->buffered > BUFFER - 2)
            return false;
        if (mutex)
            store(state, thread, MUTEX + self->cache, 0);
        if (stays)
            store(state, thread, BUSY, 0);
        self->inside = 0;
        return go(self, O_START);
    }
}

static bool owner_step(const model_t *model, state_t *state, int thread, unsigned choice)
{
    thread_state_t *self = &state->thread[thread];

    if (self->at == O_START)
        return owner_choose(model, self, choice);
    if (choice != 0)
        return false;
    bool slow = self->at >= O_MISS && self->at != O_EARLY;
    return slow ? owner_slow(model, state, thread) : owner_fast(model, state, thread);
}

enum { R_START, R_MUTEX, R_LOOK, R_EVICT, R_BARRIER, R_POLL, R_USE, R_USED, R_RELEASE, R_END };

static bool membarrier_all(const model_t *model, state_t *state, int thread)
{
    if (state->thread[thread].buffered != 0)
        return false;
    for (int other = 0; other < THREADS && !(model->variant & NO_BARRIER); other++) {
        while (drain_one(state, other)) {
        }
    }
    return true;
}

static bool revoker_step(const model_t *model, state_t *state, int thread, unsigned choice)
{
    thread_state_t *self = &state->thread[thread];
    bool polls_first = (model->variant & POLL_BEFORE_EVICT) != 0;

    if (choice != 0 && !(model->impatient && self->at == R_POLL && state->memory[BUSY] != 0))
        return false;
    switch (self->at) {
    case R_START:
        self->cache = model->role[thread] == REVOKER_A ? CACHE_A : CACHE_B;
        if (self->left == 0 || !take(state, thread, REGISTRY))
            return false;
        self->left--;
        return go(self, R_MUTEX);
    case R_MUTEX:
        return take(state, thread, MUTEX + self->cache) && go(self, polls_first ? R_BARRIER : R_LOOK);
    case R_LOOK:
        self->seen = load(state, thread, SLOT);
        return go(self, self->seen == self->cache ? R_EVICT : polls_first ? R_USE : R_BARRIER);
    case R_EVICT:
        return store(state, thread, SLOT, NONE) && go(self, polls_first ? R_USE : R_BARRIER);
    case R_BARRIER:
        return membarrier_all(model, state, thread) && go(self, R_POLL);
    case R_POLL:
        if (choice != 0)
            return go(self, R_RELEASE);
        return load(state, thread, BUSY) == 0 && go(self, polls_first ? R_LOOK : R_USE);
    case R_USE:
        return use_begin(state, thread, R_USED);
    case R_USED:
        return use_end(state, thread, R_RELEASE);
    case R_RELEASE:
        self->inside = 0;
        return store(state, thread, MUTEX + self->cache, 0) && go(self, R_END);
    default: /* R_END */
        self->seen = self->cache = 0;
        return store(state, thread, REGISTRY, 0) && go(self, R_START);
    }
}

enum { D_START, D_LOOK, D_EVICT, D_RETIRE, D_END };

static bool destroyer_step(const model_t *model, state_t *state, int thread)
{
    thread_state_t *self = &state->thread[thread];

    switch (self->at) {
    case D_START:
        if (self->left == 0 || !take(state, thread, REGISTRY))
            return false;
        self->left--;
        return go(self, D_LOOK);
    case D_LOOK:
        self->seen = load(state, thread, SLOT);
        return go(self, self->seen == CACHE_A ? D_EVICT : D_RETIRE);
    case D_EVICT:
        return store(state, thread, SLOT, NONE) && go(self, D_RETIRE);
    case D_RETIRE:
        return store(state, thread, model->variant & RECYCLE_TO_ANYONE ? FREED : RETIRED, CACHE_A) &&
               go(self, D_END);
    default: /* D_END */
        return store(state, thread, REGISTRY, 0) && go(self, D_START);
    }
}

enum { N_START, N_TAKE, N_MAKE, N_END, N_USE, N_USED };

static bool newcomer_step(state_t *state, int thread)
{
    thread_state_t *self = &state->thread[thread];

    switch (self->at) {
    case N_START:
        if (self->left == 0 || !take(state, thread, REGISTRY))
            return false;
        self->left--;
        return go(self, N_TAKE);
    case N_TAKE:
        self->cache = load(state, thread, FREED);
        self->cache = self->cache == NONE ? CACHE_NEW : self->cache;
        return go(self, N_MAKE);
    case N_MAKE:
        return store(state, thread, ARENA_OF + self->cache, ARENA_B) && go(self, N_END);
    case N_END:
        return store(state, thread, REGISTRY, 0) && go(self, N_USE);
    case N_USE:
        return use_begin(state, thread, N_USED);
    default: /* N_USED */
        if (!use_end(state, thread, N_START))
            return false;
        self->inside = 0;
        return true;
    }
}

/* Choices 0 and 1 are steps of the program, 2 is one of the store buffer. */
enum { CHOICES = 3, DRAIN = 2 };

static bool step(const model_t *model, state_t *state, int thread, unsigned choice)
{
    if (choice == DRAIN)
        return drain_one(state, thread);
    switch (model->role[thread]) {
    case OWNER:
        return owner_step(model, state, thread, choice);
    case REVOKER_A:
    case REVOKER_B:
        return revoker_step(model, state, thread, choice);
    case DESTROYER:
        return choice == 0 && destroyer_step(model, state, thread);
    case NEWCOMER:
        return choice == 0 && newcomer_step(state, thread);
    default:
        return false;
    }
}

/* --- the search --- */

typedef enum { SOUND, TWO_INSIDE, STUCK, LOST_USE } verdict_t;

enum { STATES_LOG2 = 19, STATES = 1 << STATES_LOG2 };

static state_t *states;      /* in the order in which they were found */
static uint32_t *table;      /* of indices + 1, by hash */
static uint32_t *found_from; /* the state before, of the shortest way */
static uint32_t count;

static bool add(const state_t *state, uint32_t from)
{
    const unsigned char *bytes = (const unsigned char *)state;
    uint64_t hash = 1469598103934665603u;

    for (size_t i = 0; i < sizeof *state; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    hash ^= hash >> 29;
    uint32_t slot = (uint32_t)hash & (2 * STATES - 1);
    for (; table[slot] != 0; slot = (slot + 1) & (2 * STATES - 1)) {
        if (memcmp(&states[table[slot] - 1], state, sizeof *state) == 0)
            return false;
    }
    must(count < STATES);
    states[count] = *state;
    found_from[count] = from;
    table[slot] = ++count;
    return true;
}

static bool two_inside(const state_t *state)
{
    for (int i = 0; i < THREADS; i++) {
        for (int k = 0; k < i; k++) {
            if (state->thread[i].inside != 0 && state->thread[i].inside == state->thread[k].inside)
                return true;
        }
    }
    return false;
}

/* Of a state in which nobody can go on. */
static verdict_t judge_end(const model_t *model, const state_t *state)
{
    for (int i = 0; i < THREADS; i++) {
        if (model->role[i] != NOBODY && (state->thread[i].at != 0 || state->thread[i].left != 0))
            return STUCK;
    }
    return memcmp(&state->memory[DATA], state->uses, CACHES) == 0 ? SOUND : LOST_USE;
}

static state_t start_of(const model_t *model)
{
    state_t state;

    memset(&state, 0, sizeof state);
    state.memory[SLOT] = CACHE_A;
    state.memory[ARENA_OF + CACHE_A] = ARENA_A;
    state.memory[CACHE_OF + ARENA_A] = CACHE_A;
    if (!model->only_b) {
        state.memory[ARENA_OF + CACHE_B] = ARENA_B;
        state.memory[CACHE_OF + ARENA_B] = CACHE_B;
    }
    for (int i = 0; i < THREADS; i++)
        state.thread[i].left = model->rounds[i];
    return state;
}

/* Visits every state; *last is the one that shows what is wrong. */
static verdict_t search(const model_t *model, uint32_t *last)
{
    state_t state = start_of(model);

    memset(table, 0, 2 * STATES * sizeof *table);
    count = 0;
    add(&state, 0);
    for (uint32_t i = 0; i < count; i++) {
        bool any = false;
        *last = i;
        for (int thread = 0; thread < THREADS; thread++) {
            for (unsigned choice = 0; choice < CHOICES; choice++) {
                state = states[i];
                if (!step(model, &state, thread, choice))
                    continue;
                any = true;
                if (add(&state, i) && two_inside(&state)) {
                    *last = count - 1;
                    return TWO_INSIDE;
                }
            }
        }
        verdict_t end = any ? SOUND : judge_end(model, &states[i]);
        if (end != SOUND)
            return end;
    }
    return SOUND;
}

static void print_way_to(uint32_t last)
{
    uint32_t way[512], length = 0;

    for (uint32_t i = last; length < 512; i = found_from[i]) {
        way[length++] = i;
        if (i == 0)
            break;
    }
    while (length-- > 0) {
        const state_t *state = &states[way[length]];
        printf("busy %u slot %u registry %u |", state->memory[BUSY], state->memory[SLOT],
               state->memory[REGISTRY]);
        for (int i = 0; i < THREADS; i++)
            printf(" thread %d: step %u inside %u buffered %u |", i, state->thread[i].at,
                   state->thread[i].inside, state->thread[i].buffered);
        printf("\n");
    }
}

static void expect_sound(const model_t *model)
{
    uint32_t last;
    verdict_t verdict = search(model, &last);

    print_message("%u states\n", count);
    if (verdict != SOUND)
        print_way_to(last);
    assert_int_equal(verdict, SOUND);
    assert_true(count > 1000); /* that something was explored at all */
}

static void expect_broken(const model_t *model, verdict_t expected)
{
    uint32_t last;

    assert_int_equal(search(model, &last), expected);
    print_message("broken after %u states\n", count);
}

/* --- what is asserted --- */

static const model_t two_revokers = {.role = {OWNER, REVOKER_A, REVOKER_B, NOBODY}, .rounds = {3, 2, 1}};
static const model_t one_revoker = {.role = {OWNER, REVOKER_A, NOBODY, NOBODY}, .rounds = {4, 3}};
static const model_t destroyed = {
    .role = {OWNER, DESTROYER, NEWCOMER, REVOKER_B}, .rounds = {2, 1, 2, 0}, .only_b = true};

static model_t without(model_t model, unsigned variant)
{
    model.variant = variant;
    return model;
}

static void owner_and_revoker_are_never_both_inside(void **state)
{
    (void)state;
    expect_sound(&one_revoker);
}

static void colliding_slots_and_two_revokers_change_nothing(void **state)
{
    (void)state;
    expect_sound(&two_revokers);
}

static void a_revoker_that_gives_up_waiting_does_no_harm(void **state)
{
    model_t model = two_revokers;

    (void)state;
    model.impatient = true;
    expect_sound(&model);
}

static void a_cache_retired_from_a_colliding_slot_stays_its_threads(void **state)
{
    (void)state;
    expect_sound(&destroyed);
}

static void without_the_barrier_both_get_inside(void **state)
{
    model_t model = without(one_revoker, NO_BARRIER);

    (void)state;
    expect_broken(&model, TWO_INSIDE);
}

static void with_the_slot_loaded_before_busy_both_get_inside(void **state)
{
    model_t model = without(one_revoker, SLOT_BEFORE_BUSY);

    (void)state;
    expect_broken(&model, TWO_INSIDE);
}

static void with_the_wait_before_the_eviction_both_get_inside(void **state)
{
    model_t model = without(one_revoker, POLL_BEFORE_EVICT);

    (void)state;
    expect_broken(&model, TWO_INSIDE);
}

/* The registry lock guards the lists of caches; the slot itself is safe because the mutex comes before the next use. */
static void the_slot_may_be_filled_under_no_lock_as_the_mutex_follows(void **state)
{
    model_t model = without(two_revokers, NO_REGISTRY_LOCK);

    (void)state;
    expect_sound(&model);
}

static void with_the_slot_filled_under_no_lock_at_all_both_get_inside(void **state)
{
    model_t model = without(one_revoker, NO_REGISTRY_LOCK | NO_MUTEX);

    (void)state;
    expect_broken(&model, TWO_INSIDE);
}

static void with_busy_cleared_too_early_both_get_inside(void **state)
{
    model_t model = without(one_revoker, LEAVE_BEFORE_USE);

    (void)state;
    expect_broken(&model, TWO_INSIDE);
}

static void with_a_slow_path_without_the_mutex_both_get_inside(void **state)
{
    model_t model = without(one_revoker, NO_MUTEX);

    (void)state;
    expect_broken(&model, TWO_INSIDE);
}

/* The owner loaded the cache while it was A's; when it compares, it is another thread's cache of B. */
static void with_a_retired_cache_for_anyone_two_threads_share_it(void **state)
{
    model_t model = without(destroyed, RECYCLE_TO_ANYONE);

    (void)state;
    expect_broken(&model, TWO_INSIDE);
}

/* The revoker holds the mutex and waits for busy, the owner holds busy and waits for the mutex. */
static void with_a_miss_that_stays_inside_both_wait_for_ever(void **state)
{
    model_t model = without(one_revoker, MISS_INSIDE);

    (void)state;
    expect_broken(&model, STUCK);
}

static int make_room(void **state)
{
    (void)state;
    states = malloc(STATES * sizeof *states);
    table = malloc(2 * STATES * sizeof *table);
    found_from = malloc(STATES * sizeof *found_from);
    return states == NULL || table == NULL || found_from == NULL;
}

static int free_room(void **state)
{
    (void)state;
    free(states);
    free(table);
    free(found_from);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owner_and_revoker_are_never_both_inside),
        cmocka_unit_test(colliding_slots_and_two_revokers_change_nothing),
        cmocka_unit_test(a_revoker_that_gives_up_waiting_does_no_harm),
        cmocka_unit_test(a_cache_retired_from_a_colliding_slot_stays_its_threads),
        cmocka_unit_test(without_the_barrier_both_get_inside),
        cmocka_unit_test(with_the_slot_loaded_before_busy_both_get_inside),
        cmocka_unit_test(with_the_wait_before_the_eviction_both_get_inside),
        cmocka_unit_test(with_the_slot_filled_under_no_lock_at_all_both_get_inside),
        cmocka_unit_test(the_slot_may_be_filled_under_no_lock_as_the_mutex_follows),
        cmocka_unit_test(with_busy_cleared_too_early_both_get_inside),
        cmocka_unit_test(with_a_slow_path_without_the_mutex_both_get_inside),
        cmocka_unit_test(with_a_retired_cache_for_anyone_two_threads_share_it),
        cmocka_unit_test(with_a_miss_that_stays_inside_both_wait_for_ever),
    };

    return cmocka_run_group_tests(tests, make_room, free_room);
}
