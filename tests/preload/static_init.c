/*
 * static_init.c: allocation before main, in order: the preinit array, constructors, main; and after it:
 * atexit handlers, destructors. A block made in one is freed or grown in another.
 */
#define _GNU_SOURCE
#include "preload_support.h"

static char *from_preinit, *from_constructor, *from_main, *from_exit;

static void before_constructors(int argc, char **argv, char **envp)
{
    (void)argc;
    (void)argv;
    (void)envp;
    must((from_preinit = malloc(100)) != NULL);
    fill(from_preinit, 100, 1);
}

__attribute__((section(".preinit_array"), used)) static void (*preinit[])(int, char **,
                                                                          char **) = {before_constructors};

__attribute__((constructor(101))) static void early(void)
{
    must(holds(from_preinit, 100, 1));
    must((from_preinit = realloc(from_preinit, 5000)) != NULL);
    must(holds(from_preinit, 96, 1));
    fill(from_preinit, 5000, 2);
}

__attribute__((constructor)) static void usual(void)
{
    must((from_constructor = calloc(7, 1000)) != NULL);
    must(all_zero(from_constructor, 7000));
    fill(from_constructor, 7000, 3);
    churn(17, 0.02, NULL);
}

static void at_exit(void)
{
    must(holds(from_main, 300000, 4));
    must((from_exit = strdup("allocated in an atexit handler")) != NULL);
    free(from_main);
}

__attribute__((destructor)) static void last(void)
{
    must(holds(from_constructor, 7000, 3));
    must(strcmp(from_exit, "allocated in an atexit handler") == 0);
    free(from_constructor);
    free(from_exit);
    churn(18, 0.02, NULL);
    puts("allocated and freed from the first to the last");
}

int main(void)
{
    must(atexit(at_exit) == 0);
    must(holds(from_preinit, 5000, 2));
    free(from_preinit);
    must((from_main = malloc(300000)) != NULL);
    fill(from_main, 300000, 4);
    return 0;
}
