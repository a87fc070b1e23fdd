/* log.c: see log.h. Locks of rank log, in this order: the list of logs, a buffer's, the file's. */
#include "log.h"

#include "list.h"
#include "meta.h"
#include "os.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOG_BUFFERS = 64, BUFFER_BYTES = 8192, PREFIX_BYTES = 192, FIRST_FD = 64 };

typedef struct {
    lock_t lock;
    /* guarded by lock */
    char *bytes; /* NULL: not needed yet, or no memory: then each line is written at once */
    size_t used;
    bool open;
} buffer_t;

typedef struct log {
    struct log *next, *previous; /* guarded by logs_lock */
    const arena_t *arena;
    buffer_t buffers[LOG_BUFFERS];
    lock_t file_lock;
    /* guarded by file_lock */
    int fd; /* -1: closed */
    dev_t device;
    ino_t inode;
    uint64_t lost_lines, lost_in_all; /* since the last that was written; ever */
    bool broken_line;                 /* the file ends within a line */
    bool reported;
} log_t;

_Static_assert(sizeof(log_t) <= META_MAX_BYTES, "a log is an object of meta's");

static lock_t logs_lock = LOCK_STATIC(RANK_LOG);
static log_t *logs;          /* changed under the registry lock and logs_lock, read under either */
static _Atomic bool exiting; /* relaxed: whoever misses it was in time */
static _Atomic bool opened;  /* there was a log; with exiting: at_exit sees it, or its lines see exiting */
static _Atomic uint64_t last_now; /* relaxed: only its own order counts */
static _Atomic unsigned last_thread;
static _Thread_local unsigned own_thread; /* from 1; 0: has no number yet */
static _Thread_local uint64_t own_id;     /* the kernel's */

uint64_t log_now(void)
{
    uint64_t now = os_now_ns();
    uint64_t last = atomic_load_explicit(&last_now, memory_order_relaxed);
    uint64_t next;
    do {
        next = now > last ? now : last + 1;
    } while (!atomic_compare_exchange_weak_explicit(&last_now, &last, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return next;
}

/* --- the file: caller holds file_lock --- */

/* Whether the descriptor still is the file that was opened, and not one that got its number. */
static bool file_is_ours(const log_t *log)
{
    struct stat now;
    return fstat(log->fd, &now) == 0 && now.st_dev == log->device && now.st_ino == log->inode;
}

static void report_once(log_t *log, int error)
{
    char room[256];
    text_t text = text_in(room, sizeof room);
    if (log->reported) {
        return;
    }
    log->reported = true;
    text_put(&text, "libarena: the log cannot be written, error ");
    text_put_number(&text, (uint64_t)error, 10, 0);
    text_put(&text, ", lines are lost: arena \"");
    text_put(&text, log->arena->name);
    text_put(&text, "\"\n");
    text_write(STDERR_FILENO, text.text, text.length);
}

static uint64_t count_lines(const char *text, size_t bytes)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < bytes; i++) {
        lines += text[i] == '\n';
    }
    return lines;
}

static bool write_some(log_t *log, const char *bytes, size_t count, size_t *done)
{
    errno = EBADF;
    *done = file_is_ours(log) ? text_write(log->fd, bytes, count) : 0;
    log->broken_line = *done == 0 ? log->broken_line : bytes[*done - 1] != '\n';
    return *done == count;
}

/* Says in the file how many lines are missing before it goes on. */
static bool mend(log_t *log)
{
    char room[64];
    text_t text = text_in(room, sizeof room);
    size_t done;
    if (log->lost_lines == 0) {
        return true;
    }
    text_put(&text, log->broken_line ? "\n# " : "# ");
    text_put_number(&text, log->lost_lines, 10, 0);
    text_put(&text, " lines lost\n");
    if (!write_some(log, text.text, text.length, &done)) {
        return false;
    }
    log->lost_lines = 0;
    return true;
}

static void write_out(log_t *log, const char *bytes, size_t count)
{
    int saved = errno;
    size_t done = 0;
    if (!mend(log) || !write_some(log, bytes, count, &done)) {
        report_once(log, errno);
        uint64_t lines = count_lines(bytes + done, count - done);
        log->lost_lines += lines;
        log->lost_in_all += lines;
    }
    errno = saved;
}

/* --- buffers: caller holds the buffer's lock --- */

static void flush(log_t *log, buffer_t *buffer)
{
    if (buffer->used != 0) {
        lock_acquire(&log->file_lock);
        write_out(log, buffer->bytes, buffer->used);
        lock_release(&log->file_lock);
        buffer->used = 0;
    }
}

/* Past the buffers: in one piece, or, if the name is long, in several with the file to itself. */
static void write_line(log_t *log, const text_t *prefix, const char *name)
{
    char room[1024];
    text_t text = text_in(room, sizeof room);
    text_put_bytes(&text, prefix->text, prefix->length);
    lock_acquire(&log->file_lock);
    for (name += text_put_name(&text, name); *name != 0; name += text_put_name(&text, name)) {
        write_out(log, text.text, text.length);
        text = text_in(room, sizeof room);
    }
    if (text.length == text.room) {
        write_out(log, text.text, text.length);
        text = text_in(room, sizeof room);
    }
    text_put(&text, "\n");
    write_out(log, text.text, text.length);
    lock_release(&log->file_lock);
}

/* Whether prefix, name and newline fit into what is left. If not, nothing is there. */
static bool put_line(buffer_t *buffer, const text_t *prefix, const char *name)
{
    text_t text = {buffer->bytes, buffer->used, BUFFER_BYTES - 1};
    if (buffer->bytes == NULL || text.room - text.length < prefix->length) {
        return false;
    }
    text_put_bytes(&text, prefix->text, prefix->length);
    if (name[text_put_name(&text, name)] != 0 || text.length == text.room) {
        return false;
    }
    text_put(&text, "\n");
    buffer->used = text.length;
    return true;
}

static void add_line(log_t *log, buffer_t *buffer, const text_t *prefix, const char *name)
{
    if (lock_fork_passes) {
        write_line(log, prefix, name);
        return;
    }
    if (buffer->bytes == NULL) {
        buffer->bytes = meta_alloc(BUFFER_BYTES);
    }
    if (!put_line(buffer, prefix, name)) {
        flush(log, buffer);
        if (!put_line(buffer, prefix, name)) {
            write_line(log, prefix, name);
        }
    }
    if (atomic_load_explicit(&exiting, memory_order_relaxed)) {
        flush(log, buffer);
    }
}

static void put_size(text_t *text, size_t size, size_t width)
{
    if (size == LOG_NONE) {
        text_pad(text, text->length, width - 1);
        text_put(text, "-");
    } else {
        text_put_number(text, size, 10, width);
    }
    text_put(text, " ");
}

static void put_address(text_t *text, const void *address)
{
    size_t from = text->length;
    if (address == NULL) {
        text_put(text, "-");
    } else {
        text_put_number(text, (uintptr_t)address, 16, 0);
    }
    text_pad(text, from, 14);
    text_put(text, " ");
}

/* 1795257959.012345678 */
static void put_time(text_t *text, uint64_t time)
{
    text_put_number(text, time / 1000000000, 10, 0);
    text_put_number(text, 1000000000 + time % 1000000000, 10, 0); /* so that zeros stay */
    text->text[text->length - 10] = '.';
    text_put(text, " ");
}

static uint64_t thread_id(void)
{
    own_id = own_id == 0 ? os_thread_id() : own_id;
    return own_id;
}

/* Everything but the name, which may be long. */
static text_t format(char *room, const log_line_t *line)
{
    static const char *const operations[] = {"alloc", "calloc", "aligned", "realloc", "free",   "name",
                                             "grow",  "trim",   "purge",   "reset",   "destroy"};
    text_t text = text_in(room, PREFIX_BYTES);
    put_time(&text, line->time != 0 ? line->time : log_now());
    text_put_number(&text, os_process_id(), 10, 7);
    text_put(&text, " ");
    text_put_number(&text, thread_id(), 10, 7);
    text_put(&text, " ");
    size_t from = text.length;
    text_put(&text, operations[line->operation]);
    text_pad(&text, from, 10);
    put_address(&text, line->address);
    put_size(&text, line->size, 10);
    put_size(&text, line->usable, 10);
    put_address(&text, line->from);
    return text;
}

static log_t *log_of(const arena_t *arena)
{
    return atomic_load_explicit(&arena->log, memory_order_acquire);
}

void log_add(arena_t *arena, const log_line_t *line)
{
    char room[PREFIX_BYTES];
    log_t *log = log_of(arena);
    if (log == NULL) {
        return;
    }
    if (own_thread == 0) {
        own_thread = 1 + atomic_fetch_add_explicit(&last_thread, 1, memory_order_relaxed);
    }
    text_t prefix = format(room, line);
    buffer_t *buffer = &log->buffers[own_thread % LOG_BUFFERS];
    lock_acquire(&buffer->lock);
    if (buffer->open) {
        add_line(log, buffer, &prefix, line->name == NULL ? "-" : line->name);
    }
    lock_release(&buffer->lock);
}

/* --- open and close --- */

static log_t *new_log(arena_t *arena)
{
    log_t *log = meta_calloc(sizeof *log);
    if (log == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < LOG_BUFFERS; i++) {
        lock_init(&log->buffers[i].lock, RANK_LOG, false);
    }
    lock_init(&log->file_lock, RANK_LOG, false);
    log->arena = arena;
    log->fd = -1;
    atomic_store(&opened, true);
    lock_acquire(&logs_lock);
    LIST_PUSH(logs, log, next, previous);
    lock_release(&logs_lock);
    atomic_store_explicit(&arena->log, log, memory_order_release);
    return log;
}

static void write_head(log_t *log)
{
    char room[512];
    text_t text = text_in(room, sizeof room);
    text_put(&text, "# libarena, log of arena \"");
    text_put_name(&text, log->arena->name);
    text_put(&text, "\"\n#               time process  thread operation address              size     usable "
                    "from           name\n");
    write_out(log, text.text, text.length);
}

static void set_open(log_t *log, bool open)
{
    for (size_t i = 0; i < LOG_BUFFERS; i++) {
        buffer_t *buffer = &log->buffers[i];
        lock_acquire(&buffer->lock);
        buffer->open = open;
        flush(log, buffer);
        lock_release(&buffer->lock);
    }
}

/* The lowest numbers are the program's: it counts on which it gets, and closes them unasked; of 0 to 2 one that is free is
 * still written to. Where the limit is below FIRST_FD those three are avoided. */
static int move_up(int fd)
{
    int saved = errno;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
    if (moved < 0 && fd <= STDERR_FILENO) {
        moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    }
    if (moved >= 0) {
        close(fd);
    }
    errno = saved;
    return moved >= 0 ? moved : fd;
}

int log_open_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
    return fd < 0 ? fd : move_up(fd);
}

/* Caller holds file_lock. */
static bool use_file(log_t *log, int fd)
{
    struct stat file;
    if (fstat(fd, &file) != 0) {
        return false;
    }
    log->fd = fd;
    log->device = file.st_dev;
    log->inode = file.st_ino;
    log->lost_lines = log->lost_in_all = 0;
    log->broken_line = log->reported = false;
    write_head(log);
    return true;
}

bool log_open(arena_t *arena, int fd)
{
    log_t *log = log_of(arena) != NULL ? log_of(arena) : new_log(arena);
    if (log == NULL) {
        errno = ENOMEM;
        return false;
    }
    lock_acquire(&log->file_lock);
    bool busy = log->fd >= 0;
    bool done = !busy && use_file(log, fd);
    lock_release(&log->file_lock);
    if (busy) {
        errno = EBUSY;
    }
    if (done) {
        set_open(log, true);
    }
    return done;
}

bool log_close(arena_t *arena)
{
    log_t *log = log_of(arena);
    if (log == NULL) {
        errno = EINVAL;
        return false;
    }
    set_open(log, false);
    lock_acquire(&log->file_lock);
    bool was_open = log->fd >= 0;
    bool lost = log->lost_in_all != 0;
    if (was_open && file_is_ours(log)) {
        lost |= !mend(log);
        close(log->fd);
    }
    log->fd = -1;
    log->lost_in_all = 0;
    lock_release(&log->file_lock);
    if (!was_open || lost) {
        errno = was_open ? EIO : EINVAL;
    }
    return was_open && !lost;
}

void log_destroy(arena_t *arena)
{
    int saved = errno;
    log_t *log = log_of(arena);
    if (log == NULL) {
        return;
    }
    log_close(arena);
    lock_acquire(&logs_lock);
    LIST_UNLINK(logs, log, next, previous);
    lock_release(&logs_lock);
    atomic_store_explicit(&arena->log, NULL, memory_order_relaxed);
    for (size_t i = 0; i < LOG_BUFFERS; i++) {
        meta_free(log->buffers[i].bytes);
    }
    meta_free(log);
    errno = saved;
}

/* --- exit, abort, fork --- */

/* `file`: this thread has seized the file's lock. */
static void flush_at_end(log_t *log, buffer_t *buffer, bool file)
{
    if (lock_seize(&buffer->lock) && file && buffer->used != 0) {
        write_out(log, buffer->bytes, buffer->used);
        buffer->used = 0;
    }
}

void log_flush_at_end(void)
{
    if (!lock_seize(&logs_lock)) {
        return;
    }
    for (log_t *log = logs; log != NULL; log = log->next) {
        bool file = lock_seize(&log->file_lock);
        for (size_t i = 0; i < LOG_BUFFERS; i++) {
            flush_at_end(log, &log->buffers[i], file);
        }
    }
}

void log_flush_all(void)
{
    lock_acquire(&logs_lock);
    for (log_t *log = logs; log != NULL; log = log->next) {
        for (size_t i = 0; i < LOG_BUFFERS; i++) {
            buffer_t *buffer = &log->buffers[i];
            lock_acquire(&buffer->lock);
            flush(log, buffer);
            lock_release(&buffer->lock);
        }
    }
    lock_release(&logs_lock);
}

/* Later destructors may go on allocating: from now on line by line. Who has no log does not pay for a call of the C
 * library's, which may have to be looked up. */
__attribute__((destructor)) static void at_exit(void)
{
    atomic_store(&exiting, true);
    if (atomic_load(&opened)) {
        log_flush_all();
    }
}

void log_fork_child(void)
{
    own_id = 0;
    lock_reinit_in_child(&logs_lock);
    for (log_t *log = logs; log != NULL; log = log->next) {
        for (size_t i = 0; i < LOG_BUFFERS; i++) {
            lock_reinit_in_child(&log->buffers[i].lock);
            log->buffers[i].used = 0;
        }
        lock_reinit_in_child(&log->file_lock);
    }
}
