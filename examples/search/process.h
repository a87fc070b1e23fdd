/*
 * process.h: this process as the kernel sees it: its clock and its memory.
 * It knows nothing of indexes.
 */
#ifndef PROCESS_H
#define PROCESS_H

#define MEGA 1e6 /* bytes in an MB, in all that is printed */

/* In seconds, from some point in the past. */
double process_now(void);

/* A line of /proc/self/status in bytes; 0 where there is none. */
double process_status_bytes(const char *name);

/* Whatever is free goes back to the kernel, in either mode. */
void process_trim(void);

#endif
