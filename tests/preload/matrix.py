"""The engine of tests/preload/run: runs each program on glibc's malloc and on the library, compares, reports.

A case is a function of a Run. It starts programs through the Run, which measures them, keeps what they print
and hashes what the case wants to see unchanged. The same case runs once for each setting, in a directory of
the same name, and must end the same way with the same data.
"""
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games"
CASES = {}


class Broken(Exception):
    """A program did not do what the case needs: the case has failed."""


class Unable(Exception):
    """The case cannot run here, with the reason: it is skipped."""


@dataclasses.dataclass
class Case:
    name: str
    body: object
    needs: dict       # command or file -> Debian package
    version: list     # a command whose first line tells the version
    quick: bool       # part of the quick selection
    preload: str      # what the run on glibc preloads: for programs linked to another allocator


def case(name, needs=None, version=None, quick=False, preload=""):
    def add(body):
        CASES[name] = Case(name, body, needs or {}, version or [], quick, preload)
        return body
    return add


@dataclasses.dataclass(frozen=True)
class Setting:
    name: str         # "glibc", "library" or "check"
    variables: dict


def find(command):
    """The path of a command or file, or None. Not the caller's PATH: shims of version managers hide programs."""
    if "/" in command:
        matches = sorted(pathlib.Path("/").glob(command.lstrip("/")))
        return str(matches[-1]) if matches else None
    return shutil.which(command, path=PATH)


def missing_packages(cases):
    return sorted({package for one in cases for command, package in one.needs.items() if find(command) is None})


def digest(data):
    if isinstance(data, pathlib.Path):
        with open(data, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    if isinstance(data, str):
        data = data.encode()
    return hashlib.sha256(data).hexdigest()[:16]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Broken(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Run:
    """One execution of a case in one setting."""

    def __init__(self, setting, directory, options):
        self.setting = setting
        self.directory = directory     # the programs' working directory
        self.options = options
        self.quick = options.quick
        self.seconds = options.seconds # how long loads go on that have no end of their own
        self.data = []                 # (label, value): must be the same in every setting
        self.rates = {}
        self.wall = self.cpu = 0.0
        self.peak_kib = 0
        self.notes = set()
        self.count = 0

    # --- what a case compares ---

    def check(self, label, value):
        self.data.append((label, value if isinstance(value, (int, str)) else digest(value)))

    def check_tree(self, label, top):
        """Names and contents of all files below `top`."""
        top = pathlib.Path(top)
        names = sorted(path for path in top.rglob("*") if path.is_file())
        self.check(label, digest("".join(f"{path.relative_to(top)} {digest(path)}\n" for path in names)))

    def rate(self, name, value):
        """Work done in a time, for loads that last as long as they are told to."""
        self.rates[name] = value

    # --- programs ---

    def environment(self):
        return {"PATH": PATH, "HOME": str(self.directory), "LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "dumb",
                "TMPDIR": str(self.directory), "USER": "root", "PYTHONHASHSEED": "0"}

    def command(self, arguments, env, user):
        self.count += 1
        usage = self.options.scratch / "usage" / f"{self.count}"
        variables = self.setting.variables | (env or {})
        full = [str(self.options.measure), "tree", str(usage), *(f"{k}={v}" for k, v in variables.items()), "--",
                *map(str, arguments)]
        if user is not None:
            full = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *full]
        self.note_static(str(arguments[0]))
        return full, usage

    def note_static(self, program):
        """Programs that no preloaded library reaches would pass for nothing."""
        path = find(program) if not os.path.exists(self.directory / program) else self.directory / program
        if path is None:
            raise Broken(f"{program}: not found")
        with open(path, "rb") as file:
            head = file.read(4096)
        if head.startswith(b"\x7fELF") and b"/ld-linux" not in head and b"/ld64" not in head:
            self.notes.add(f"{program} is linked statically")

    def settle(self, usage, errors, timed=True):
        wall, cpu, peak = usage.read_text().split()
        if timed:
            self.cpu += float(cpu)
            self.peak_kib = max(self.peak_kib, int(peak))
        for line in errors.read_text(errors="replace").splitlines():
            if line.startswith("libarena: ") or "ld.so: object" in line:
                raise Broken(f"on stderr: {line}")
        return float(wall)

    def run(self, *arguments, input=b"", status=0, label=None, env=None, user=None, timeout=None, cwd=None,
            timed=True):
        """Runs a program to its end and answers what it printed. With a label, that is checked data.
        `input` is bytes or a Path; `status` None: any, but the same one."""
        full, usage = self.command(arguments, env, user)
        out, errors = self.options.scratch / "out", self.options.scratch / "errors"
        if isinstance(input, pathlib.Path):
            stdin, data = open(input, "rb"), None
        else:
            stdin, data = subprocess.PIPE, input.encode() if isinstance(input, str) else input
        with open(out, "wb") as out_file, open(errors, "wb") as error_file:
            process = subprocess.Popen(full, stdin=stdin, stdout=out_file, stderr=error_file, start_new_session=True,
                                       cwd=cwd or self.directory, env=self.environment())
            try:
                process.communicate(data, timeout=timeout or self.options.timeout)
            except subprocess.TimeoutExpired as late:
                raise Broken(f"{arguments[0]}: still running after {late.timeout} s") from late
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if isinstance(input, pathlib.Path):
            stdin.close()
        if status is not None and process.returncode != status:
            tail = errors.read_text(errors="replace")[-1500:] or out.read_text(errors="replace")[-1500:]
            raise Broken(f"{' '.join(map(str, arguments))[:200]}: ended with {process.returncode}, not {status}\n{tail}")
        wall = self.settle(usage, errors, timed)
        if timed:
            self.wall += wall
        printed = out.read_bytes()
        self.check(f"status {self.count}", process.returncode)
        if label is not None:
            self.check(label, printed)
        return printed

    def shell(self, script, label=None, **more):
        """A script of bash, its commands under the setting too. Fails where a command of it fails."""
        return self.run("bash", "-c", "set -euo pipefail\n" + script, label=label, **more)

    @contextlib.contextmanager
    def server(self, *arguments, stop=signal.SIGTERM, status=(0,), env=None, user=None):
        """Runs a program beside the body. It gets `stop` at the end and must then end with one of `status`."""
        full, usage = self.command(arguments, env, user)
        errors = self.options.scratch / f"errors-{self.count}"
        with open(errors, "wb") as file:
            process = subprocess.Popen(full, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=self.directory,
                                       env=self.environment(), start_new_session=True)
        try:
            yield process
            if process.poll() is not None:
                raise Broken(f"{arguments[0]}: ended early with {process.returncode}\n"
                             f"{errors.read_text(errors='replace')[-1500:]}")
            process.send_signal(stop)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired as late:
                raise Broken(f"{arguments[0]}: did not stop") from late
            if process.returncode not in status:
                raise Broken(f"{arguments[0]}: ended with {process.returncode}\n"
                             f"{errors.read_text(errors='replace')[-1500:]}")
            self.settle(usage, errors)
        finally:
            if process.poll() is None:
                process.send_signal(stop)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


# --- one case in all settings ---

def version_of(one):
    if not one.version:
        return ""
    command = [find(one.version[0]) or one.version[0], *one.version[1:]]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                         env={"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/"})
    return ((run.stdout or run.stderr).strip().splitlines() or [""])[0]


def empty_directory(path):
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    os.chmod(path, 0o777)
    return path


def run_once(one, setting, options):
    empty_directory(options.scratch / "usage")
    run = Run(setting, empty_directory(options.scratch / "case"), options)
    one.body(run)
    return run


def differences(before, after):
    """The first few, in words."""
    found = [f"{right[0]}: {right[1]}, on glibc {left[0]}: {left[1]}"
             for left, right in zip(before, after) if left != right]
    if len(before) != len(after):
        found.append(f"{len(after)} results, on glibc {len(before)}")
    return "; ".join(found[:3])


def run_case(one, settings, options):
    """The row of the report: a dict that JSON can hold."""
    row = {"name": one.name, "result": "passed", "reason": "", "version": "", "settings": {}}
    absent = [f"{command} ({package})" for command, package in one.needs.items() if find(command) is None]
    if absent:
        return row | {"result": "skipped", "reason": "missing: " + ", ".join(absent)}
    baseline = None
    try:
        row["version"] = version_of(one)
        for setting in settings:
            if setting.name == "glibc" and one.preload:
                setting = Setting("glibc", {"LD_PRELOAD": one.preload})
            try:
                run = run_once(one, setting, options)
            except Broken as broken:
                return row | {"result": "failed", "reason": f"{setting.name}: {broken}"}
            row["settings"][setting.name] = {
                "seconds": round(run.wall, 3), "cpu_seconds": round(run.cpu, 3), "peak_kib": run.peak_kib,
                "rates": run.rates, "checked": len(run.data)}
            row["notes"] = sorted(run.notes)
            baseline = baseline or run
            difference = differences(baseline.data, run.data)
            if difference:
                return row | {"result": "failed", "reason": f"{setting.name}: {difference}"}
    except Unable as unable:
        return row | {"result": "skipped", "reason": str(unable)}
    return row


# --- report ---

def ratio(new, old):
    return f"{new / old:5.2f}" if old else "    -"


def table(rows):
    """Processor seconds and MiB of the largest process, beside glibc's."""
    lines = [f"{'program':<22} {'result':<8} {'cpu s':>8} {'glibc':>8} {'ratio':>6} {'MiB':>8} {'glibc':>8} {'ratio':>6}"
             "  version, rates"]
    for row in rows:
        glibc, ours = row["settings"].get("glibc"), row["settings"].get("library")
        if not glibc or not ours:
            lines.append(f"{row['name']:<22} {row['result']:<8} {row['reason'].splitlines()[0] if row['reason'] else ''}")
            continue
        rates = "".join(f"; {name} {value:.0f}, {glibc['rates'].get(name, 0):.0f} on glibc"
                        for name, value in ours["rates"].items())
        lines.append(
            f"{row['name']:<22} {row['result']:<8} {ours['cpu_seconds']:8.2f} {glibc['cpu_seconds']:8.2f} "
            f"{ratio(ours['cpu_seconds'], glibc['cpu_seconds']):>6} {ours['peak_kib'] / 1024:8.1f} "
            f"{glibc['peak_kib'] / 1024:8.1f} {ratio(ours['peak_kib'], glibc['peak_kib']):>6}  "
            f"{row['version'][:60]}{rates}")
        if row["result"] != "passed":
            lines.append(f"{'':<22} {row['reason'].splitlines()[0]}")
    return "\n".join(lines)
