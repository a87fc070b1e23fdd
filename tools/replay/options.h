/*
 * options.h: arena_options_t as a line of text, so that a command line can name a configuration:
 *
 *     no_slabs,fit=best,first_region=64k,trim_threshold=never
 */
#ifndef REPLAY_OPTIONS_H
#define REPLAY_OPTIONS_H

#include <arena.h>

/* Flags by their name, fields by `name=value`, by commas; sizes may end in k, m or g. Ends the program if it is none. */
arena_options_t options_parse(const char *text);

/* What options_parse knows, for --help. */
extern const char options_help[];

#endif
