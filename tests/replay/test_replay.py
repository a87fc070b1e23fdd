#!/usr/bin/env python3
"""
The replay itself: its figures of a trace with every operation, that it refuses what is no trace, that it notices
what broken allocators do, and what tools/arena-replay makes of it.

usage: test_replay.py BUILD SANITIZED BROKEN_LIBRARY [unittest's arguments]
"""
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TRACE = os.path.join(HERE, "every_operation.rep")
BUILD, SANITIZED, BROKEN = sys.argv[1], sys.argv[2] == "1", sys.argv[3]
MALLOC, ARENA = (os.path.join(BUILD, "tools", name) for name in ("replay_malloc", "replay_arena"))
CONFIGURATIONS = ["", "no_cache", "no_slabs", "no_cache,no_slabs,fit=best,quantum=8", "fit=first,growth=64k",
                  "single_thread,zero", "checked", "buffer=4m", "source=sbrk", "fit=worst,first_region=1m",
                  "trim_threshold=never,purge_delay=never", "fit=next,limit=16m,no_cache"]


def replay(text, program, *arguments, **environment):
    return subprocess.run([program, *arguments], input=text, capture_output=True, text=True,
                          env={**os.environ, **environment}, timeout=120)


def figures(done):
    return {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def payloads(text):
    """Peak and final payload by the rules of the format, and the blocks that are leaked."""
    live, leaked, lost, peak = {}, 0, 0, 0
    for line in text.split("\n")[4:]:
        words = line.split()
        if not words:
            continue
        numbers = [int(word) for word in words[1:]]
        if words[0] == "f":
            live.pop(numbers[0], None)
        else:
            if words[0] != "r" and numbers[0] in live:
                leaked, lost = leaked + live[numbers[0]], lost + 1
            size = numbers[1] * numbers[2] if words[0] == "c" else numbers[-1]
            live[numbers[0]] = size
        peak = max(peak, leaked + sum(live.values()))
    return peak, leaked + sum(live.values()), lost


class Replay(unittest.TestCase):
    def setUp(self):
        with open(TRACE, encoding="utf-8") as file:
            self.text = file.read()

    def check(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        found = figures(done)
        peak, end, lost = payloads(self.text)
        self.assertEqual((peak, end, lost), (675282, 267, 1))  # and by hand
        self.assertEqual(found["peak_payload"], peak)
        self.assertEqual(found["end_payload"], end)
        self.assertEqual(found["leaked"], lost)
        self.assertEqual(found["operations"], 22)
        if not SANITIZED:  # a sanitizer keeps freed blocks, and notes of all
            self.assertGreaterEqual(found["peak_resident"], peak // 4096 * 4096)
            self.assertLess(found["peak_resident"], peak + (2 << 20))
            self.assertLessEqual(found["peak_anonymous"], found["peak_resident"])
            self.assertGreaterEqual(found["peak_bound"], found["peak_resident"])

    def test_malloc(self):
        self.check(replay(self.text, MALLOC, "memory"))

    def test_arenas(self):
        for options in CONFIGURATIONS:
            with self.subTest(options=options):
                self.check(replay(self.text, ARENA, "memory", "--arena", options))

    def test_stop_says_where_the_memory_is(self):
        done = replay(self.text, ARENA, "memory", "--stop", "15")
        found = figures(done)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(found["stop_payload"], 675282)  # of the first 15 operations
        self.assertEqual(found["stat_mapped"], found["stat_live"] + found["stat_cached"] + found["stat_free"]
                         + found["stat_metadata"])

    def test_time(self):
        for program in (MALLOC, ARENA):
            done = replay(self.text, program, "time", "--seconds", "0.01", "--warm", "1000000")
            found = figures(done)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertGreaterEqual(found["rounds"], 3)
            self.assertLessEqual(found["best_seconds"], found["median_seconds"])

    def test_what_is_no_trace_is_refused(self):
        for old, new, why in [("22", "23", "fewer operations"), ("22", "21", "more operations"),
                              ("\n8\n", "\n7\n", "an id"), ("a 0 100", "b 0 100", "none of the operations"),
                              ("a 0 100", "a 0", "a number was expected"), ("a 0 100", "a 0 1 2", "more than"),
                              ("a 0 100", "a 0 99999999999999999999", "too large"), ("64 200", "63 200", "power"),
                              ("a 0 100", "a 1000 100", "an id"), ("22", "99999999", "announces"),
                              ("c 1 25 40", "c 1 9999999999 9999999999", "overflows"), ("100000", "x", "number")]:
            with self.subTest(new=new):
                self.assertIn(old, self.text)
                done = replay(self.text.replace(old, new, 1), MALLOC, "memory")
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn(why, done.stderr)

    def test_options_that_are_none_are_refused(self):
        for options in ["no_cash", "fit=worse", "limit=", "limit=1x", "quantum", "=", "buffer=k"]:
            with self.subTest(options=options):
                self.assertEqual(replay(self.text, ARENA, "memory", "--arena", options).returncode, 2)
        for arguments in [[], ["memory", "--stop"], ["memory", "--what", "1"], ["both"]]:
            with self.subTest(arguments=arguments):
                self.assertEqual(replay(self.text, MALLOC, *arguments).returncode, 2)

    def test_an_arena_that_is_too_small_fails(self):
        done = replay(self.text, ARENA, "memory", "--arena", "limit=256k")
        self.assertEqual(done.returncode, 1)
        self.assertIn("operation 15 (r, slot 2, 600000 bytes): no memory", done.stderr)

    @unittest.skipIf(SANITIZED, "nothing can be preloaded into a sanitized program")
    def test_what_a_broken_allocator_does_is_noticed(self):
        self.check_broken("", 0, "")
        for defect, why in [("overlap", "the payload is not"), ("misaligned", "not aligned"),
                            ("unzeroed", "not zero"), ("lost", "the payload is not"), ("exhausted", "no memory"),
                            ("unaligned", "not aligned"), ("scribble", "the payload is not")]:
            with self.subTest(defect=defect):
                self.check_broken(defect, 1, why)

    def check_broken(self, defect, status, why):
        done = replay(self.text, MALLOC, "memory", LD_PRELOAD=BROKEN, BROKEN_MALLOC=defect)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(why, done.stderr)


class Driver(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.set = os.path.join(self.folder.name, "made")
        os.mkdir(self.set)
        with open(TRACE, "rb") as file:
            text = file.read()
        with gzip.open(os.path.join(self.set, "large.rep.gz"), "wb") as file:
            file.write(text)
        with open(os.path.join(self.set, "small.rep"), "w", encoding="utf-8") as file:
            file.write("1\n1\n2\n1\na 0 1000\nf 0\n")

    def drive(self, *arguments):
        driver = os.path.join(ROOT, "tools", "arena-replay")
        return subprocess.run([sys.executable, driver, "--build", BUILD, *arguments], capture_output=True, text=True,
                              timeout=120)

    def file(self, name):
        return os.path.join(self.folder.name, name)

    def test_tables_and_files(self):
        done = self.drive(self.set, "--only", "glibc,arena,tiny", "--arena", "tiny=buffer=2m", "--seconds", "0.01",
                          "--where", "--json", self.file("json"), "--csv", self.file("csv"))
        self.assertEqual(done.returncode, 0, done.stderr)
        for word in ("large", "small", "sum", "utilisation", "geometric mean", "where the memory"):
            self.assertIn(word, done.stdout)
        with open(self.file("json"), encoding="utf-8") as file:
            found = json.load(file)
        self.assertEqual(len(found["results"]), 6)
        payload, memory = found["sums"]["made"]["arena"]
        self.assertEqual(payload, 675282)  # the small trace is not in the sum
        one = [row for row in found["results"] if (row["trace"], row["configuration"]) == ("large", "arena")]
        self.assertEqual(memory, one[0]["peak_resident"])
        with open(self.file("csv"), newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), 6)
        self.assertEqual({row["peak_payload"] for row in rows}, {"675282.0", "1000.0"})

    def test_a_failure_is_told_and_is_the_status(self):
        done = self.drive(self.set, "--only", "arena,small", "--arena", "small=limit=256k", "--no-time")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no memory", done.stderr)
        self.assertRegex(done.stdout, r"large .*failed")
        self.assertRegex(done.stdout, r"sum +[0-9.]+ +-")

    def test_what_is_not_there_is_told(self):
        for arguments, why in [(["/nowhere/x.rep", "--only", "arena"], "No such file"), ([self.folder.name, "--only", "arena"], "no trace"),
                               ([self.set, "--only", "nobody"], "no such configuration")]:
            with self.subTest(arguments=arguments):
                done = self.drive(*arguments)
                self.assertEqual(done.returncode, 1)
                self.assertIn(why, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
