#!/usr/bin/env python3
"""Tests of the library's environment variables: what each accepts, what is reported and ignored, what it does.

usage: environment.py LIBRARY PROGRAM STATIC_PROGRAM      programs/standalone.c, without and with the archive
"""
import json
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

LIBRARY, PROGRAM, STATIC_PROGRAM = sys.argv[1:4]

FLAGS = ["CHECK", "CHECKED", "NO_CACHE", "NO_SLABS", "HUGE_PAGES", "MEMBARRIER", "DEEPBIND", "SCRIBBLE"]
SIZES = ["LIMIT", "TRIM_THRESHOLD"]
COUNTS = ["ARENAS", "PURGE_DELAY"]

ACCEPTED = (
    [(flag, value) for flag in FLAGS for value in ("0", "1")]
    + [(size, value) for size in SIZES for value in ("123456789", "500000K", "300M", "1G", "1g", "1T")]
    + [("ARENAS", value) for value in ("1", "2", "64", "1000")]
    + [("PURGE_DELAY", value) for value in ("0", "1", "10000")]
    + [("FIT", name + tail) for name in ("good", "first", "best", "worst", "next") for tail in ("", "_fit")])

MALFORMED = (
    [(flag, value) for flag in FLAGS for value in ("", "2", "10", "yes", "-1", " 1", "1 ")]
    + [(size, value) for size in SIZES for value in ("", "x", "-1", " 1", "1X", "1KK", "K", "0x10", "1.5G",
                                                     "18446744073709551616", "99999999999999999999", "16777216T")]
    + [(count, value) for count in COUNTS for value in ("", "-1", "1K", "two", "4294967296", "1 ")]
    + [("FIT", value) for value in ("", "middling", "good|first", "best_fits", "BEST ", "goo")]
    + [("STATS", value) for value in ("", "xml", "jso", "2")]
    + [("LEAKS", value) for value in ("", "2", "yes")]
    + [("STATS_FILE", ""), ("LOG", ""), ("PRINT", "")])

SETTINGS = [
    {}, {"FIT": "first"}, {"FIT": "best"}, {"FIT": "worst"}, {"FIT": "next"}, {"NO_CACHE": "1"}, {"NO_SLABS": "1"},
    {"CHECKED": "1"}, {"CHECKED": "1", "NO_SLABS": "1"}, {"HUGE_PAGES": "1"}, {"ARENAS": "1"}, {"ARENAS": "16"},
    {"PURGE_DELAY": "0"}, {"TRIM_THRESHOLD": "64K"}, {"MEMBARRIER": "0"}, {"LIMIT": "256M"},
    {"NO_SLABS": "1", "FIT": "best", "ARENAS": "2"}, {"NO_CACHE": "1", "FIT": "worst"},
    {"SCRIBBLE": "1"}, {"LOG": "/dev/null"}, {"LOG": "/dev/null", "SCRIBBLE": "1", "NO_SLABS": "1"},
]

USE_MALLOC = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
"""


def run(*command, library=LIBRARY, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARENA_")}
    environment |= {"LD_PRELOAD": library} | {f"ARENA_{name}": value for name, value in variables.items()}
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


class Environment(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def test_what_is_accepted_is_not_spoken_of(self):
        for name, value in ACCEPTED:
            with self.subTest(f"{name}={value}"):
                result = run("echo", "hello", **{name: value})
                self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "hello\n", ""))

    def test_what_is_malformed_is_reported_once_and_ignored(self):
        for name, value in MALFORMED:
            with self.subTest(f"{name}={value}"):
                result = run("echo", "hello", **{name: value})
                self.assertEqual((result.returncode, result.stdout), (0, "hello\n"))
                self.assertEqual(result.stderr, f"libarena: ARENA_{name}: malformed value, ignored\n")

    def test_what_is_unknown_is_reported_once_and_ignored(self):
        for name in ("FITT", "fit", ""):
            result = run("echo", "hello", **{name: "1"})
            self.assertEqual((result.returncode, result.stdout), (0, "hello\n"))
            self.assertEqual(result.stderr.count("unknown variable, ignored\n"), 1)
            self.assertEqual(result.stderr.count("\n"), 1)

    def test_what_is_unknown_and_long_is_reported_too(self):
        self.assertEqual(run("echo", "hello", **{"X" * 300: "1"}).stderr.count("unknown variable, ignored\n"), 1)

    def test_each_fault_has_its_line(self):
        result = run("echo", "hello", FIT="x", LIMIT="x", CHECK="x", NO_SLABS="1")
        self.assertEqual(sorted(line.split(": ")[1] for line in result.stderr.splitlines()),
                         ["ARENA_CHECK", "ARENA_FIT", "ARENA_LIMIT"])

    def test_results_are_the_same_in_every_setting(self):
        expected = run(PROGRAM, library="").stdout.splitlines()[1]
        for setting in SETTINGS:
            with self.subTest(str(setting)):
                result = run(PROGRAM, **({"CHECK": "1"} | setting))
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                self.assertEqual(result.stdout.splitlines(), ["libarena", expected])

    def test_a_limit_holds(self):
        script = "import sys; x = bytearray(int(sys.argv[1]) << 20); print(len(x))"
        self.assertEqual(run(sys.executable, "-c", script, "300", LIMIT="1G").stdout, f"{300 << 20}\n")
        result = run(sys.executable, "-c", script, "300", LIMIT="200M")
        self.assertEqual(result.returncode, 1)
        self.assertIn("MemoryError", result.stderr)

    def test_stats_as_text(self):
        result = run(PROGRAM, STATS="text")
        self.assertEqual(result.returncode, 0)
        lines = result.stderr.splitlines()
        self.assertRegex(lines[0], r"^libarena: process \d+$")
        figures = dict(line.split() for line in lines[1:])
        self.assertGreater(int(figures["allocations"]), 400_000)
        self.assertGreaterEqual(int(figures["allocations"]), int(figures["frees"]))

    def test_stats_as_json_in_a_file_for_each_process(self):
        file = self.directory / "stats"
        result = run("sh", "-c", f"{PROGRAM}; {PROGRAM}; true", STATS="json", STATS_FILE=str(file))
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        reports = [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]
        self.assertGreaterEqual(len(reports), 2)
        self.assertEqual(len({report["pid"] for report in reports}), len(reports))
        for report in reports:
            self.assertEqual(report["mapped_bytes"], report["live_bytes"] + report["cached_bytes"]
                             + report["free_bytes"] + report["metadata_bytes"])

    def test_a_stats_file_that_cannot_be_written_is_reported(self):
        result = run("ls", "/", STATS="text", STATS_FILE="/no/such/directory/file")
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stderr, "libarena: ARENA_STATS_FILE: cannot be opened\n")

    def test_stats_of_a_program_that_closes_stderr(self):
        result = run("ls", "/", STATS="text") # the tools of coreutils close theirs before they end
        self.assertIn("live_bytes", result.stderr)

    def test_checked_finds_every_double_free(self):
        late = USE_MALLOC + """
blocks = [libc.malloc(100) for i in range(200)]
for block in blocks + blocks[:1]: libc.free(block)
"""
        result = run(sys.executable, "-c", late, CHECKED="1")
        self.assertEqual(result.returncode, -signal.SIGABRT)
        self.assertRegex(result.stderr, r"^libarena: [^\n]*\n")

    def test_a_foreign_pointer_ends_the_program(self):
        foreign = USE_MALLOC + "libc.free(ctypes.addressof(ctypes.c_long.in_dll(libc, 'environ')))"
        result = run(sys.executable, "-c", foreign)
        self.assertEqual(result.returncode, -signal.SIGABRT)
        self.assertRegex(result.stderr, r"^libarena: not a block of this library[^\n]*\n$")

    def test_the_archive_reads_the_same_variables(self):
        result = run(STATIC_PROGRAM, library="", STATS="text", FIT="x")
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stdout.splitlines()[0], "libarena")
        self.assertIn("libarena: ARENA_FIT: malformed value, ignored\n", result.stderr)

    def test_the_archive_reports_at_exit_too(self):
        self.assertIn("live_bytes", run(STATIC_PROGRAM, library="", STATS="text").stderr)

    def test_a_program_that_gains_privileges_sees_none(self):
        if os.geteuid() != 0:
            self.skipTest("only root can make a program of another user")
        program = self.directory / "program"
        shutil.copy(STATIC_PROGRAM, program)
        os.chmod(self.directory, 0o755)
        os.chown(program, pwd.getpwnam("nobody").pw_uid, -1)
        os.chmod(program, 0o4755)
        if os.statvfs(program).f_flag & os.ST_NOSUID:
            self.skipTest("no program gains privileges in this file system")
        result = run(str(program), library="", STATS="text", FIT="x", LEAKS="1", STATS_FILE=str(self.directory / "file"),
                     LOG=str(self.directory / "log"))
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertFalse((self.directory / "file").exists() or (self.directory / "log").exists())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
