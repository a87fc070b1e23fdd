#!/usr/bin/env bash
# Builds and runs a small consumer of the library, the way that the first argument says:
#
#   install           no consumer: installs the built library for the next three
#   find_package      CMake package, static and shared
#   pkg_config        pkg-config, shared and static
#   cxx               a C++ program
#   add_subdirectory  the sources as part of another project
#   prefix            the same with ARENA_PREFIX: all public symbols have the prefix
#
# usage: run.sh HOW CMAKE SOURCE_DIR BUILD_DIR GENERATOR CC VERSION TCACHE
set -euo pipefail

how=$1 cmake=$2 source=$3 build=$4 generator=$5 cc=$6 version=$7 tcache=$8
here=$(cd "$(dirname "$0")" && pwd)
prefix=$build/subproject/installed
work=$build/subproject/$how

# Runs a command whose output matters only if it fails.
quiet() {
    "$@" >"$work/log" 2>&1 || { echo "failed: $*"; cat "$work/log"; exit 1; }
}

# The consumer prints the version of the library that it runs.
expect_version() {
    local got
    got=$("$@")
    [ "$got" = "$version" ] || { echo "$*: printed '$got', not '$version'"; exit 1; }
}

cmake_consumer() { # SUBDIRECTORY OPTION...
    quiet "$cmake" -S "$here/$1" -B "$work" -G "$generator" -DCMAKE_C_COMPILER="$cc" "${@:2}"
    quiet "$cmake" --build "$work"
}

rm -rf "$work"
mkdir -p "$work"
case $how in
install)
    rm -rf "$prefix"
    quiet "$cmake" --install "$build" --prefix "$prefix"
    ;;
find_package)
    for shared in OFF ON; do
        cmake_consumer find_package -DCMAKE_PREFIX_PATH="$prefix" -DBUILD_SHARED_LIBS=$shared \
            -DCONSUMER_VERSION="$version"
        expect_version "$work/consumer"
        rm -rf "$work/CMakeCache.txt" "$work/consumer"
    done
    ;;
pkg_config)
    pc=$(find "$prefix" -name libarena.pc)
    export PKG_CONFIG_PATH=${pc%/*}
    [ "$(pkg-config --modversion libarena)" = "$version" ] || { echo "wrong version in $pc"; exit 1; }
    read -ra flags <<<"$(pkg-config --cflags --libs libarena)"
    quiet "$cc" "$here/consumer.c" -o "$work/shared" "${flags[@]}"
    LD_LIBRARY_PATH=$(pkg-config --variable=libdir libarena) expect_version "$work/shared"
    # -static would need a static C library too; naming the archive shows that Libs.private is complete.
    read -ra flags <<<"$(pkg-config --cflags --libs --static libarena | sed 's/-larena/-l:libarena.a/')"
    quiet "$cc" "$here/consumer.c" -o "$work/static" "${flags[@]}"
    expect_version "$work/static"
    ;;
cxx)
    pc=$(find "$prefix" -name libarena.pc)
    export PKG_CONFIG_PATH=${pc%/*}
    read -ra flags <<<"$(pkg-config --cflags --libs --static libarena | sed 's/-larena/-l:libarena.a/')"
    for standard in c++11 c++20; do
        quiet "${CXX:-c++}" -std=$standard -pedantic -Wall -Wextra -Werror "$here/consumer.cc" \
            -o "$work/consumer" "${flags[@]}"
        expect_version "$work/consumer"
    done
    ;;
add_subdirectory)
    cmake_consumer add_subdirectory -DARENA_SOURCE_DIR="$source" -DARENA_TCACHE="$tcache"
    expect_version "$work/consumer"
    # As a part of another project it builds what is linked and installs nothing.
    [ ! -e "$work/arena/libarena.so" ] || { echo "the shared library was built as well"; exit 1; }
    [ ! -e "$work/arena/tests" ] || { echo "the tests were configured as well"; exit 1; }
    ;;
prefix)
    cmake_consumer add_subdirectory -DARENA_SOURCE_DIR="$source" -DARENA_TCACHE="$tcache" -DARENA_PREFIX=mine_
    expect_version "$work/consumer"
    if nm --defined-only --extern-only "$work/arena/libarena.a" | grep ' T arena_'; then
        echo "^ public symbols without the prefix"
        exit 1
    fi
    ;;
*)
    echo "unknown: $how" >&2
    exit 2
    ;;
esac
