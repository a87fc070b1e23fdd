/*
 * run.h: the life of an index in one mode, the one that settings.use_malloc says.
 * Once in a process: the kernel's figures are of the whole of it.
 */
#ifndef RUN_H
#define RUN_H

#include <stdbool.h>

/* Builds, asks, drops and reports; false after a message. */
bool run_once(char **paths, int count);

#endif
