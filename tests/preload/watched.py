#!/usr/bin/env python3
"""Tests of ARENA_LOG, ARENA_PRINT, ARENA_SCRIBBLE, ARENA_LEAKS and ARENA_FIT in programs that know nothing of the library.

usage: watched.py LIBRARY PROGRAM STATIC_PROGRAM      programs/watched.c, without and with the archive
"""
import collections
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LIBRARY, PROGRAM, STATIC_PROGRAM = sys.argv[1:4]

THREADS, BLOCKS, OWN = 8, 500, 300  # as in the program

LINE = re.compile(r"(\d+)\.(\d{9}) +(\d+) +(\d+) +(alloc|calloc|aligned|realloc|free|name|grow|trim|purge|reset|destroy)"
                  r" +(0x[0-9a-f]+|-) +(\d+|-) +(\d+|-) +(0x[0-9a-f]+|-) +(.+)")
GIVING = ("alloc", "calloc", "aligned", "realloc")

Entry = collections.namedtuple("Entry", "time process thread operation address size usable origin name")


def run(*command, library=LIBRARY, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARENA_")}
    environment |= {"LD_PRELOAD": library} | {f"ARENA_{name}": str(value) for name, value in variables.items()}
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def number(text):
    return None if text == "-" else int(text, 0)


class Log(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.log = self.directory / "log"

    def read(self):
        """Every line must be whole; by time, which is there once in a process."""
        entries = []
        for line in self.log.read_text(encoding="ascii").splitlines(keepends=True):
            self.assertTrue(line.endswith("\n"), line)
            if line.startswith("#"):
                self.assertNotIn("lost", line)
                continue
            fields = LINE.fullmatch(line[:-1])
            self.assertTrue(fields, line)
            seconds, nanoseconds, process, thread, operation, *numbers, name = fields.groups()
            entries.append(Entry(int(seconds) * 10**9 + int(nanoseconds), int(process), int(thread), operation,
                                 *map(number, numbers), name))
        entries.sort()
        self.assertEqual(len({(entry.process, entry.time) for entry in entries}), len(entries))
        return entries

    def replay(self, entries, inherited=()):
        """No block is given out twice, and none comes back that was not; returns what is live, by address."""
        live = dict(inherited)
        for entry in entries:
            if entry.operation in GIVING:
                if entry.operation == "realloc":
                    self.assertIn(entry.origin, live)
                    del live[entry.origin]
                self.assertNotIn(entry.address, live)
                self.assertGreaterEqual(entry.usable, entry.size)
                live[entry.address] = entry
            elif entry.operation == "free":
                self.assertEqual(entry.usable, live.pop(entry.address).usable)
        return live

    def expect_churn(self, entries, size, count):
        """What churn() did: every second block was freed."""
        given = [entry for entry in entries if entry.size == size and entry.operation == "alloc"]
        self.assertEqual(len(given), count)
        freed = 0
        for entry in given:
            later = (other for other in entries if other.time > entry.time and other.address == entry.address)
            freed += next((other.operation == "free" for other in later), False)
        self.assertEqual(freed, count // 2)

    def test_each_call_has_its_line(self):
        before = time.time_ns()
        for program, library in ((PROGRAM, LIBRARY), (STATIC_PROGRAM, "")):
            self.log.unlink(missing_ok=True)
            result = run(program, "operations", library=library, LOG=self.log)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            entries = self.read()
            self.replay(entries)
            left = iter(entries)
            for line in result.stdout.splitlines():
                operation, size, address, origin = line.split()
                size = number(size)
                found = next((entry for entry in left if entry.operation == operation
                              and entry.address == int(address, 16)), None)
                self.assertTrue(found, line)
                self.assertEqual(found.size, size, line)
                self.assertEqual(found.origin or 0, int(origin, 16), line)
                self.assertEqual(found.thread, found.process)
                self.assertTrue(before <= found.time <= time.time_ns())
                self.assertEqual(found.name, "-")

    def test_every_thread_has_its_lines(self):
        self.assertEqual(run(PROGRAM, "threads", LOG=self.log).returncode, 0)
        entries = self.read()
        self.replay(entries)
        for i in range(THREADS):
            self.expect_churn(entries, 10007 + i, BLOCKS)
            self.assertEqual(len({entry.thread for entry in entries if entry.size == 10007 + i}), 1)
        self.assertEqual(len({entry.thread for entry in entries}), THREADS + 1)

    def test_nothing_is_lost_or_doubled_at_fork(self):
        result = run(PROGRAM, "forks", LOG=self.log)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        entries = self.read()
        children = [int(line.split()[1]) for line in result.stdout.splitlines()]
        parents = [entry for entry in entries if entry.process not in children]
        self.assertEqual(len({entry.process for entry in parents}), 1)
        self.replay(parents)
        self.expect_churn(parents, 20011, OWN)
        for i, child in enumerate(children):
            (fork,) = [entry for entry in parents if entry.size == 30011 + i]
            own = [entry for entry in entries if entry.process == child]
            inherited = self.replay([entry for entry in parents if entry.time <= fork.time])
            self.replay(own, inherited)
            self.expect_churn(own, 20021 + i, OWN)

    def test_nothing_is_lost_at_exit(self):
        for program, library in ((PROGRAM, LIBRARY), (STATIC_PROGRAM, "")):
            self.log.unlink(missing_ok=True)
            result = run(program, "exits", library=library, LOG=self.log)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            entries = self.read()
            self.replay(entries)
            for size in (40031, 40013, 40009):  # in the program, by atexit, in a destructor
                self.expect_churn(entries, size, OWN)

    def test_nothing_is_lost_when_misuse_ends_the_program(self):
        result = run(PROGRAM, "misuse", LOG=self.log)
        self.assertEqual(result.returncode, -signal.SIGABRT)
        self.assertRegex(result.stderr, r"^libarena: not a block of this library[^\n]*\n$")
        entries = self.read()
        self.replay(entries)
        self.expect_churn(entries, 50021, OWN)

    def test_a_pipeline_of_programs_shares_a_file(self):
        result = run("sh", "-c", "seq 20000 | sort -r | tail -n 1", LOG=self.log)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "1\n", ""))
        entries = self.read()
        self.assertGreaterEqual(len({entry.process for entry in entries}), 3)  # a shell ends by _exit

    def test_a_log_that_cannot_be_opened_is_reported(self):
        result = run(PROGRAM, "operations", LOG="/no/such/directory/log")
        self.assertEqual((result.returncode, result.stderr), (0, "libarena: ARENA_LOG: cannot be opened\n"))

    def test_a_program_may_use_the_lowest_descriptors(self):
        file = self.directory / "file"
        result = run("sh", "-c", f"exec 3>{file}; echo text >&3; exec 3>&-; {PROGRAM} operations", LOG=self.log)
        self.assertEqual((result.returncode, result.stderr, file.read_text()), (0, "", "text\n"))
        result = run("sh", "-c", f"{PROGRAM} misuse 2>&-; true", LOG=self.log)
        self.assertEqual(result.returncode, 0)
        self.replay(self.read())  # what the program wrote to stderr is not there

    def test_a_disk_that_is_full_is_reported_once(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        result = run(PROGRAM, "threads", LOG="/dev/full")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stderr, r"^libarena: the log cannot be written, error 28, lines are lost[^\n]*\n$")


class Scribble(unittest.TestCase):
    def test_memory_is_scribbled_on_and_calloc_clears(self):
        for more in ({}, {"NO_SLABS": 1}, {"FIT": "best"}, {"CHECK": 1}, {"LOG": "/dev/null"}):
            with self.subTest(str(more)):
                result = run(PROGRAM, "scribble", SCRIBBLE=1, **more)
                self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "scribbled\n", ""))
        self.assertEqual(run(STATIC_PROGRAM, "scribble", library="", SCRIBBLE=1).stdout, "scribbled\n")

    def test_without_it_nothing_is(self):
        self.assertRegex(run(PROGRAM, "scribble", SCRIBBLE=0).stdout, "broken: .*FRESH")


class Leaks(unittest.TestCase):
    def expect(self, result):
        """A line for each block, by which the totals are what they should be."""
        lost = {}
        *lines, total = result.stderr.splitlines()
        for line in lines:
            fields = re.fullmatch(r'libarena: lost: block (0x[0-9a-f]+), (\d+) bytes, name "", arena "malloc"', line)
            self.assertTrue(fields, line)
            lost[int(fields[1], 16)] = int(fields[2])
        self.assertEqual(len(lost), len(lines))
        blocks = "1 block" if len(lost) == 1 else f"{len(lost)} blocks"
        self.assertEqual(total, f'libarena: lost: {blocks}, {sum(lost.values())} bytes in all, arena "malloc"')
        leaked = {int(address, 16): int(size) for address, size in map(str.split, result.stdout.splitlines())}
        self.assertTrue(leaked)
        self.assertEqual(lost, leaked)

    def test_blocks_that_are_live_at_exit_are_listed(self):
        for more in ({}, {"NO_CACHE": 1}, {"NO_SLABS": 1}, {"CHECK": 1}, {"SCRIBBLE": 1}, {"LOG": "/dev/null"}):
            with self.subTest(str(more)):
                result = run(PROGRAM, "leaks", LEAKS=1, **more)
                self.assertEqual(result.returncode, 0)
                self.expect(result)

    def test_the_archive_lists_them_too(self):
        self.expect(run(STATIC_PROGRAM, "leaks", library="", LEAKS=1))

    def test_a_program_that_closes_stderr_has_its_list(self):
        self.expect(run(PROGRAM, "closed_stderr", LEAKS=1))

    def test_without_it_nothing_is_said(self):
        self.assertEqual(run(PROGRAM, "leaks", LEAKS=0).stderr, "")


class Print(unittest.TestCase):
    BLOCK = re.compile(r" +(0x[0-9a-f]+) +(0x[0-9a-f]+) +(\d+)  (USED|CACHED|FREE) +(.+)")

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.file = self.directory / "heap"

    def expect(self, result):
        """Blocks ascend and do not overlap; those that the program kept are there, with their size, as used."""
        text = self.file.read_text(encoding="ascii")
        self.assertRegex(text, r'^libarena: process \d+\narena "malloc"\n\nregions ')
        blocks = [fields.groups() for fields in map(self.BLOCK.fullmatch, text.splitlines()) if fields]
        ends = [int(end, 16) for block in blocks for end in block[:2]]
        self.assertEqual(ends, sorted(ends))
        used = {int(first, 16): int(size) for first, _, size, state, _ in blocks if state == "USED"}
        for first, last, size, _, name in blocks:
            self.assertEqual(int(last, 16) - int(first, 16) + 1, int(size))
            self.assertEqual(name, "-")
        kept = {int(address, 16): int(size) for address, size in map(str.split, result.stdout.splitlines())}
        self.assertTrue(kept)
        self.assertLessEqual(kept.items(), used.items())
        self.assertIn("free ", text.partition("blocks ")[2])
        self.file.unlink()

    def test_each_block_is_printed_at_exit(self):
        for more in ({}, {"NO_CACHE": 1}, {"NO_SLABS": 1}, {"CHECK": 1}, {"SCRIBBLE": 1}, {"LOG": "/dev/null"}):
            with self.subTest(str(more)):
                result = run(PROGRAM, "leaks", PRINT=self.file, **more)
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                self.expect(result)
        self.expect(run(STATIC_PROGRAM, "leaks", library="", PRINT=self.file))

    def test_programs_share_a_file(self):
        run("sh", "-c", "ls / ; ls /", PRINT=self.file)
        self.assertEqual(self.file.read_text(encoding="ascii").count("libarena: process "), 2)  # a shell ends by _exit

    def test_a_file_that_cannot_be_written_is_reported(self):
        result = run(PROGRAM, "leaks", PRINT="/no/such/directory/heap")
        self.assertEqual((result.returncode, result.stderr), (0, "libarena: ARENA_PRINT: cannot be opened\n"))
        if os.path.exists("/dev/full"):
            result = run(PROGRAM, "leaks", PRINT="/dev/full")
            self.assertEqual((result.returncode, result.stderr), (0, "libarena: ARENA_PRINT: cannot be written\n"))


class Fit(unittest.TestCase):
    # Of holes of 30,000, 9,000, 60,000 and 15,000 bytes, in this order, those that serve 8,000 six times, and then, when
    # the first of the six has been freed, once more.
    EXPECTED = {
        "first_fit": "30000 30000 30000 9000 60000 60000 30000 ",
        "best_fit": "9000 15000 30000 30000 30000 60000 9000 ",
        "worst_fit": "60000 60000 60000 60000 30000 60000 30000 ",
        "next_fit": "30000 30000 30000 9000 60000 60000 60000 ",
    }

    def test_the_policy_decides_which_hole_serves(self):
        for fit, expected in self.EXPECTED.items():
            for library, program in ((LIBRARY, PROGRAM), ("", STATIC_PROGRAM)):
                result = run(program, "fits", library=library, FIT=fit, NO_SLABS=1, NO_CACHE=1, LIMIT="1M")
                self.assertEqual((fit, result.returncode, result.stdout), (fit, 0, expected))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
