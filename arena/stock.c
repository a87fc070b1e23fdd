/* stock.c: see stock.h. Few entries, so a scan of a small array is all it takes. */
#include "stock.h"

#include "os.h"
#include "util.h"

enum { ENTRIES = 64 };

typedef struct {
    void *start;
    size_t bytes;
} entry_t;

static lock_t lock = LOCK_STATIC(RANK_OS);
/* guarded by lock */
static entry_t entries[ENTRIES];
static unsigned used;
static size_t held_bytes;
static uint64_t decayed_ms;

size_t stock_put(void *start, size_t bytes)
{
    lock_acquire(&lock);
    size_t kept = used == ENTRIES ? 0 : min_size(bytes, STOCK_MAX_BYTES - held_bytes);
    if (kept != bytes && kept < FIRST_REGION_BYTES) {
        kept = 0;
    }
    if (kept != 0) {
        entries[used++] = (entry_t){at(start, bytes - kept), kept};
        held_bytes += kept;
    }
    lock_release(&lock);
    return kept;
}

/* The last one put that fits, because it is the warmest. */
void *stock_take(size_t least, size_t most, size_t *bytes)
{
    void *start = NULL;
    lock_acquire(&lock);
    for (unsigned i = used; i-- > 0;) {
        if (entries[i].bytes >= least && entries[i].bytes <= most) {
            start = entries[i].start;
            *bytes = entries[i].bytes;
            held_bytes -= entries[i].bytes;
            entries[i] = entries[--used];
            break;
        }
    }
    lock_release(&lock);
    return start;
}

/* From its end: regions that grow downwards, as the kernel's mappings do, are one again in the end. */
void *stock_cut(size_t bytes)
{
    void *start = NULL;
    lock_acquire(&lock);
    for (unsigned i = used; i-- > 0 && start == NULL;) {
        if (entries[i].bytes > bytes) {
            entries[i].bytes -= bytes;
            held_bytes -= bytes;
            start = at(entries[i].start, entries[i].bytes);
        }
    }
    lock_release(&lock);
    return start;
}

size_t stock_trim(size_t keep)
{
    size_t gone = 0;
    for (;;) {
        lock_acquire(&lock);
        entry_t entry = {NULL, 0};
        if (held_bytes > keep) {
            entry = entries[--used];
            held_bytes -= entry.bytes;
        }
        lock_release(&lock);
        if (entry.start == NULL) {
            return gone;
        }
        os_unmap(entry.start, entry.bytes);
        gone += entry.bytes;
    }
}

void stock_decay(uint64_t now_ms)
{
    lock_acquire(&lock);
    bool due = now_ms - decayed_ms >= PURGE_DELAY_MS;
    size_t keep = held_bytes / 2;
    decayed_ms = due ? now_ms : decayed_ms;
    lock_release(&lock);
    if (due) {
        stock_trim(keep < FIRST_REGION_BYTES ? 0 : keep);
    }
}

size_t stock_bytes(void)
{
    lock_acquire(&lock);
    size_t bytes = held_bytes;
    lock_release(&lock);
    return bytes;
}

lock_t *stock_lock(void)
{
    return &lock;
}
