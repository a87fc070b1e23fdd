"""The real programs of bench/macro, each at 0.5 to 2 s. Engine, scripts and inputs are those of tests/preload.

A case prepares its inputs once, for all allocators, and then runs as often as asked for. What it labels or
checks must be the same with every allocator.
"""
import dataclasses
import os
import random
import shutil
import subprocess
import sys
import time

import harness

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "preload"))
import matrix
import programs
import pythons
import servers

CASES = {}
CLIENT = {"LD_PRELOAD": ""}  # a client is on glibc's malloc always


@dataclasses.dataclass
class Case:
    name: str
    body: object
    needs: dict           # command -> Debian package
    version: list         # a command whose first line tells the version
    prepare: object       # prepare(folder, quick) makes the inputs, or None
    variables: dict       # of the environment
    preload: str          # what the run on glibc preloads: for programs linked to another allocator


def case(name, needs, version, prepare=None, variables=None, preload=""):
    def add(body):
        CASES[name] = Case(name, body, needs, version, prepare, variables or {}, preload)
        return body
    return add


# --- interpreters and databases ---

def redis_inputs(folder, quick):
    servers.redis_commands(folder / "commands", 30_000 if quick else 150_000)


# Debian's server is linked to jemalloc; for the comparison it is given glibc's malloc. What redis-benchmark
# sends is random: the data that is compared comes from commands.
@case("redis", {"redis-server": "redis-server", "redis-benchmark": "redis-tools"}, ["redis-server", "--version"],
      prepare=redis_inputs, preload="libc.so.6")
def redis(run):
    port = matrix.free_port()
    requests = "5000" if run.quick else "15000"

    def cli(*arguments, **more):
        return servers.redis_cli(run, port, *arguments, env=CLIENT, **more)

    with run.server("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", run.directory,
                    "--enable-debug-command", "yes"):
        matrix.wait_until(lambda: matrix.listens(port), "redis-server listens")
        start = time.monotonic()
        run.run("redis-benchmark", "-p", port, "-q", "--csv", "-c", "50", "-P", "16", "-d", "200", "-r", "100000", "-n",
                requests, "-t", "set,get,incr,lpush,rpop,sadd,hset,zadd,mset", env=CLIENT, timed=False)
        cli("FLUSHALL")
        cli("--pipe", input=run.options.inputs / "commands")
        run.wall = time.monotonic() - start
        run.check("data", cli("DEBUG", "DIGEST"))


def sqlite3_inputs(folder, quick):
    programs.write_sql(folder / "script.sql", 10_000 if quick else 100_000)


@case("sqlite3", {"sqlite3": "sqlite3"}, ["sqlite3", "--version"], prepare=sqlite3_inputs)
def sqlite3(run):
    run.run("sqlite3", ":memory:", input=run.options.inputs / "script.sql", label="script")


@case("lua5.4", {"lua5.4": "lua5.4"}, ["lua5.4", "-v"])
def lua(run):
    run.run("lua5.4", "-", input=programs.LUA.replace("N", "20000" if run.quick else "160000"), label="script")


def perl_inputs(folder, quick):
    programs.write_lines(folder / "lines", 5_000 if quick else 50_000)


@case("perl", {"perl": "perl"}, ["perl", "-e", "print \"perl $^V\""], prepare=perl_inputs)
def perl(run):
    run.run("perl", "-e", programs.PERL, run.options.inputs / "lines", label="script")


@case("python3", {"/usr/bin/python3": "python3"}, pythons.VERSION, variables={"PYTHONMALLOC": "malloc"})
def python3(run):
    (run.directory / "script.py").write_text(pythons.PYTHON % (8_000 if run.quick else 50_000))
    run.run("/usr/bin/python3", "script.py", label="script")


@case("node", {"node": "nodejs"}, ["node", "--version"])
def node(run):
    (run.directory / "script.js").write_text(programs.NODE.replace("COUNT", "10000" if run.quick else "50000"))
    run.run("node", "script.js", label="script")


# --- tools ---

def gcc_inputs(folder, quick):
    programs.write_large_c(folder / "large.c", 10 if quick else 60)


@case("gcc", {"gcc": "gcc"}, ["gcc", "--version"], prepare=gcc_inputs)
def gcc(run):
    run.run("gcc", "-O2", "-g", "-c", run.options.inputs / "large.c", "-o", "large.o")
    run.check("object file", run.directory / "large.o")


def git_inputs(folder, quick):
    """A repository of which each commit changes some lines of a few files."""
    rng = random.Random(5)
    files = [[f"{' '.join(rng.choices(programs.WORDS, k=9))} {i}\n" for i in range(200)] for _ in range(40)]
    with open(folder / "stream", "w", encoding="ascii") as stream:
        for number in range(20 if quick else 120):
            stream.write(f"commit refs/heads/main\ncommitter n <n@example.org> {number + 1} +0000\ndata 1\n.\n")
            for chosen in rng.sample(range(40), 4):
                for _ in range(5):
                    files[chosen][rng.randrange(200)] = f"{' '.join(rng.choices(programs.WORDS, k=9))} {number}\n"
                text = "".join(files[chosen])
                stream.write(f"M 100644 inline d{chosen % 5}/f{chosen}.c\ndata {len(text)}\n{text}\n")
    subprocess.run(["git", "init", "-q", "--bare", folder / "repository"], check=True)
    with open(folder / "stream", "rb") as stream:
        subprocess.run(["git", "-C", folder / "repository", "fast-import", "--quiet"], stdin=stream, check=True)


@case("git gc", {"git": "git"}, ["git", "--version"], prepare=git_inputs)
def git(run):
    repository = run.directory / "repository"
    shutil.copytree(run.options.inputs / "repository", repository)
    command = ["git", "-c", "safe.directory=*", "-c", "pack.threads=1"]
    run.run(*command, "gc", "-q", "--aggressive", "--prune=now", cwd=repository)
    run.run(*command, "fsck", "--full", "--strict", cwd=repository, env=CLIENT, timed=False, label="fsck")
    run.run(*command, "rev-list", "--objects", "--all", cwd=repository, env=CLIENT, timed=False, label="objects")


def smt2(size, bits):
    """Pigeons that do not fit, factors of a product, and sums of integers."""
    lines = [f"(declare-const p{i}_{j} Bool)" for i in range(size) for j in range(size - 1)]
    lines += ["(assert (or %s))" % " ".join(f"p{i}_{j}" for j in range(size - 1)) for i in range(size)]
    lines += [f"(assert (not (and p{i}_{j} p{k}_{j})))"
              for j in range(size - 1) for i in range(size) for k in range(i)]
    lines += ["(check-sat)", "(reset)", f"(declare-const a (_ BitVec {bits}))", f"(declare-const b (_ BitVec {bits}))",
              "(assert (not (= (bvmul (bvadd a b) (bvsub a b)) (bvsub (bvmul a a) (bvmul b b)))))", "(check-sat)",
              "(reset)"]
    lines += [f"(declare-const q{i} Int)(assert (and (<= 0 q{i}) (< q{i} {size + 2})))" for i in range(size + 2)]
    for values in ("q{0}", "(+ q{0} {0})", "(- q{0} {0})"):
        lines.append("(assert (distinct %s))" % " ".join(values.format(i) for i in range(size + 2)))
    return "\n".join(lines + ["(check-sat)"]) + "\n"


@case("z3", {"z3": "z3"}, ["z3", "--version"])
def z3(run):
    run.run("z3", "-in", input=smt2(5, 4) if run.quick else smt2(10, 8), label="answers")
