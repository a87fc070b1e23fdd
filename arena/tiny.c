/* tiny.c: see tiny.h. */
#include "tiny.h"

#include "carve.h"
#include "list.h"
#include "sizeclass.h"

enum { WORDS = TINY_MAX_UNITS * TINY_UNIT / 16 / 64 };

typedef struct tiny_slab {
    struct tiny_slab *next, *previous; /* of its class, while it has a free block */
    uint16_t capacity, used;
    uint8_t class, units;
    uint64_t free[WORDS];
} tiny_slab_t;

struct tiny {
    char *buffer; /* rounded down to a unit */
    tiny_slab_t *partial[SMALL_CLASSES + 1];
    uint32_t taken[SMALL_CLASSES + 1]; /* requests of the class that no slab served: demand for one */
    uint8_t map[];                     /* 0, or 1 + units since the slab's start */
};

enum { FIRST_BLOCK = (sizeof(tiny_slab_t) + 15) / 16 * 16 };

size_t tiny_table_bytes(size_t buffer_bytes)
{
    return sizeof(struct tiny) + (buffer_bytes >> TINY_UNIT_LOG2) + 2;
}

void tiny_init(arena_t *arena, void *memory, char *buffer)
{
    arena->tiny = memory;
    arena->tiny->buffer = (char *)align_down((uintptr_t)buffer, TINY_UNIT);
}

static uint8_t *map_byte(const arena_t *arena, const void *address)
{
    return &arena->tiny->map[distance(arena->tiny->buffer, address) >> TINY_UNIT_LOG2];
}

bool tiny_holds(const arena_t *arena, const void *block)
{
    const region_t *region = arena->regions;
    return contains(region->start, region->bytes, block) && *map_byte(arena, block) != 0;
}

static tiny_slab_t *slab_of(const arena_t *arena, const void *block)
{
    char *unit = (char *)align_down((uintptr_t)block, TINY_UNIT);
    return (tiny_slab_t *)(unit - (size_t)(*map_byte(arena, block) - 1) * TINY_UNIT);
}

static void link_slab(arena_t *arena, tiny_slab_t *slab)
{
    LIST_PUSH(arena->tiny->partial[slab->class], slab, next, previous);
}

static void unlink_slab(arena_t *arena, tiny_slab_t *slab)
{
    LIST_UNLINK(arena->tiny->partial[slab->class], slab, next, previous);
}

/* The block of such a slab ends 8 bytes short of a unit: the next chunk's header comes there. */
static size_t slab_bytes(size_t units)
{
    return units * TINY_UNIT - CHUNK_HEADER;
}

static tiny_slab_t *new_slab(arena_t *arena, unsigned class, size_t units)
{
    size_t bytes = sizeclass_bytes[class];
    size_t size = chunk_size_for(slab_bytes(units), 8);
    bool zero;
    chunk_t *chunk = carve_take_aligned_locked(arena, TINY_UNIT, size, CHUNK_PIECE, &zero);
    if (chunk == NULL) {
        return NULL;
    }
    tiny_slab_t *slab = chunk_block(chunk);
    *slab = (tiny_slab_t){.class = (uint8_t) class, .units = (uint8_t)units};
    slab->capacity = (uint16_t)min_size((slab_bytes(units) - FIRST_BLOCK) / bytes, WORDS * 64);
    for (unsigned i = 0; i < slab->capacity; i++) {
        slab->free[i / 64] |= (uint64_t)1 << (i % 64);
    }
    for (size_t unit = 0; unit < units; unit++) {
        *map_byte(arena, at(slab, unit * TINY_UNIT)) = (uint8_t)(1 + unit);
    }
    link_slab(arena, slab);
    totals_t *totals = &arena->totals;
    totals->slabs++;
    totals->slab_bytes += chunk_size(chunk);
    totals->slab_free_usable += slab->capacity * bytes;
    return slab;
}

static void release_slab(arena_t *arena, tiny_slab_t *slab)
{
    unlink_slab(arena, slab);
    for (size_t unit = 0; unit < slab->units; unit++) {
        *map_byte(arena, at(slab, unit * TINY_UNIT)) = 0;
    }
    totals_t *totals = &arena->totals;
    totals->slabs--;
    totals->slab_bytes -= chunk_size(chunk_of(slab));
    totals->slab_free_usable -= (size_t)slab->capacity * sizeclass_bytes[slab->class];
    carve_put_locked(arena, chunk_of(slab));
}

/* A slab that the class's demand fills at once, or a smaller one if there is no room. */
static tiny_slab_t *slab_for_demand(arena_t *arena, unsigned class)
{
    size_t demand = (size_t)arena->tiny->taken[class] * sizeclass_bytes[class];
    if (demand < TINY_UNIT) {
        return NULL;
    }
    size_t most =
        sizeclass_bytes[class] < 16 ? TINY_MAX_UNITS / 2 : TINY_MAX_UNITS; /* what the bitmap covers */
    size_t units = min_size((size_t)1 << floor_log2(demand >> TINY_UNIT_LOG2), most);
    tiny_slab_t *slab = NULL;
    while (slab == NULL && slab_bytes(units) - FIRST_BLOCK >= 4 * (size_t)sizeclass_bytes[class]) {
        slab = new_slab(arena, class, units);
        if (units == 1) {
            break;
        }
        units /= 2;
    }
    return slab;
}

void *tiny_take_locked(arena_t *arena, unsigned class, size_t alignment)
{
    if (class == 0 || sizeclass_bytes[class] > TINY_CLASS_MAX || alignment > 16 ||
        sizeclass_bytes[class] % alignment != 0) {
        return NULL;
    }
    tiny_slab_t *slab = arena->tiny->partial[class];
    if (slab == NULL) {
        arena->tiny->taken[class]++;
        slab = slab_for_demand(arena, class);
        if (slab == NULL) {
            return NULL;
        }
    }
    unsigned word = 0;
    while (slab->free[word] == 0) {
        word++;
    }
    unsigned index = word * 64 + lowest_bit(slab->free[word]);
    slab->free[word] &= slab->free[word] - 1;
    slab->used++;
    if (slab->used == slab->capacity) {
        unlink_slab(arena, slab);
    }
    size_t bytes = sizeclass_bytes[class];
    arena->tiny->taken[class]++;
    arena->totals.slab_blocks++;
    arena->totals.slab_usable += bytes;
    arena->totals.slab_free_usable -= bytes;
    return at(slab, FIRST_BLOCK + index * bytes);
}

static misuse_t validate(const tiny_slab_t *slab, const void *block, size_t *index)
{
    size_t bytes = sizeclass_bytes[slab->class];
    size_t offset = distance(slab, block);
    if (offset < FIRST_BLOCK || (offset - FIRST_BLOCK) % bytes != 0 ||
        (offset - FIRST_BLOCK) / bytes >= slab->capacity) {
        return MISUSE_INTERIOR;
    }
    *index = (offset - FIRST_BLOCK) / bytes;
    return (slab->free[*index / 64] >> (*index % 64) & 1) != 0 ? MISUSE_DOUBLE_FREE : MISUSE_NONE;
}

misuse_t tiny_put_locked(arena_t *arena, void *block)
{
    tiny_slab_t *slab = slab_of(arena, block);
    size_t index = 0;
    misuse_t wrong = validate(slab, block, &index);
    if (wrong != MISUSE_NONE) {
        return wrong;
    }
    slab->free[index / 64] |= (uint64_t)1 << (index % 64);
    if (slab->used == slab->capacity) {
        link_slab(arena, slab);
    }
    slab->used--;
    size_t bytes = sizeclass_bytes[slab->class];
    arena->tiny->taken[slab->class] -= arena->tiny->taken[slab->class] != 0;
    arena->totals.slab_blocks--;
    arena->totals.slab_usable -= bytes;
    arena->totals.slab_free_usable += bytes;
    if (slab->used == 0) {
        release_slab(arena, slab);
    }
    return MISUSE_NONE;
}

size_t tiny_usable_locked(const arena_t *arena, const void *block, misuse_t *wrong)
{
    const tiny_slab_t *slab = slab_of(arena, block);
    size_t index;
    *wrong = validate(slab, block, &index);
    return sizeclass_bytes[slab->class];
}

void tiny_each(const void *start, void (*visit)(void *context, void *block, size_t usable, bool free),
               void *context)
{
    const tiny_slab_t *slab = start;
    size_t bytes = sizeclass_bytes[slab->class];
    for (size_t i = 0; i < slab->capacity; i++) {
        bool free = (slab->free[i / 64] >> (i % 64) & 1) != 0;
        visit(context, at(slab, FIRST_BLOCK + i * bytes), bytes, free);
    }
}
