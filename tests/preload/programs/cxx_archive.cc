/*
 * cxx_archive.cc: cxx_plugin.cc as a program with the archive.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <malloc.h>

extern "C" unsigned keep_promises(std::size_t size);

static std::size_t volatile too_large = std::size_t(PTRDIFF_MAX) + 1;

int main()
{
    void *block = std::malloc(1);
    bool ours = malloc_usable_size(block) == 16; // glibc's are of 24 bytes
    unsigned kept = keep_promises(too_large);
    std::printf("%s malloc, promises kept: %#x\n", ours ? "our" : "another", kept);
    std::free(block);
    return !ours || kept != 0x1ff;
}
