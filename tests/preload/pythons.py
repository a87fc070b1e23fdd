"""Cases of tests/preload/run: python3 under its own test suite."""
import re

from matrix import Broken, case

NEEDS = {"/usr/bin/python3": "python3", "/usr/lib/python3.*/test/test_json": "^libpython3[.][0-9]+-testsuite$"}
VERSION = ["/usr/bin/python3", "--version"]
SUITE = {
    "json": ["test_json"],
    "re": ["test_re"],
    "collections": ["test_collections", "test_defaultdict", "test_deque", "test_ordered_dict"],
    "threading": ["test_threading", "test_thread", "test_threading_local", "test_queue"],
    "concurrent futures": ["test_concurrent_futures"],
    "subprocess": ["test_subprocess"],
    "multiprocessing fork": ["test_multiprocessing_fork"],
    "multiprocessing spawn": ["test_multiprocessing_spawn"],
}
QUICK = ("json", "collections")


def run_suite(run, modules):
    """How many tests ran, which failed, and the exit status."""
    # No resources: no network, no large files. -u none also leaves out what asks for real time.
    printed = run.run("/usr/bin/python3", "-m", "test", "-v", "-u", "none", *modules, status=None).decode(errors="replace")
    counted = re.findall(r"^Ran (\d+) tests? in", printed, re.M)
    if not counted or sum(map(int, counted)) < 10:
        raise Broken(f"no tests were run: {printed[-1500:]}")
    run.check("failures", " ".join(sorted(set(re.findall(r"^(?:FAIL|ERROR): (\S+)", printed, re.M)))))
    run.check("tests run", " ".join(counted))


def add(name, modules):
    @case(f"python3 {name}", NEEDS, VERSION, quick=name in QUICK)
    def body(run):
        run_suite(run, modules[:1] if run.quick else modules)
    return body


for suite_name, suite_modules in SUITE.items():
    add(suite_name, suite_modules)


PYTHON = """
import ast, collections, concurrent.futures, decimal, gc, hashlib, io, json, multiprocessing, pickle, random, re, subprocess, sys, threading, zlib
random.seed(5); N = %d
rows = [{'id': i, 'key': random.randrange(N), 'text': 'x' * random.randrange(80), 'f': random.random()} for i in range(N)]
text = json.dumps(sorted(rows, key=lambda r: (r['key'], r['id']))); assert json.loads(text) is not rows
print(hashlib.sha256(text.encode()).hexdigest(), len(pickle.loads(pickle.dumps(rows))), len(re.findall('x{79}', text)))
print(zlib.crc32(zlib.decompress(zlib.compress(text.encode()))), sum(map(len, collections.Counter(text).most_common())))
def work(seed):
    r = random.Random(seed); d = {}
    for i in range(N // 4): d[r.randrange(1000)] = [r.random()] * r.randrange(50)
    return round(sum(sum(v) for v in d.values()), 6)
with concurrent.futures.ThreadPoolExecutor(4) as pool: print(list(pool.map(work, range(8))))
if __name__ == '__main__':
    with multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(work, range(6)))
    print(subprocess.run([sys.executable, '-c', 'print("x" * 100000)'], capture_output=True).stdout.count(b'x'))
    big = bytearray(50_000_000); big[:10] = b'0123456789'; big *= 2; print(len(big), big.count(b'5')); del big
    print(len(str(3 ** 9000)), decimal.Decimal(2).sqrt(), len(ast.dump(ast.parse('a=1\\n' * 2000)))); gc.collect()
"""


@case("python3", {"/usr/bin/python3": "python3"}, VERSION, quick=True)
def python3(run):
    (run.directory / "script.py").write_text(PYTHON % (8_000 if run.quick else 100_000))
    run.run("/usr/bin/python3", "script.py", label="script")
