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
static size_t most_bytes = STOCK_MAX_BYTES;
static size_t refused_bytes;        /* lately, as it was full */
static _Atomic uint64_t decayed_ms; /* relaxed: read without it, too */

/* Out of the table; the others keep their order. */
static entry_t remove_locked(unsigned index)
{
    entry_t entry = entries[index];
    used--;
    for (unsigned i = index; i < used; i++) {
        entries[i] = entries[i + 1];
    }
    return entry;
}

/* What touches it and is there already becomes one with it: large requests come, too. */
static entry_t join_locked(entry_t entry)
{
    for (unsigned i = used; i-- > 0;) {
        bool before = at(entries[i].start, entries[i].bytes) == entry.start;
        if (before || at(entry.start, entry.bytes) == entries[i].start) {
            entry_t other = remove_locked(i);
            entry = (entry_t){before ? other.start : entry.start, other.bytes + entry.bytes};
        }
    }
    return entry;
}

/* False: there are too many. */
static bool add_locked(entry_t entry)
{
    size_t bytes = entry.bytes;
    entry = join_locked(entry);
    if (used == ENTRIES) {
        return false; /* so it joined none */
    }
    entries[used++] = entry;
    held_bytes += bytes;
    return true;
}

/* How much of so many bytes it would keep. */
static size_t room_locked(size_t bytes)
{
    size_t room = min_size(bytes, align_down(most_bytes - min_size(held_bytes, most_bytes), GRANULE));
    return room == bytes || room >= FIRST_REGION_BYTES ? room : 0;
}

bool stock_has_room(size_t bytes)
{
    lock_acquire(&lock);
    bool has = room_locked(bytes) != 0;
    refused_bytes += has ? 0 : bytes;
    lock_release(&lock);
    return has;
}

void stock_note_mapped(size_t bytes)
{
    lock_acquire(&lock);
    size_t again =
        held_bytes < most_bytes / 2 ? min_size(bytes, refused_bytes) : 0; /* else it is but in pieces */
    refused_bytes -= again;
    most_bytes += again;
    lock_release(&lock);
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
            remove_locked(i);
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

/* Up to `most` bytes, whole granules, of what lies there longest, out of the table; none: NULL. */
static entry_t take_coldest_locked(size_t most)
{
    if (used == 0 || most == 0) {
        return (entry_t){NULL, 0};
    }
    entry_t entry = {entries[0].start, min_size(entries[0].bytes, align_up(most, GRANULE))};
    entries[0].start = at(entries[0].start, entry.bytes);
    entries[0].bytes -= entry.bytes;
    held_bytes -= entry.bytes;
    if (entries[0].bytes == 0) {
        remove_locked(0);
    }
    return entry;
}

size_t stock_trim(size_t keep)
{
    size_t gone = 0;
    for (;;) {
        lock_acquire(&lock);
        entry_t entry = take_coldest_locked(held_bytes - min_size(keep, held_bytes));
        lock_release(&lock);
        if (entry.start == NULL) {
            return gone;
        }
        os_unmap(entry.start, entry.bytes);
        gone += entry.bytes;
    }
}

static bool is_due(uint64_t now_ms)
{
    return now_ms >= atomic_load_explicit(&decayed_ms, memory_order_relaxed) + PURGE_DELAY_MS;
}

void stock_decay(uint64_t now_ms)
{
    if (!is_due(now_ms)) {
        return;
    }
    lock_acquire(&lock);
    bool due = is_due(now_ms); /* still: another thread may have been faster */
    size_t keep = held_bytes / 2;
    if (due) {
        atomic_store_explicit(&decayed_ms, now_ms, memory_order_relaxed);
        refused_bytes = 0;
        most_bytes = STOCK_MAX_BYTES + (most_bytes - STOCK_MAX_BYTES) / 2;
    }
    lock_release(&lock);
    if (due) {
        stock_trim(keep < FIRST_REGION_BYTES ? 0 : keep);
    }
}

size_t stock_put(void *start, size_t bytes)
{
    stock_decay(os_now_ms()); /* where nothing else tells that time goes by */
    lock_acquire(&lock);
    size_t kept = room_locked(bytes);
    refused_bytes += bytes - kept;
    if (kept != 0 && !add_locked((entry_t){at(start, bytes - kept), kept})) {
        kept = 0;
    }
    lock_release(&lock);
    return kept;
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
