/* pagemap.c: leaves of the page map. A lost race for a leaf costs one mapping and unmapping. */
#include "pagemap.h"

#include "os.h"

AMONG_THE_LAST _Atomic(pagemap_leaf_t *) pagemap_root[PAGEMAP_ROOTS];
static _Atomic size_t leaf_bytes; /* relaxed: a statistic */

static bool ensure_leaf(size_t index)
{
    /* acquire pairs with the exchange below: the leaf's zero pages are older than what we store there */
    pagemap_leaf_t *leaf = atomic_load_explicit(&pagemap_root[index], memory_order_acquire);
    if (leaf != NULL) {
        return true;
    }
    pagemap_leaf_t *fresh = os_map(sizeof *fresh, GRANULE, (os_map_options_t){0});
    if (fresh == NULL) {
        return false;
    }
    if (!atomic_compare_exchange_strong(&pagemap_root[index], &leaf, fresh)) {
        os_unmap(fresh, sizeof *fresh);
        return true;
    }
    atomic_fetch_add_explicit(&leaf_bytes, sizeof *fresh, memory_order_relaxed);
    return true;
}

bool pagemap_ensure(const void *start, size_t bytes)
{
    uint64_t first = (uint64_t)(uintptr_t)start >> (LEAF_LOG2 + GRANULE_LOG2);
    uint64_t last = ((uint64_t)(uintptr_t)start + bytes - 1) >> (LEAF_LOG2 + GRANULE_LOG2);
    if (last >= PAGEMAP_ROOTS) {
        return false;
    }
    for (uint64_t index = first; index <= last; index++) {
        if (!ensure_leaf((size_t)index)) {
            return false;
        }
    }
    return true;
}

void pagemap_set(granule_t first, size_t count, uint32_t entry)
{
    for (size_t i = 0; i < count; i++) {
        granule_t granule = first + (granule_t)i;
        pagemap_leaf_t *leaf = pagemap_leaf(granule);
        atomic_store_explicit(&leaf->entry[granule & ((1 << LEAF_LOG2) - 1)], entry, memory_order_release);
    }
}

void pagemap_claim(granule_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        granule_t granule = first + (granule_t)i;
        pagemap_leaf_t *leaf = pagemap_leaf(granule);
        (void)atomic_load_explicit(&leaf->entry[granule & ((1 << LEAF_LOG2) - 1)], memory_order_acquire);
    }
}

size_t pagemap_mapped_bytes(void)
{
    return atomic_load_explicit(&leaf_bytes, memory_order_relaxed);
}
