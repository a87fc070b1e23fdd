/*
 * server.c: a threaded server that gives every request an arena of its own: everything that belongs to
 * the request is allocated there and nothing is freed, until arena_destroy() takes it all back at once.
 *
 * Each worker serves one connection (a socketpair) whose other end is a built-in client, which sends
 * requests and checks the answers. Ends after --requests in all or --seconds, whichever comes first.
 *
 * introduces: an arena per request, arena_destroy() with live blocks, arena_stats(NULL)
 */
#define _POSIX_C_SOURCE 200809L

#include "arena.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 256, HEADERS = 12, READ_BYTES = 512 };

typedef struct field {
    struct field *next;
    const char *name, *value;
} field_t;

/* Lives in its arena, as all that it points to. */
typedef struct {
    arena_t *arena;
    char *text;
    size_t used, capacity;
    const char *path;
    field_t *fields; /* in reverse order, as they are pushed */
    size_t field_count;
} request_t;

typedef struct {
    int server_end, client_end;
    pthread_t worker, client;
} connection_t;

static long request_limit = 20000;
static double second_limit = 2.0;
static double started;
static atomic_long requests_sent;
static atomic_bool failed;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
    atomic_store(&failed, true);
}

static bool write_all(int descriptor, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t written = send(descriptor, bytes, count, MSG_NOSIGNAL);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        bytes += written;
        count -= (size_t)written;
    }
    return true;
}

/* Reads on to the empty line that ends a request. 1: a request, 0: the client closed, -1: an error. */
static int read_request(int descriptor, request_t *request)
{
    for (;;) {
        if (request->capacity - request->used < READ_BYTES + 1) {
            size_t capacity = request->capacity * 2 + READ_BYTES + 1;
            char *text = arena_realloc(request->arena, request->text, capacity);
            if (text == NULL)
                return -1;
            request->text = text;
            request->capacity = capacity;
        }
        ssize_t got = recv(descriptor, request->text + request->used, READ_BYTES, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return (int)got;
        request->used += (size_t)got;
        request->text[request->used] = '\0';
        if (request->used >= 4 && strcmp(request->text + request->used - 4, "\r\n\r\n") == 0)
            return 1;
    }
}

static char *copy_text(arena_t *arena, const char *from, size_t length)
{
    char *copy = arena_alloc(arena, length + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, from, length);
    copy[length] = '\0';
    return copy;
}

/* Splits "name: value" into a field of two strings in front of the others. */
static bool push_field(request_t *request, const char *line, size_t length)
{
    const char *colon = memchr(line, ':', length);
    if (colon == NULL || colon + 2 > line + length)
        return false;
    size_t name_length = (size_t)(colon - line);
    field_t *field = arena_alloc(request->arena, sizeof *field);
    if (field == NULL)
        return false;
    field->name = copy_text(request->arena, line, name_length);
    field->value = copy_text(request->arena, colon + 2, length - name_length - 2);
    if (field->name == NULL || field->value == NULL)
        return false;
    field->next = request->fields;
    request->fields = field;
    request->field_count++;
    return true;
}

/* "GET path" and then one field a line. What fails half-way needs no clean-up: the arena goes anyway. */
static bool parse_request(request_t *request)
{
    const char *line = request->text;
    for (const char *end; (end = strstr(line, "\r\n")) != NULL && end != line; line = end + 2) {
        size_t length = (size_t)(end - line);
        if (line == request->text) {
            if (length < 4)
                return false;
            request->path = copy_text(request->arena, line + 4, length - 4);
            if (request->path == NULL)
                return false;
        } else if (!push_field(request, line, length)) {
            return false;
        }
    }
    return request->path != NULL;
}

/* The answer: the path, the number of fields, and every field upside down. */
static bool answer_request(int descriptor, const request_t *request)
{
    size_t capacity = request->used + 64;
    char *answer = arena_alloc(request->arena, capacity);
    if (answer == NULL)
        return false;
    int used = snprintf(answer, capacity, "200 %s %zu\r\n", request->path, request->field_count);
    size_t length = (size_t)used;
    for (const field_t *field = request->fields; field != NULL; field = field->next) {
        length += (size_t)snprintf(answer + length, capacity - length, "%s=%s;", field->name, field->value);
    }
    answer[length++] = '\n'; /* in place of the final NUL */
    return write_all(descriptor, answer, length);
}

/* One request from its first byte to its last. 1: served, 0: the client closed, -1: an error. */
static int serve_request(int descriptor)
{
    arena_t *arena = arena_create(NULL);
    if (arena == NULL)
        return -1;
    int result = -1;
    request_t *request = arena_calloc(arena, 1, sizeof *request);
    if (request != NULL) {
        request->arena = arena;
        result = read_request(descriptor, request);
        if (result > 0 && !(parse_request(request) && answer_request(descriptor, request)))
            result = -1;
    }
    int kept = errno;
    arena_destroy(arena); /* the request, its text, every field and the answer */
    errno = kept;
    return result;
}

static void *run_worker(void *argument)
{
    const connection_t *connection = argument;
    int result;
    do {
        result = serve_request(connection->server_end);
    } while (result > 0);
    if (result < 0)
        fail("a request failed");
    shutdown(connection->server_end, SHUT_RDWR); /* so that the client ends as well */
    return NULL;
}

static size_t make_request(char *text, size_t capacity, long number)
{
    size_t used = (size_t)snprintf(text, capacity, "GET /page/%ld\r\n", number);
    for (int i = 0; i < HEADERS; i++) {
        used += (size_t)snprintf(text + used, capacity - used, "Field-%d: %.*s\r\n", i, 1 + i * 5,
                                 "a value that is longer from one field to the next, up to this");
    }
    return used + (size_t)snprintf(text + used, capacity - used, "\r\n");
}

/* Reads one answer and compares what is certain of it. */
static bool check_answer(int descriptor, long number)
{
    char answer[2048], expected[64];
    size_t used = 0;
    while (used == 0 || answer[used - 1] != '\n' || memchr(answer, ';', used) == NULL) {
        ssize_t got = recv(descriptor, answer + used, sizeof answer - used, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        used += (size_t)got;
    }
    int length =
        snprintf(expected, sizeof expected, "200 /page/%ld %d\r\nField-%d=", number, HEADERS, HEADERS - 1);
    return used > (size_t)length && memcmp(answer, expected, (size_t)length) == 0;
}

static void *run_client(void *argument)
{
    const connection_t *connection = argument;
    char text[2048];
    while (!atomic_load(&failed) && now() - started < second_limit) {
        long number = atomic_fetch_add(&requests_sent, 1);
        if (number >= request_limit)
            break;
        size_t length = make_request(text, sizeof text, number);
        if (!write_all(connection->client_end, text, length) ||
            !check_answer(connection->client_end, number)) {
            fail("wrong or missing answer");
            break;
        }
    }
    shutdown(connection->client_end, SHUT_RDWR); /* the worker reads the end of its connection */
    return NULL;
}

static bool open_connection(connection_t *connection)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        return false;
    connection->server_end = ends[0];
    connection->client_end = ends[1];
    errno = pthread_create(&connection->worker, NULL, run_worker, connection);
    if (errno == 0) {
        errno = pthread_create(&connection->client, NULL, run_client, connection);
        if (errno == 0)
            return true;
        shutdown(ends[1], SHUT_RDWR);
        pthread_join(connection->worker, NULL);
    }
    close(ends[0]);
    close(ends[1]);
    return false;
}

static void close_connection(connection_t *connection)
{
    pthread_join(connection->client, NULL);
    pthread_join(connection->worker, NULL);
    close(connection->client_end);
    close(connection->server_end);
}

static void report(long served, double seconds, int threads)
{
    arena_stats_t stats;
    arena_stats(NULL, &stats, sizeof stats);
    printf("%ld requests in %.2f s by %d workers: %.0f requests/s, an arena each\n", served, seconds, threads,
           (double)served / seconds);
    printf("arenas left %zu, mapped %zu bytes, kept for the next arena %zu bytes\n", stats.arenas,
           stats.mapped_bytes, stats.stock_bytes);
}

static int parse_options(int argc, char **argv)
{
    static const struct option names[] = {{"threads", required_argument, NULL, 't'},
                                          {"requests", required_argument, NULL, 'r'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {NULL, 0, NULL, 0}};
    int threads = 2;
    for (int option; (option = getopt_long(argc, argv, "t:r:s:", names, NULL)) != -1;) {
        if (option == 't')
            threads = atoi(optarg);
        else if (option == 'r')
            request_limit = atol(optarg);
        else if (option == 's')
            second_limit = atof(optarg);
        else
            return 0;
    }
    return optind == argc && threads >= 1 && threads <= MAX_THREADS ? threads : 0;
}

int main(int argc, char **argv)
{
    static connection_t connections[MAX_THREADS];
    int threads = parse_options(argc, argv);
    if (threads == 0) {
        fprintf(stderr, "usage: server [--threads 1..%d] [--requests N] [--seconds S]\n", MAX_THREADS);
        return 2;
    }
    started = now();
    int opened = 0;
    while (opened < threads && open_connection(&connections[opened])) {
        opened++;
    }
    if (opened < threads)
        fail("cannot open a connection");
    for (int i = 0; i < opened; i++) {
        close_connection(&connections[i]);
    }
    long sent = atomic_load(&requests_sent);
    report(sent < request_limit ? sent : request_limit, now() - started, threads);
    return atomic_load(&failed) ? EXIT_FAILURE : EXIT_SUCCESS;
}
