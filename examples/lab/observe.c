/*
 * observe.c: the lab's first exercise. Virtual and resident size of a process that maps memory, reads it, and writes to
 * it, and what the kernel says about the mapping itself.
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

static sizes_t show(const char *when, const void *mapping, sizes_t before)
{
    sizes_t now = measure(mapping);
    printf("%-20s virtual %8ld KiB (%+5ld)   resident %7ld KiB (%+5ld)\n", when, now.virtual_kib,
           now.virtual_kib - before.virtual_kib, now.resident_kib, now.resident_kib - before.resident_kib);
    if (pausing) {
        printf("    ps -o pid,vsz,rss -p %d; then Enter ", (int)getpid());
        fflush(stdout);
        while (getchar() != '\n' && !feof(stdin)) {
        }
    }
    return now;
}

static const char explanation[] =
    "\n"
    "Mapping made the process larger by whole pages, and resident size stayed: mmap only writes down that "
    "these\n"
    "addresses may be used. No memory is behind them.\n"
    "\n"
    "Reading did not change that. The first access to a page faults, and the kernel puts one page of zeros, "
    "the\n"
    "same for all, behind what is only read; it does not count as resident.\n"
    "\n"
    "Writing faulted again, and now the kernel took a page frame for each page written, cleared it, and "
    "entered it\n"
    "in the page table. Resident size grew by what was written to, in whole pages, and virtual size stayed.\n"
    "\n"
    "Unmapping took both away. So virtual size is what a process may touch, resident size what it did "
    "touch.\n";

int main(int argc, char **argv)
{
    long page = sysconf(_SC_PAGESIZE), pages = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--pause") == 0)
            pausing = true;
        else
            pages = strtol(argv[i], NULL, 10);
    }
    if (pages < 1 || pages > 1 << 20) {
        fprintf(stderr, "usage: observe [--pause] [PAGES]\n");
        return EXIT_FAILURE;
    }
    size_t bytes = (size_t)(pages * page);
    measure(NULL); /* stdio has its buffers before anything counts */
    printf("%ld page%s of %ld bytes, anonymous and private\n\n", pages, pages == 1 ? "" : "s", page);

    sizes_t first = show("before", NULL, measure(NULL));
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("observe: mmap");
        return EXIT_FAILURE;
    }
#ifdef MADV_NOHUGEPAGE
    madvise(memory, bytes, MADV_NOHUGEPAGE); /* else writing to one byte may make 2 MiB resident */
#endif
    sizes_t mapped = show("after mmap", memory, first);
    for (size_t i = 0; i < bytes; i += (size_t)page)
        (void)*(volatile char *)(memory + i);
    sizes_t was_read = show("after a read", memory, mapped);
    for (size_t i = 0; i < bytes; i += (size_t)page)
        memory[i] = 1;
    sizes_t written = show("after a write", memory, was_read);
    munmap(memory, bytes);
    sizes_t unmapped = show("after munmap", NULL, written);
    fputs(explanation, stdout);

    /* The program's own test: the mapping is resident when it was written to, and not before. */
    long kib = (long)(bytes / 1024);
    bool as_told =
        mapped.virtual_kib - first.virtual_kib == kib && unmapped.virtual_kib == first.virtual_kib &&
        written.mapping_kib - was_read.mapping_kib == kib && mapped.mapping_kib == was_read.mapping_kib;
    if (!as_told)
        fprintf(stderr, "observe: this kernel behaves otherwise\n");
    return as_told ? EXIT_SUCCESS : EXIT_FAILURE;
}
