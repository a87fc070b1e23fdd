"""What bench/ computes and writes, and what it must notice. Arguments: the source tree, the build tree.

Intervals; limits that are exceeded; a program whose output differs; and the page, for which every tool runs
with little work, and whose parts and pictures must be there.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

source, build = sys.argv[1:]
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(source, "bench"))
import harness
import macro_cases


def run(tool, *arguments):
    """(status, what it printed)"""
    done = subprocess.run([sys.executable, os.path.join(source, "bench", tool), "--build", build, "--peers=", *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def check(truth, what):
    if not truth:
        sys.exit("bench: " + what)


def check_intervals():
    check(harness.interval(list(range(11))) == (5, 1, 9), "11 rounds: the interval is from the 2nd to the 10th")
    check(harness.interval(list(range(6))) == (2.5, 0, 5), "6 rounds: from the first to the last")
    check(harness.interval([3.0]) == (3.0, 3.0, 3.0), "1 round")
    runs = {"row": {"glibc": {0: {"a": 2}, 1: {"a": 4}}, "ours": {0: {"a": 1}, 1: {"a": 1}, 2: {"a": 9}}}}
    check(harness.paired(runs, "row", "ours") == [0.5, 0.25], "pairs are of one round")


def check_limits(folder):
    """A limit that is too low is told, with its figure."""
    if not shutil.which("valgrind"):
        print("skipped: valgrind is missing")
        return
    limits = os.path.join(folder, "limits.txt")
    with open(limits, "w", encoding="utf-8") as file:
        file.write("# bytes arena malloc\n16 5 1000\n")
    status, printed = run("instructions", "--only-ours", "--pairs", "5000", "--limits", limits)
    check(status == 1 and "more than 6" in printed and "malloc: ours takes" not in printed, "a limit: " + printed)


def check_difference():
    """A case whose data is another each time is a failure."""
    if not macro_cases.matrix.find("perl"):
        print("skipped: perl is missing")
        return
    before = macro_cases.programs.PERL
    script = "import sys; sys.argv[0] = 'macro'; sys.path.insert(0, %r); sys.dont_write_bytecode = True\n" \
             "import macro_cases; macro_cases.programs.PERL = 'print rand'\n" \
             "exec(compile(open(%r).read(), 'macro', 'exec'))" % (
                 os.path.join(source, "bench"), os.path.join(source, "bench", "macro"))
    check("rand" not in before, "perl's script is fixed")
    done = subprocess.run([sys.executable, "-c", script, "--build", build, "--peers=", "--only", "perl", "--rounds", "1"],
                          capture_output=True, text=True)
    check(done.returncode == 1 and "perl with ours: script: " in done.stderr, "another output: " + done.stderr)


def check_page(folder):
    trace = os.path.join(source, "tests", "replay", "every_operation.rep")
    status, printed = run("report", "--quick", "--rounds", "1", "--output", folder,
                          "--args", "micro=--rows 'pair-16|mem-idle'", "--args", "macro=--only perl --only lua5.4 --only sqlite3",
                          "--args", "traces=" + trace)
    check(status == 0, "report: " + printed)
    with open(os.path.join(folder, "index.html"), encoding="utf-8") as file:
        page = file.read()
    for title in ("Time: plain malloc", "Time: explicit arenas", "Memory: plain malloc", "Latency", "Growth",
                  "Recorded traces", "pair-16", "</html>"):
        check(title in page, "the page has no " + title)
    if shutil.which("gnuplot"):
        check(page.count("<svg") == page.count("</svg>") >= 6, "pictures: %d" % page.count("<svg"))
    else:
        check("gnuplot is not installed" in page, "the page does not say why it has no pictures")
    with open(os.path.join(folder, "curves.json"), encoding="utf-8") as file:
        alloc = json.load(file)["results"]["alloc"]["ours"]
    values = [value[0] for value in alloc.values()]
    check(values == sorted(values) and values[0] > 0, "percentiles do not rise: %s" % values)


check_intervals()
with tempfile.TemporaryDirectory() as scratch:
    check_limits(scratch)
    check_difference()
    check_page(os.path.join(scratch, "report"))
