/*
 * observe.c: the lab's first exercise. Virtual and resident size of a process that maps memory, reads it, and writes to
 * it, and what the kernel says about the mapping itself.
 *
 * All of it is done twice, the first time silently. A program's code, stack and buffers become resident when they are
 * first used, like any memory: the second time they are, and what is left to see is the mapping.
 *
 * usage: observe [--pause] [PAGES]     --pause waits for Enter at each step, so that ps and pmap can be tried
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    long virtual_kib, resident_kib; /* of the process */
    long mapping_kib;               /* resident, of the mapping alone */
} sizes_t;

static bool pausing;

/* The Rss lines of /proc/self/smaps: the kernel walks the page tables for them, so that they are exact. */
static sizes_t measure(const void *mapping)
{
    static char buffer[1 << 16]; /* the file is read without allocating anything */
    sizes_t sizes = {0, 0, 0};
    bool ours = false;
    FILE *file = fopen("/proc/self/smaps", "r");
    if (file == NULL)
        return sizes;
    setvbuf(file, buffer, _IOFBF, sizeof buffer);
    char line[512];
    while (fgets(line, sizeof line, file) != NULL) {
        uintptr_t start, end;
        long kib;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2) {
            ours = (uintptr_t)mapping >= start && (uintptr_t)mapping < end;
        } else if (sscanf(line, "Size: %ld", &kib) == 1) {
            sizes.virtual_kib += kib;
        } else if (sscanf(line, "Rss: %ld", &kib) == 1) {
            sizes.resident_kib += kib;
            sizes.mapping_kib += ours ? kib : 0;
        }
    }
    fclose(file);
    return sizes;
}

enum { BEFORE, MAPPED, READ, WRITTEN, UNMAPPED, STEPS };
static const char *const step_names[STEPS] = {"before", "after mmap", "after a read", "after a write",
                                              "after munmap"};

static void wait_for_enter(void)
{
    printf("    try  ps -o pid,vsz,rss -p %d  and  less /proc/%d/maps;  then press Enter ", (int)getpid(),
           (int)getpid());
    fflush(stdout);
    for (int c = getchar(); c != '\n' && c != EOF; c = getchar()) {
    }
}

/* A step was done: measures, and tells what it changed. */
static void show(FILE *out, sizes_t *sizes, int step, const void *mapping)
{
    sizes[step] = measure(mapping);
    sizes_t now = sizes[step], last = sizes[step == BEFORE ? BEFORE : step - 1];
    fprintf(out, "%-14s virtual %8ld KiB (%+5ld)   resident %7ld KiB (%+5ld)\n", step_names[step],
            now.virtual_kib, now.virtual_kib - last.virtual_kib, now.resident_kib,
            now.resident_kib - last.resident_kib);
    if (pausing && out == stdout)
        wait_for_enter();
}

static bool experiment(FILE *out, sizes_t *sizes, size_t bytes, size_t page)
{
    show(out, sizes, BEFORE, NULL);
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
#ifdef MADV_NOHUGEPAGE
    madvise(memory, bytes, MADV_NOHUGEPAGE); /* else writing to one byte may make 2 MiB resident */
#endif
    show(out, sizes, MAPPED, memory);
    for (size_t i = 0; i < bytes; i += page)
        (void)*(volatile char *)(memory + i);
    show(out, sizes, READ, memory);
    for (size_t i = 0; i < bytes; i += page)
        memory[i] = 1;
    show(out, sizes, WRITTEN, memory);
    munmap(memory, bytes);
    show(out, sizes, UNMAPPED, NULL);
    return true;
}

static const char explanation[] =
    "\n"
    "Mapping made the process larger by whole pages, and resident size stayed: mmap only\n"
    "writes down that these addresses may be used. No memory is behind them.\n"
    "\n"
    "Reading did not change that. The first access to a page faults, and the kernel puts\n"
    "one page of zeros, the same for all, behind what is only read; it does not count as\n"
    "resident.\n"
    "\n"
    "Writing faulted again, and now the kernel took a page frame for each page written,\n"
    "cleared it, and entered it in the page table. Resident size grew by what was written\n"
    "to, in whole pages, and virtual size stayed.\n"
    "\n"
    "Unmapping took both away. So virtual size is what a process may touch, resident size\n"
    "what it did touch.\n";

/* Whether all that is explained was so, to the kilobyte. */
static bool is_as_explained(const sizes_t *sizes, long kib)
{
    for (int step = BEFORE; step < STEPS; step++) {
        long mapped = step >= MAPPED && step < UNMAPPED ? kib : 0, written = step == WRITTEN ? kib : 0;
        if (sizes[step].virtual_kib != sizes[BEFORE].virtual_kib + mapped ||
            sizes[step].resident_kib != sizes[BEFORE].resident_kib + written)
            return false;
    }
    return sizes[WRITTEN].mapping_kib - sizes[READ].mapping_kib == kib;
}

static long pages_wanted(int argc, char **argv)
{
    long pages = 1;
    for (int i = 1; i < argc; i++) {
        char *end = argv[i];
        if (strcmp(argv[i], "--pause") == 0)
            pausing = true;
        else if ((pages = strtol(argv[i], &end, 10)) < 1 || pages > 1 << 20 || *end != '\0')
            return 0;
    }
    return pages;
}

int main(int argc, char **argv)
{
    long page = sysconf(_SC_PAGESIZE), pages = pages_wanted(argc, argv);
    FILE *nowhere = fopen("/dev/null", "w");
    sizes_t sizes[STEPS];

    if (pages == 0 || nowhere == NULL) {
        fprintf(stderr, "usage: observe [--pause] [PAGES]\n");
        return EXIT_FAILURE;
    }
    size_t bytes = (size_t)(pages * page);
    setvbuf(stdin, NULL, _IONBF, 0);
    printf("%ld page%s of %ld bytes, anonymous and private\n\n", pages, pages == 1 ? "" : "s", page);
    fflush(stdout);
    if (!experiment(nowhere, sizes, bytes, (size_t)page) || !experiment(stdout, sizes, bytes, (size_t)page)) {
        perror("observe: mmap");
        return EXIT_FAILURE;
    }
    fputs(explanation, stdout);
    bool as_explained = is_as_explained(sizes, (long)(bytes / 1024));
    if (!as_explained)
        fprintf(stderr, "observe: this kernel behaves otherwise\n");
    return as_explained ? EXIT_SUCCESS : EXIT_FAILURE;
}
