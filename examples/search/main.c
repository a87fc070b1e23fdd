/*
 * main.c: an inverted index over real text, built by several threads in arenas, with queries, and a
 * comparison of all this with the same program over the C library's malloc.
 *
 * introduces: an arena per file, several threads in one arena, lists that grow by arena_realloc(),
 *             dropping a data structure whole by arena_destroy(), arena_stats() beside the kernel's figures
 *
 * How it works:
 *  1. The files are listed and sorted by path; a file's place in the list is its document number, so that
 *     the index is the same whatever thread takes whatever file (corpus.c).
 *  2. Threads take file after file. A file has an arena of its own: a window of its contents and a table
 *     of its words, each with the places where it occurs. That arena is dropped when the file is done
 *     (build.c, scratch.c).
 *  3. Before that its words are merged into the shards. A shard is an arena, a mutex and a table of the
 *     terms whose hash selects it. A term has postings (document, how often, where) and one string of
 *     positions, as varints of their differences; both grow by realloc, whichever thread adds to them
 *     (index.c, shard.c).
 *  4. At the end of the build postings are sorted by document and cut to size, and what is free is trimmed.
 *     Then queries are answered over all shards: documents that have all words, or the exact "phrase in
 *     quotes" (query.c).
 *  5. The arenas are dropped, one after the other (run.c).
 *
 * With --malloc the same code allocates by malloc. What dropping an arena does in one call is then freeing
 * block by block. By default the program runs itself in both modes and compares time and memory; both
 * must give the same index and the same answers (compare.c).
 */
#include "compare.h"
#include "run.h"
#include "settings.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (!settings_parse(argc, argv)) {
        fputs(settings_help, stderr);
        return 2;
    }
    text_init();
    bool good = settings.one_mode ? run_once(argv + optind, argc - optind) : compare_modes(argc, argv);
    if (fflush(stdout) != 0) {
        perror("index: standard output");
        good = false;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
