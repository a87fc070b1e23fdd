#!/usr/bin/env python3
"""
Utilisation on the recorded traces does not fall below what has been reached. Where the traces are not there the
test is skipped.

usage: recorded.py BUILD
"""
import json
import os
import subprocess
import sys
import tempfile

SKIPPED = 77
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TRACES = os.path.join(os.path.dirname(ROOT), "shared", "traces")
# Percent, some points below what is measured: by default the real set varies by that much from run to run.
FLOORS = {"arena": {"classic": 88, "real": 90}, "no_cache": {"classic": 90, "real": 93}}


def main():
    if not all(os.path.isdir(os.path.join(TRACES, name)) for name in ("classic", "real")):
        print("skipped: no recorded traces in ../shared/traces")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "figures.json")
        driver = os.path.join(ROOT, "tools", "arena-replay")
        done = subprocess.run([sys.executable, driver, "--build", sys.argv[1], "--no-time", "--only",
                               ",".join(FLOORS), "--json", path], capture_output=True, text=True)
        print(done.stdout + done.stderr)
        if done.returncode != 0:
            return 1
        with open(path, encoding="utf-8") as file:
            sums = json.load(file)["sums"]
    below = 0
    for name, floors in FLOORS.items():
        for group, floor in floors.items():
            payload, memory = sums[group][name]
            print("%s, %s: %.1f %%, at least %d" % (name, group, 100 * payload / memory, floor))
            below += 100 * payload < floor * memory
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
