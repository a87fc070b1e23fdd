/*
 * compare.h: this program in both modes, each as a process of its own, and their reports side by side.
 * Both have to build the same index and to give the same answers.
 */
#ifndef COMPARE_H
#define COMPARE_H

#include <stdbool.h>

/* With the command line of this process, whose paths begin at optind. False after a message. */
bool compare_modes(int argc, char **argv);

#endif
