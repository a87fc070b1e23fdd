#!/usr/bin/env python3
"""A thousand threads that each allocate, free and end leave at most 1 MiB more resident than under glibc.

usage: thousand_threads.py PROGRAM LIBRARY
"""
import os
import statistics
import subprocess
import sys

MOST_KIB = 1024
ROUNDS = 3


def resident_kib(program, library):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARENA_")}
    environment["LD_PRELOAD"] = library
    run = subprocess.run([program], env=environment, stdout=subprocess.PIPE, check=True, text=True, timeout=60)
    return int(run.stdout)


def main():
    program, library = sys.argv[1:]
    glibc = statistics.median(resident_kib(program, "") for _ in range(ROUNDS))
    ours = statistics.median(resident_kib(program, library) for _ in range(ROUNDS))
    print(f"resident after 1,000 threads: {ours} KiB, {glibc} KiB under glibc; at most {MOST_KIB} KiB more")
    return ours > glibc + MOST_KIB


if __name__ == "__main__":
    sys.exit(main())
