"""What the tools of bench/ share, and tools/arena-replay with them: the allocators that are installed and how they
are preloaded, the machine, medians, the progress line and tables. Standard library alone; runs nothing by itself.
"""
import atexit
import json
import math
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOOL = os.path.basename(sys.argv[0])
LIBRARY_FOLDERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib",
                   "/usr/local/lib"]
PEERS = {  # what may be preloaded: the name shown, and the files it may have
    "jemalloc": ["libjemalloc.so.2"],
    "mimalloc": ["libmimalloc.so.2.0", "libmimalloc.so.2", "libmimalloc.so.3"],
    "tcmalloc": ["libtcmalloc_minimal.so.4"],
    "tbb": ["libtbbmalloc_proxy.so.2"],
    "rpmalloc": ["librpmallocwrap.so", "librpmalloc.so"],
    "snmalloc": ["libsnmallocshim.so"],
}
HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
REFERENCE, OURS = "glibc", "ours"
UNSUPPORTED = 77  # the status of a program that says: this allocator cannot do that


# --- what is measured ---

def add_options(parser, json=True):
    """Those that every tool has which runs several allocators."""
    parser.add_argument("--peers", metavar="NAMES", help="beside ours and glibc only these, by commas")
    parser.add_argument("--peer", metavar="NAME=LIBRARY", action="append", default=[],
                        help="one more allocator to preload; may be repeated")
    parser.add_argument("--ours", metavar="LIBRARY", help="what to preload as ours instead of libarena_malloc.so")
    parser.add_argument("--build", metavar="FOLDER", help="where it was built (default build/release)")
    if json:
        parser.add_argument("--json", metavar="FILE", help="write every figure of every run")
    parser.add_argument("--thp", choices=["always", "madvise", "never"],
                        help="transparent huge pages during the run; needs the right to set them")


def build_folder(options, program="bench/bench_worker"):
    """The build tree: the first that has this program."""
    candidates = [options.build] if options.build else [os.path.join(ROOT, "build", "release"),
                                                        os.path.join(ROOT, "build")]
    for folder in candidates:
        if os.path.exists(os.path.join(folder, program)):
            return os.path.abspath(folder)
    sys.exit("%s: nothing built in %s; first: cmake --preset release && cmake --build --preset release"
             % (TOOL, " or ".join(candidates)))


def find_library(names):
    for name in names:
        for folder in LIBRARY_FOLDERS:
            path = os.path.join(folder, name)
            if os.path.exists(path):
                return path
    return None


def version_of(library):
    """As the package says that it is from, or its file's name."""
    path = os.path.realpath(library)
    try:
        owner = subprocess.run(["dpkg-query", "-S", path], capture_output=True, text=True).stdout.partition(": ")[0]
        version = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", owner], capture_output=True, text=True)
        if owner and version.returncode == 0:
            return version.stdout
    except OSError:
        pass
    return os.path.basename(path)


def wanted(name, options):
    return options.peers is None or name in options.peers.split(",") + [REFERENCE, OURS, "ours.so"]


def mallocs(build, options):
    """The allocators as plain malloc: (name, library to preload); glibc's is None. All are made sure of."""
    found = [(REFERENCE, None)]
    ours = options.ours or os.path.join(build, "preload", "libarena_malloc.so")
    if os.path.exists(ours):
        found.append((OURS, os.path.abspath(ours)))
    found += [(name, find_library(files)) for name, files in PEERS.items() if find_library(files)]
    for extra in options.peer:
        name, _, library = extra.partition("=")
        found.append((name, os.path.abspath(library)))
    found = [one for one in found if wanted(one[0], options)]
    check_preloads(os.path.join(build, "bench", "bench_worker"), found)
    return found


def environment_of(library):
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    if library:
        environment["LD_PRELOAD"] = library
    return environment


def check_preloads(program, allocators):
    """A library that cannot be preloaded would be measured as glibc under its name."""
    for name, library in allocators:
        if library:
            done = subprocess.run([program, "--whose"], env=environment_of(library), capture_output=True,
                                  text=True)
            if os.path.realpath(done.stdout.strip()) != os.path.realpath(library):
                sys.exit("%s: %s: malloc is not %s but %s" % (TOOL, name, library, done.stdout + done.stderr))


def list_rows(program, pattern=""):
    """The rows of a program of bench/: [name, unit, description]."""
    text = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout
    rows = [line.split("\t") for line in text.splitlines()]
    return [row for row in rows if re.search(pattern, row[0])]


def run_row(row, program, library, *arguments, timeout=600):
    """One process, one row: its figures, None if it cannot, or a string that says what went wrong."""
    try:
        done = subprocess.run([program, row, *map(str, arguments)], env=environment_of(library),
                              capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return "no answer in %d s" % timeout
    if done.returncode == UNSUPPORTED:
        return None
    if done.returncode != 0:
        return "status %d: %s" % (done.returncode, (done.stderr.strip().splitlines() or [""])[-1])
    figures = [line.split() for line in done.stdout.splitlines() if line.startswith(row + " ")]
    return {figure: float(value) for _, figure, value in figures}


# --- how it is shown ---

class Progress:
    """One line on stderr, or a line now and then if that is no terminal."""

    def __init__(self, runs):
        self.runs, self.done, self.start, self.shown = runs, 0, time.monotonic(), 0.0
        self.terminal = sys.stderr.isatty()

    def step(self, text):
        now = time.monotonic()
        if self.terminal or now - self.shown > 20:
            used = now - self.start
            left = used / self.done * (self.runs - self.done) if self.done else 0
            line = "%3d %%  %3d:%02d left  %s" % (100 * self.done // self.runs, left // 60, left % 60, text)
            print(("\r\033[K" if self.terminal else "") + line, end="" if self.terminal else "\n",
                  file=sys.stderr, flush=True)
            self.shown = now
        self.done += 1

    def end(self):
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def spread(values):
    """Median and interquartile range."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    quarters = statistics.quantiles(values, n=4, method="inclusive")
    return quarters[1], quarters[0], quarters[2]


def interval(values):
    """The median and its 95 % interval by the sign test: order statistics, exact, no assumption but that rounds are
    independent. Fewer than 6 rounds allow none: then it is all that was seen."""
    values, count = sorted(values), len(values)
    out, below = 0, 0.0
    while out < count // 2:
        below += math.comb(count, out) / 2 ** count
        if below > 0.025:
            break
        out += 1
    out = max(out - 1, 0)
    return statistics.median(values), values[out], values[-1 - out]


def first_figures(runs):
    """The row's own figure, which each run prints first, by round."""
    return {turn: next(iter(figures.values())) for turn, figures in runs.items()}


def paired(results, row, name, other=REFERENCE, figure=None):
    """Ratios of two runs of one round, of {row: {name: {round: figures}}}; of the first figure if none is named."""
    ours, theirs = (results.get(row, {}).get(who, {}) for who in (name, other))
    if figure is None:
        ours, theirs = first_figures(ours), first_figures(theirs)
    else:
        ours, theirs = ({turn: run[figure] for turn, run in runs.items()} for runs in (ours, theirs))
    return [ours[turn] / theirs[turn] for turn in ours if theirs.get(turn)]


def print_table(title, heads, lines):
    """The first column and those that have no head are text."""
    widths = [max(len(line[i]) for line in [heads] + lines) for i in range(len(heads))]
    print("\n" + title + "\n")
    for line in [heads] + lines:
        cells = [cell.ljust(width) if head in ("row", "configuration", "unit", "") else cell.rjust(width)
                 for head, cell, width in zip(heads, line, widths)]
        print("  ".join(cells).rstrip())


def machine():
    """What a reader must know of the machine, by public means."""
    def read(path, pattern=None):
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except OSError:
            return "?"
        match = re.search(pattern, text, re.M) if pattern else None
        return match.group(1) if match else text.strip()
    return {
        "cpu": read("/proc/cpuinfo", r"^model name\s*:\s*(.*)$"),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "huge_pages": read(HUGE_PAGES, r"\[(\w+)\]"),
        "load": os.getloadavg()[0],
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def set_huge_pages(mode):
    """Until the tool ends."""
    before = machine()["huge_pages"]

    def write(value):
        with open(HUGE_PAGES, "w", encoding="utf-8") as file:
            file.write(value)
    try:
        write(mode)
    except OSError as error:
        sys.exit("%s: --thp %s: %s" % (TOOL, mode, error))
    atexit.register(write, before)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which runs that too


def print_machine(options):
    """The first line of every tool's output, and --thp done."""
    if getattr(options, "thp", None):
        set_huge_pages(options.thp)
    about = machine()
    print("%(cpu)s, %(cpus)s CPUs, Linux %(kernel)s, %(libc)s, huge pages %(huge_pages)s, load %(load).2f"
          % about, flush=True)
    if about["load"] > 0.5:
        print("%s: the machine is busy; expect wide ranges" % TOOL, file=sys.stderr)
    return about


def write_json(path, value):
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)


def tell_failures(failures):
    """The status of the tool."""
    for failure in failures:
        print("%s: failed: %s" % (TOOL, failure), file=sys.stderr)
    return 1 if failures else 0


def main(function):
    """Runs a tool."""
    try:
        sys.exit(function())
    except KeyboardInterrupt:
        sys.exit("\n%s: interrupted" % TOOL)
