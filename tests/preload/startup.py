#!/usr/bin/env python3
"""What the library costs a program that hardly uses it, beside an empty library that is preloaded too.

usage: startup.py [--time] LIBRARY EMPTY MEASURE

  - strace of `ls`: at most 6 more system calls;
  - `true` at its end: at most 200 KiB more resident (median);
  - `true` from start to end: at most 0.2 ms more (median of paired runs). Printed always, asserted with
    --time, for a machine that has nothing else to do.

Ends with 77, which is "skipped", if nothing could be measured here.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

MOST_CALLS = 6
MOST_KIB = 200
MOST_MICROSECONDS = 200
ROUNDS = 300
RESIDENT_ROUNDS = 41
SKIPPED = 77


def clean_environment():
    return {name: value for name, value in os.environ.items()
            if not name.startswith("ARENA_") and name != "LD_PRELOAD"}


def calls_of_ls(library):
    """The number of system calls, and how many of each; None if tracing is not to be had."""
    with tempfile.TemporaryDirectory() as directory:
        trace = os.path.join(directory, "trace")
        listed = os.path.join(directory, "listed")
        os.mkdir(listed)
        for i in range(20):
            open(os.path.join(listed, f"file-{i}"), "w", encoding="ascii").close()
        run = subprocess.run(["strace", "-o", trace, "-E", f"LD_PRELOAD={library}", "ls", "-l", listed],
                             env=clean_environment(), capture_output=True, text=True, timeout=60)
        if run.returncode != 0:
            print(f"strace ls: {run.stderr.strip()}")
            return None
        calls = {}
        with open(trace, encoding="utf-8", errors="replace") as file:
            for line in file:
                name = re.match(r"\w+(?=\()", line)
                if name:
                    calls[name[0]] = calls.get(name[0], 0) + 1
        return calls


def check_calls(library, empty):
    if shutil.which("strace") is None:
        print("system calls: SKIPPED, no strace here")
        return None
    ours, bare = calls_of_ls(library), calls_of_ls(empty)
    if ours is None or bare is None:
        print("system calls: SKIPPED, tracing is not allowed here")
        return None
    more = {name: ours.get(name, 0) - bare.get(name, 0) for name in sorted(ours | bare)
            if ours.get(name, 0) != bare.get(name, 0)}
    difference = sum(ours.values()) - sum(bare.values())
    detail = " ".join(f"{name}{count:+d}" for name, count in more.items())
    print(f"system calls of ls: {sum(ours.values())}, {sum(bare.values())} with an empty library: "
          f"{difference:+d} ({detail or 'the same'}), at most +{MOST_CALLS}")
    return difference <= MOST_CALLS


def resident_of_true(library, measure):
    run = subprocess.run([measure, "resident", library, "true"], env=clean_environment(), capture_output=True,
                         text=True, timeout=60)
    if run.returncode == SKIPPED:
        return None
    run.check_returncode()
    return int(run.stdout)


def check_resident(library, empty, measure):
    """Many pairs: how much of a file the kernel maps around a fault depends on its random address."""
    ours, bare = [], []
    for _ in range(RESIDENT_ROUNDS):
        ours.append(resident_of_true(library, measure))
        bare.append(resident_of_true(empty, measure))
        if None in (ours[-1], bare[-1]):
            print("resident: SKIPPED, tracing is not allowed here")
            return None
    difference = statistics.median(left - right for left, right in zip(ours, bare))
    print(f"resident at the end of true: {statistics.median(ours)} KiB, {statistics.median(bare)} with an empty library: "
          f"{difference:+} KiB (median of {RESIDENT_ROUNDS} pairs), at most +{MOST_KIB}")
    return difference <= MOST_KIB


def check_time(library, empty, measure, asserted):
    run = subprocess.run([measure, "pairs", str(ROUNDS), library, empty, "true"], env=clean_environment(),
                         capture_output=True, text=True, timeout=300, check=True)
    ours, bare, difference = map(float, run.stdout.split())
    print(f"true from start to end: {ours} us, {bare} with an empty library: {difference:+} us (median of "
          f"{ROUNDS} pairs), at most +{MOST_MICROSECONDS}{'' if asserted else ', not asserted'}")
    return difference <= MOST_MICROSECONDS or not asserted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", action="store_true", help="assert the time too")
    parser.add_argument("library")
    parser.add_argument("empty")
    parser.add_argument("measure")
    arguments = parser.parse_args()
    verdicts = [check_calls(arguments.library, arguments.empty),
                check_resident(arguments.library, arguments.empty, arguments.measure),
                check_time(arguments.library, arguments.empty, arguments.measure, arguments.time)]
    if False in verdicts:
        return 1
    return SKIPPED if verdicts[:2] == [None, None] else 0


if __name__ == "__main__":
    sys.exit(main())
