# Install rules: header, both libraries, the CMake package `arena` and pkg-config's libarena.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/arena)

install(FILES ${PROJECT_SOURCE_DIR}/include/arena.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS arena_static arena_shared EXPORT arena_targets)
if(TARGET arena_malloc)
    install(TARGETS arena_malloc arena_malloc_static) # to be preloaded, or linked by path
endif()
install(EXPORT arena_targets NAMESPACE arena:: FILE arena-targets.cmake DESTINATION ${package_dir})

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/arena-config.cmake.in
    ${PROJECT_BINARY_DIR}/arena-config.cmake INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may break the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/arena-config-version.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/arena-config.cmake ${PROJECT_BINARY_DIR}/arena-config-version.cmake
    DESTINATION ${package_dir})

# Relative to the file itself, so that a moved prefix still works; absolute if the user asked for that.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(pc_prefix ${CMAKE_INSTALL_PREFIX})
    set(pc_libdir ${CMAKE_INSTALL_FULL_LIBDIR})
    set(pc_includedir ${CMAKE_INSTALL_FULL_INCLUDEDIR})
else()
    file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
    string(REGEX REPLACE "/$" "" up "${up}")
    set(pc_prefix "\${pcfiledir}/${up}")
    set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
    set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
set(pc_definitions "")
if(ARENA_PREFIX)
    set(pc_definitions " -DARENA_PREFIX=${ARENA_PREFIX}")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/libarena.pc.in ${PROJECT_BINARY_DIR}/libarena.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/libarena.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
