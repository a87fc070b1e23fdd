#!/usr/bin/env python3
"""Runs one misuse program: it must die by SIGABRT and print exactly the one line that its source expects.

usage: run.py SOURCE PROGRAM

The line stands in the source as /* expect: TEXT */. Addresses differ from run to run, so that each
0x<digits> of both is compared as 0x... .
"""
import re
import resource
import signal
import subprocess
import sys


def normalised(text):
    return re.sub(r"0x[0-9a-fA-F]+", "0x...", text)


def main():
    source, program = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        expected = re.findall(r"/\*\s*expect:\s*(.*?)\s*\*/", file.read())
    if len(expected) != 1:
        sys.exit(f"{source}: {len(expected)} expect: comments, must be 1")

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    run = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    errors = run.stderr.decode(errors="replace")

    if run.returncode != -signal.SIGABRT:
        sys.exit(f"ended with {run.returncode}, not by SIGABRT; stderr:\n{errors}")
    if run.stdout:
        sys.exit(f"stdout is not empty: {run.stdout!r}")
    if normalised(errors) != normalised(expected[0]) + "\n":
        sys.exit(f"expected: {normalised(expected[0])}\nstderr:   {normalised(errors)}")


if __name__ == "__main__":
    main()
