/*
 * empty.c: a library with nothing in it: what it costs to preload any.
 */
int preload_empty_is_here;
