#!/usr/bin/env python3
"""Tests of arena-run: what it sets, what it refuses, where it finds the library, how it ends.

usage: arena_run.py ARENA_RUN LIBRARY LIBRARY_FROM_BIN MAN_PAGE VERSION
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ARENA_RUN, LIBRARY, LIBRARY_FROM_BIN, MAN_PAGE, VERSION = sys.argv[1:6]
NAME = "libarena_malloc.so"

# Option, argument or None, variable, value; "SAME": with no argument at all.
SETTINGS = [
    ("fit", "best", "ARENA_FIT", "best"),
    ("fit", "first_fit", "ARENA_FIT", "first"),
    ("limit", "123456789", "ARENA_LIMIT", "123456789"),
    ("limit", "300000K", "ARENA_LIMIT", "307200000"),
    ("limit", "2G", "ARENA_LIMIT", str(2 << 30)),
    ("limit", "2g", "ARENA_LIMIT", str(2 << 30)),
    ("limit", "1T", "ARENA_LIMIT", str(1 << 40)),
    ("limit", str((1 << 64) - 1), "ARENA_LIMIT", str((1 << 64) - 1)),
    ("stats", None, "ARENA_STATS", "text"),
    ("stats-file", "/dev/null", "ARENA_STATS_FILE", "/dev/null"),
    ("check", None, "ARENA_CHECK", "1"),
    ("checked", None, "ARENA_CHECKED", "1"),
    ("leaks", None, "ARENA_LEAKS", "1"),
    ("scribble", None, "ARENA_SCRIBBLE", "1"),
    ("log", "/dev/null", "ARENA_LOG", "/dev/null"),
    ("print", "/dev/null", "ARENA_PRINT", "/dev/null"),
    ("no-cache", None, "ARENA_NO_CACHE", "1"),
    ("no-slabs", None, "ARENA_NO_SLABS", "1"),
    ("arenas", "3", "ARENA_ARENAS", "3"),
    ("trim-threshold", "1M", "ARENA_TRIM_THRESHOLD", str(1 << 20)),
    ("purge-delay", "100", "ARENA_PURGE_DELAY", "100"),
    ("huge-pages", None, "ARENA_HUGE_PAGES", "1"),
    ("deepbind", None, "ARENA_DEEPBIND", "1"),
    ("no-membarrier", None, "ARENA_MEMBARRIER", "0"),
]

# Options that the library does not know yet. To be emptied.
NOT_YET = set()

REFUSED = [
    ["--fit=middling"], ["--fit="], ["--fit", "best_fits"], ["--fit=good|first"], ["--fit=g"],
    ["--limit="], ["--limit=-1"], ["--limit= 1"], ["--limit=1KB"], ["--limit=1X"], ["--limit=K"],
    ["--limit=18446744073709551616"], ["--limit=16777216T"], ["--limit=0x10"],
    ["--stats=xml"], ["--stats="], ["--stats-file="], ["--log="], ["--print="],
    ["--arenas=1K"], ["--arenas=-1"], ["--arenas=4294967296"], ["--arenas=two"], ["--purge-delay=1.5"],
    ["--check=1"], ["--nothing-like-this"], ["-x"], ["--limit"],
    ["--library=/nowhere/at/all.so"],
]


def clean():
    return {name: value for name, value in os.environ.items()
            if not name.startswith("ARENA_") and name != "LD_PRELOAD"}


def run(*arguments, program=ARENA_RUN, env=None, **more):
    environment = clean() | (env or {})
    return subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, env=environment, **more)


def variables(result):
    """What `env -0` printed."""
    return dict(pair.split("=", 1) for pair in result.stdout.split("\0") if pair)


class ArenaRun(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def environment_of(self, *arguments, **more):
        """What a program sees; `env` itself runs under LIBRARY, so that a broken one shows too."""
        result = run(f"--library={LIBRARY}", *arguments, "env", "-0", **more)
        self.assertEqual(result.returncode, 0, result.stderr)
        return variables(result)

    def test_each_option_sets_its_variable_and_no_other(self):
        for option, argument, variable, value in SETTINGS:
            given = [f"--{option}"] if argument is None else [f"--{option}={argument}"]
            with self.subTest(given):
                seen = self.environment_of(*given)
                ours = {name: seen[name] for name in seen if name.startswith("ARENA_")}
                expected = {variable: value}
                if option == "stats-file":
                    expected["ARENA_STATS"] = "text"
                self.assertEqual(ours, expected)
                self.assertEqual(seen["LD_PRELOAD"], LIBRARY)

    def test_the_library_knows_every_variable(self):
        result = run(f"--library={LIBRARY}", "ls", "/", env={variable: value for _, _, variable, value in SETTINGS})
        unknown = {line.split(": ")[1] for line in result.stderr.splitlines() if "unknown variable" in line}
        self.assertEqual(result.returncode, 0)
        self.assertNotIn("malformed", result.stderr)
        self.assertLessEqual(unknown, NOT_YET)

    def test_arguments_may_stand_apart(self):
        seen = self.environment_of("--fit", "worst", "--limit", "100M", "--")
        self.assertEqual((seen["ARENA_FIT"], seen["ARENA_LIMIT"]), ("worst", "104857600"))

    def test_stats_takes_an_argument_only_when_joined(self):
        self.assertEqual(self.environment_of("--stats=json")["ARENA_STATS"], "json")
        self.assertEqual(self.environment_of("--stats")["ARENA_STATS"], "text")

    def test_the_last_of_two_wins(self):
        self.assertEqual(self.environment_of("--fit=best", "--fit=next")["ARENA_FIT"], "next")

    def test_variables_set_before_stay(self):
        seen = self.environment_of("--fit=best", env={"ARENA_LIMIT": "77777777", "ARENA_FIT": "first"})
        self.assertEqual((seen["ARENA_LIMIT"], seen["ARENA_FIT"]), ("77777777", "best"))

    def test_stats_file_keeps_the_kind_of_report(self):
        seen = self.environment_of("--stats-file=/dev/null", env={"ARENA_STATS": "json"})
        self.assertEqual(seen["ARENA_STATS"], "json")

    def test_relative_files_become_absolute(self):
        seen = self.environment_of("--log=l", "--stats-file=s", cwd=self.directory)
        here = os.path.realpath(self.directory)
        self.assertEqual((seen["ARENA_LOG"], seen["ARENA_STATS_FILE"]), (f"{here}/l", f"{here}/s"))

    def test_what_is_preloaded_already_stays_behind_ours(self):
        seen = self.environment_of(env={"LD_PRELOAD": "libm.so.6"})
        self.assertEqual(seen["LD_PRELOAD"], f"{LIBRARY}:libm.so.6")
        self.assertEqual(self.environment_of(env={"LD_PRELOAD": ""})["LD_PRELOAD"], LIBRARY)

    def test_values_that_make_no_sense_are_refused(self):
        for arguments in REFUSED:
            with self.subTest(arguments):
                result = run(f"--library={LIBRARY}", *arguments, *([] if arguments == ["--limit"] else ["true"]))
                self.assertEqual(result.returncode, 125)
                self.assertIn("arena-run: ", result.stderr)
                self.assertEqual(result.stdout, "")

    def test_a_library_that_ld_preload_cannot_hold_is_refused(self):
        for name in ("a b.so", "a:b.so"):
            shutil.copy(LIBRARY, self.directory / name)
            result = run(f"--library={self.directory / name}", "true")
            self.assertEqual(result.returncode, 125)
            self.assertIn("colon or a space", result.stderr)

    def test_exit_status_is_the_programs(self):
        for status in (0, 1, 77, 125, 255):
            self.assertEqual(run(f"--library={LIBRARY}", "sh", "-c", f"exit {status}").returncode, status)
        self.assertEqual(run(f"--library={LIBRARY}", "sh", "-c", "kill -9 $$").returncode, -9)

    def test_a_program_that_is_not_there_is_127(self):
        for program in ("no-such-program-at-all", "/no/such/program"):
            result = run(f"--library={LIBRARY}", program)
            self.assertEqual(result.returncode, 127)
            self.assertIn(f"arena-run: cannot run '{program}': ", result.stderr)

    def test_a_program_that_cannot_be_started_is_126(self):
        file = self.directory / "text"
        file.write_text("no program")
        for program in (file, self.directory):
            self.assertEqual(run(f"--library={LIBRARY}", str(program)).returncode, 126)

    def test_no_program_is_125(self):
        for arguments in ([], ["--"], ["--check"]):
            result = run(f"--library={LIBRARY}", *arguments)
            self.assertEqual(result.returncode, 125)
            self.assertIn("no program given", result.stderr)

    def test_options_end_at_the_program(self):
        result = run(f"--library={LIBRARY}", "echo", "--fit", "--help")
        self.assertEqual((result.returncode, result.stdout), (0, "--fit --help\n"))
        result = run(f"--library={LIBRARY}", "--", "echo", "--", "x")
        self.assertEqual(result.stdout, "-- x\n")

    def test_arguments_arrive_as_they_are(self):
        odd = ["", " ", "a\nb", "$HOME", "'\"", "\u00e4"]
        result = run(f"--library={LIBRARY}", sys.executable, "-c", "import sys; print(sys.argv[1:])", *odd)
        self.assertEqual(result.stdout, f"{odd}\n")

    def test_help_names_every_option_and_version_the_version(self):
        result = run("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for option, *_ in SETTINGS:
            self.assertIn(f"--{option}", result.stdout)
        self.assertTrue(all(len(line) <= 100 for line in result.stdout.splitlines()))
        result = run("--version")
        self.assertEqual((result.returncode, result.stdout), (0, f"arena-run {VERSION}\n"))

    def test_lost_output_is_a_failure(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            result = subprocess.run([ARENA_RUN, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(result.returncode, 125)

    def place(self, *files):
        """A copy of arena-run and of the library as LIBRARY_FROM_BIN or the build tree has them."""
        program = self.directory / "prefix/bin/arena-run"
        program.parent.mkdir(parents=True)
        shutil.copy(ARENA_RUN, program)
        for file in files:
            path = pathlib.Path(os.path.normpath(program.parent / file / NAME))
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(LIBRARY, path)
        return str(program)

    def test_the_installed_library_is_found_from_anywhere(self):
        program = self.place(LIBRARY_FROM_BIN, "../preload")
        link = self.directory / "link"
        link.symlink_to(program)
        expected = os.path.realpath(self.directory / "prefix/bin" / LIBRARY_FROM_BIN / NAME)
        for how in (program, str(link)):
            self.assertEqual(variables(run("env", "-0", program=how, cwd="/"))["LD_PRELOAD"], expected)

    def test_the_build_trees_library_is_found(self):
        program = self.place("../preload")
        expected = os.path.realpath(self.directory / "prefix/preload" / NAME)
        self.assertEqual(variables(run("env", "-0", program=program))["LD_PRELOAD"], expected)

    def test_without_a_library_it_says_where_it_looked(self):
        result = run("true", program=self.place())
        self.assertEqual(result.returncode, 125)
        self.assertIn(LIBRARY_FROM_BIN, result.stderr)
        self.assertIn("--library", result.stderr)

    def test_the_man_page_has_every_option_and_no_fault(self):
        text = pathlib.Path(MAN_PAGE).read_text(encoding="utf-8")
        for line in run("--help").stdout.splitlines():
            if line.startswith("  --"):
                option = line.split()[0].split("=")[0].split("[")[0].removeprefix("--")
                self.assertRegex(text, rf"(?m)^\.(It )?.*Fl \\&-{option}\b")
        for _, _, variable, _ in SETTINGS:
            self.assertIn(variable, text)
        checkers = {"mandoc": ["mandoc", "-T", "lint", "-W", "warning", MAN_PAGE],
                    "man": ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", MAN_PAGE]}
        there = [command for name, command in checkers.items() if shutil.which(name)]
        if not there:
            self.skipTest("neither mandoc nor man is here")
        for command in there:
            result = subprocess.run(command, capture_output=True, text=True, timeout=60,
                                    env=clean() | {"MANROFFSEQ": "", "LC_ALL": "C.UTF-8"})
            self.assertEqual((result.returncode, result.stderr), (0, ""), command)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
