/*
 * standalone.c: a whole program that the matrix links with -static-pie, once with the archive and once
 * without. Its first line tells whose malloc it has, its second what it computed.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 1000, ROUNDS = 200000, THREADS = 4 };

/* Of the library alone; absent, its address is NULL. */
extern void free_sized(void *block, size_t size) __attribute__((weak));

static void *churn(void *number)
{
    unsigned char *slots[SLOTS] = {0};
    size_t sizes[SLOTS] = {0};
    uint64_t state = (uintptr_t)number + 1, sum = 0;

    for (size_t round = 0; round < ROUNDS; round++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t i = (state >> 33) % SLOTS, size = (state >> 45) % 3000 + 1;
        for (size_t j = 0; j < sizes[i]; j += 97)
            sum = sum * 31 + slots[i][j];
        free(slots[i]);
        slots[i] = round % 3 == 0 ? calloc(1, size) : malloc(size);
        if (slots[i] == NULL)
            abort();
        memset(slots[i], (int)(state & 255), sizes[i] = size);
    }
    for (size_t i = 0; i < SLOTS; i++)
        free(slots[i]);
    return (void *)(uintptr_t)sum;
}

static uint64_t run_threads(void)
{
    pthread_t threads[THREADS];
    uint64_t sum = 0;
    void *result;

    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)i) != 0)
            abort();
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &result);
        sum = sum * 31 + (uintptr_t)result;
    }
    return sum;
}

int main(void)
{
    int status;

    printf("%s\n", free_sized != NULL ? "libarena" : "glibc");
    fflush(stdout);
    uint64_t sum = run_threads();
    pid_t child = fork();
    if (child == 0)
        _exit(run_threads() == sum ? 0 : 1);
    waitpid(child, &status, 0);
    printf("%016llx %d\n", (unsigned long long)sum, status);
    return 0;
}
