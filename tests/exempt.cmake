# The tests that cannot run under a sanitizer, each with the reason. ctest lists them as disabled.
# A test that fails under a sanitizer is not a reason.

set(exempt_address
    system.ulimit # the sanitizer's shadow alone takes terabytes of address space
    # Its allocator's locks stay held in a child whose other threads are gone, and the shadow of their stacks
    # stays poisoned when the memory becomes ours: new threads there hang in calloc or report nonsense.
    fork.fork_then_threads
)

set(exempt_thread
    system.ulimit # as above
    fork.fork_then_threads # no threads may be made after a fork with several; the sanitizer ends the child
)
