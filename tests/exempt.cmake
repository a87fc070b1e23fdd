# The tests that cannot run under a sanitizer, each with the reason. ctest lists them as disabled.
# A test that fails under a sanitizer is not a reason.

set(exempt_address
    examples.lab_observe        # what the sanitizer keeps of a page is resident, too
)

set(exempt_thread
    examples.lab_alloc          # the sanitizer maps memory of its own while virtual size is measured to the byte
    examples.lab_ealloc         # the same
    examples.lab_ealloc_bounded # the same
    examples.lab_observe        # the same, and resident size to the page
    fork.fork_then_threads # no threads may be made after a fork with several; the sanitizer ends the child
)
