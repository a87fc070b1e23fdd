#!/usr/bin/env python3
"""The last point of A2: ls, grep and python run with examples/a2 as their malloc, and say what they say without it.

usage: a2_system.py LIBRARY ROOT
"""
import os
import subprocess
import sys
import unittest

LIBRARY, ROOT = sys.argv[1:3]

OBJECTS = """
import collections, json, re, sys
words = re.findall(r"[a-z]+", open(sys.argv[1]).read())
print(json.dumps(collections.Counter(words).most_common(20)), len([[i] * (i % 50) for i in range(50000)]))
"""
THREADS = """
import threading, zlib
def work(): sums.append(sum(zlib.crc32(bytes([i % 256]) * (i % 3000)) for i in range(3000)))
sums = []
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sums)
"""
# 50 MB at once, which the C library would map: here they come from the break, and it comes down when they go.
BREAK = """
def heap():
    for line in open("/proc/self/maps"):
        if "[heap]" in line:
            start, end = line.split()[0].split("-")
            return int(end, 16) - int(start, 16)
    return 0
first = heap()
block = bytearray(50_000_000)
most = heap()
del block
print(most - first >= 50_000_000, heap() - first < 1_000_000, "a2_malloc" in open("/proc/self/maps").read())
"""


def run(*command, preload=True):
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"} | {"LC_ALL": "C"}
    if preload:
        environment["LD_PRELOAD"] = LIBRARY
    result = subprocess.run(command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            timeout=100)
    return result.returncode, result.stdout, result.stderr


class System(unittest.TestCase):
    def expect_the_same(self, *command):
        plain = run(*command, preload=False)
        self.assertEqual(plain[0], 0)
        self.assertNotEqual(plain[1], "")
        self.assertEqual(run(*command), plain)

    def test_ls(self):
        self.expect_the_same("ls", "-lR", "arena", "examples", "tests")

    def test_grep(self):
        self.expect_the_same("grep", "-rnE", "(free|malloc)[a-z_]*\\(", "examples", "tests/unit")

    def test_python(self):
        self.expect_the_same(sys.executable, "-c", OBJECTS, "docs/manual.md")
        self.expect_the_same(sys.executable, "-c", THREADS)

    def test_a_shell_and_its_children(self):
        self.expect_the_same("sh", "-c", "cat docs/*.md | tr a-z A-Z | sort | uniq -c | sort -rn | head -n 50")

    def test_memory_is_the_break_alone_and_goes_back(self):
        self.assertEqual(run(sys.executable, "-c", BREAK), (0, "True True True\n", ""))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
