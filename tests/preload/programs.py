"""Cases of tests/preload/run that need no server: tools, compilers, interpreters."""
import pathlib
import random
import re
import shutil

from matrix import Broken, Unable, case, find

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORDS = ("arena bin chunk depot fit granule header large magazine mutex page region run sbrk slab thread top trim "
         "walk zero").split()


def write_lines(path, count, seed=1):
    """Lines of words and numbers, the same each time."""
    rng = random.Random(seed)
    with open(path, "w", encoding="ascii") as file:
        for i in range(count):
            words = " ".join(rng.choices(WORDS, k=rng.randrange(2, 12)))
            file.write(f"{rng.randrange(count)} {words} {i}\n")
    return path


def make_tree(top, directories, files, seed=2):
    rng = random.Random(seed)
    for i in range(directories):
        directory = top / f"d{i % 7}" / f"e{i}"
        directory.mkdir(parents=True)
        for j in range(files):
            write_lines(directory / f"file-{j}.{rng.choice(['c', 'h', 'txt'])}", rng.randrange(1, 60), seed=i * 1000 + j)
    return top


# --- tools ---

@case("coreutils", {"sort": "coreutils"}, ["sort", "--version"], quick=True)
def coreutils(run):
    lines = write_lines(run.directory / "lines", 15_000 if run.quick else 300_000)
    make_tree(run.directory / "tree", 6 if run.quick else 100, 20)
    run.run("sort", "--parallel=2", lines, label="sort")
    run.run("sort", "-n", "-S", "8M", "--parallel=2", lines, label="sort -n, in pieces")
    run.run("sort", "-k2,2", "-k1nr", "-s", lines, label="sort by keys")
    run.run("tac", lines, label="tac")
    run.run("sha256sum", lines, label="sha256sum")
    run.run("md5sum", lines, label="md5sum")
    run.run("wc", lines, label="wc")
    run.run("od", "-c", lines, label="od")
    run.run("shuf", "--random-source=lines", lines, label="shuf")
    run.run("ls", "-1R", "tree", label="ls -R")
    run.run("ls", "-lR", "--time-style=+%s", "-U", "/usr/bin", label="ls -l")
    run.run("du", "-a", "--apparent-size", "/usr/lib/git-core", status=None, label="du")
    run.shell("cp -r tree copy; diff -r tree copy; rm -r copy; mv tree moved; mv moved tree")
    run.shell("cut -d' ' -f2 lines | sort | uniq -c | sort -rn | head -n 20", label="words")
    run.shell("join <(sort -k1,1 lines) <(sort -k1,1 lines | head -n 500) | sha256sum", label="join")
    run.shell("comm -12 <(sort lines) <(head -n 5000 lines | sort) | md5sum", label="comm")
    run.shell("split -l 3000 lines part- && cat part-* | cmp - lines && ls part-*", label="split")
    run.shell("csplit -s -z lines '%5%' '{3}' && cat xx* | cksum", label="csplit", status=None)
    run.shell("base64 lines | base64 -d | cmp - lines; gzip -c lines | gzip -d | cmp - lines")
    run.shell("tr a-z A-Z <lines | fold -w 30 | nl | paste - - | expand | fmt | pr -t -2 | cksum", label="text")
    run.shell("seq 1 3000 | factor | tail -n 5; seq 5 | numfmt --to=iec; expr 6 '*' 7; printf '%5.2f\\n' 2.5; "
              "date -u -d @0 +%c; echo b a a c | tsort; stat -c %s lines; realpath -m /a/../b; basename /x/y .z",
              label="small ones")


@case("bash", {"bash": "bash"}, ["bash", "--version"], quick=True)
def bash(run):
    script = """
declare -A seen; declare -a list
for ((i = 0; i < N; i++)); do key=k$((i * 7919 % 1009)); seen[$key]+=$i,; list+=("item $i"); done
for key in "${!seen[@]}"; do echo "$key=${seen[$key]}"; done | sort | cksum
text=; for ((i = 0; i < N / 10; i++)); do text+="part $i of many;"; done; echo ${#text} ${text//part/piece} | cksum
fib() { (($1 < 2)) && echo "$1" || echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); }; fib 11
while read -r a b; do echo "$b $a"; done < <(printf '%s\\n' "${list[@]}") | sort -u | cksum
trap 'echo done' EXIT; shopt -s extglob; x=aaabbb; echo "${x##+(a)}" "${list[@]: -3}"
cat <<<"here" ; eval 'case x in [w-z]) echo matched;; esac'; for f in /usr/bin/[a-c]*; do :; done
"""
    run.run("bash", input=script.replace("N", "3000" if run.quick else "20000"), label="script")
    run.run("bash", "-c", "time -p (echo $BASH_VERSION; exit 7)", status=7)


@case("grep", {"grep": "grep"}, ["grep", "--version"], quick=True)
def grep(run):
    lines = write_lines(run.directory / "lines", 30_000 if run.quick else 400_000)
    patterns = run.directory / "patterns"
    patterns.write_text("\n".join(f"{a} {b}" for a in WORDS for b in WORDS[::3]) + "\n")
    run.run("grep", "-nE", "(slab|bin) [a-z]+ (top|trim)", lines, label="-E")
    run.run("grep", "-cE", r"(\w+) \1", lines, label="back reference")
    run.run("grep", "-cF", "-f", patterns, lines, label="-F -f")
    run.run("grep", "-oP", r"(?<=magazine )\w+(?= \d+$)", lines, label="-P")
    run.run("grep", "-vic", "ARENA", lines, label="-v -i")
    run.run("grep", "-q", "no such word", lines, status=1)
    run.run("grep", "-rnE", "^ *if \\(", ROOT / "arena", label="-r")
    run.run("grep", "(", lines, status=1)
    run.run("grep", "-E", "(", lines, status=2)


@case("find", {"find": "findutils"}, ["find", "--version"], quick=True)
def find_xargs(run):
    make_tree(run.directory / "tree", 10 if run.quick else 200, 20)
    run.shell("find tree -type f -printf '%s %P\\n' | sort", label="-printf")
    run.shell("find tree -regex '.*/file-[0-9]*[02468].[ch]' -newer tree -o -size +1k | sort", label="-regex")
    run.shell("find tree -name '*.h' -print0 | sort -z | xargs -0 -n 7 wc -c | cksum", label="xargs")
    run.shell("find tree -name '*.c' -exec grep -l slab {} + | sort | cksum", label="-exec")
    run.shell("find tree -type f | sort | xargs -P 4 -n 50 cksum | sort | cksum", label="xargs -P")
    run.run("find", "/usr/lib" if run.quick else "/usr", "-xdev", "-name", "*.so*", "-type", "l", status=None, label="/usr")
    run.run("find", "nowhere", status=1)


PERL = r"""
use strict; use warnings; my (%count, %by, @rows);
while (<>) { chomp; my @w = split; $count{$_}++ for @w; push @{$by{$w[1]}}, $_; push @rows, {k => $w[0], w => [@w]}; }
print "$_ $count{$_}\n" for (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 30];
print scalar(@{$by{$_}}), " $_\n" for sort keys %by;
my $text = join "\n", map { $_->{k} . join ",", reverse @{$_->{w}} } sort { $a->{k} <=> $b->{k} || "@{$a->{w}}" cmp "@{$b->{w}}" } @rows;
$text =~ s/(\w+),(\w+)/$2 $1/g; my $n = () = $text =~ /\bslab\b/g; print length($text), " $n\n", unpack("%32C*", $text), "\n";
my $deep = []; my $at = $deep; for (1 .. 50000) { $at->[0] = []; $at = $at->[0]; } undef $deep;
my $pid = fork; if (!$pid) { my @more = map { "x" x $_ } 1 .. 2000; exit(@more == 2000 ? 3 : 4); } waitpid $pid, 0; print $? >> 8, "\n";
print eval { die {code => 7} } // $@->{code}, sprintf("%vd", "1.22.333"), "\n";
"""


@case("perl", {"perl": "perl"}, ["perl", "-e", "print \"perl $^V\""], quick=True)
def perl(run):
    lines = write_lines(run.directory / "lines", 20_000 if run.quick else 200_000)
    run.run("perl", "-e", PERL, lines, label="script")


# --- git ---

def history():
    if not (ROOT / ".git").exists():
        raise Unable("this is no git checkout")
    return str(ROOT)


@case("git", {"git": "git"}, ["git", "--version"], quick=True)
def git(run):
    source = history()
    depth = ["--depth", "30", "--no-single-branch"] if run.quick else []
    safe = ["-c", "safe.directory=*", "-c", "protocol.file.allow=always"]
    run.run("git", *safe, "clone", "-q", *depth, f"file://{source}", "clone")
    clone = run.directory / "clone"
    run.run("git", "rev-list", "--objects", "--all", cwd=clone, label="objects")
    run.run("git", "fsck", "--full", "--strict", cwd=clone, label="fsck")
    run.run("git", "log", "--stat", "-M", "--format=fuller", cwd=clone, label="log")
    run.run("git", "gc", "--aggressive" if not run.quick else "--quiet", "--prune=now", cwd=clone)
    run.run("git", "fsck", "--full", cwd=clone, label="fsck again")
    run.run("git", "count-objects", cwd=clone, label="count")
    run.shell("git archive HEAD | tar -tf - | sort | cksum", cwd=clone, label="archive")
    run.shell("git blame -w -C arena/api.c | cksum; git grep -c static | cksum", cwd=clone, label="blame, grep")
    run.shell("git checkout -q --detach HEAD~5 && git -c user.name=n -c user.email=e@x revert -n HEAD && "
              "git diff --cached | cksum && git reset -q --hard && git status --porcelain", cwd=clone, label="work")


# --- compilers ---

def write_large_c(path, functions):
    """A large translation unit: many functions, types and tables, nothing of which a compiler can leave out."""
    rng = random.Random(3)
    with open(path, "w", encoding="ascii") as file:
        file.write("typedef struct { int a; long b; double c; char d[16]; } row_t;\nstatic row_t rows[64];\n")
        for i in range(functions):
            body = "".join(
                f"    case {j}: for (int k = 0; k < {rng.randrange(3, 40)}; k++) {{ r->b += k * {rng.randrange(1, 99)} ^ x; "
                f"r->c *= 1.{rng.randrange(1, 99)}; r->d[k & 15] = (char)(x >> {rng.randrange(1, 9)}); }} break;\n"
                for j in range(rng.randrange(2, 9)))
            call = f"f{rng.randrange(i)}(r, x - 1)" if i else "x"
            file.write(f"static const int t{i}[] = {{{', '.join(str(rng.randrange(1 << 20)) for _ in range(12))}}};\n"
                       f"long f{i}(row_t *r, int x)\n{{\n    switch (x % 9) {{\n{body}    default: r->a += t{i}[x & 7];\n"
                       f"    }}\n    return x > 0 ? {call} + r->b : r->a;\n}}\n")
        file.write("row_t *row(int i) { return &rows[i & 63]; }\n")
    return path


CXX = """
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>
template <int N> struct chain { std::map<int, std::vector<std::string>> m; chain<N - 1> next; };
template <> struct chain<0> {};
using any_t = std::variant<int, std::string, std::vector<double>>;
int main()
{
    chain<60> all; std::unordered_map<std::string, std::function<any_t(int)>> made; std::ostringstream out;
    made["a"] = [](int i) { return any_t(std::string(i, 'x')); };
    all.m[1].push_back("x"); std::regex word("(a|b)+c"); out << std::regex_match("abac", word) << all.m.size();
    std::cout << out.str() << std::get<std::string>(made["a"](3)) << '\\n';
}
"""


def compile_files(run, cc, cxx):
    write_large_c(run.directory / "large.c", 40 if run.quick else 800)
    run.run(cc, "-O2", "-g", "-c", "large.c", "-o", "large.o")
    run.check("object file", run.directory / "large.o")
    run.run(cc, "-O0", "-S", "large.c", "-o", "large.s")
    run.check("assembly", run.directory / "large.s")
    run.run(cc, "-fsyntax-only", "nowhere.c", status=1)
    if not run.quick:
        (run.directory / "large.cc").write_text(CXX)
        run.run(cxx, "-std=c++17", "-O2", "-g", "large.cc", "-o", "large")
        run.check("C++ program", run.directory / "large")
        run.run("./large", label="C++ program's output")


@case("gcc", {"gcc": "gcc", "g++": "g++"}, ["gcc", "--version"], quick=True)
def gcc(run):
    compile_files(run, "gcc", "g++")


@case("clang", {"clang": "clang", "g++": "g++"}, ["clang", "--version"])
def clang(run):
    compile_files(run, "clang", "clang++")


@case("cmake and ninja", {"cmake": "cmake", "ninja": "ninja-build", "gcc": "gcc"}, ["cmake", "--version"])
def build(run):
    """This project; without what its tests need, which may not be here."""
    source = run.directory / "source"
    source.mkdir()
    for path in ROOT.iterdir():
        if path.name not in ("build", ".git"):
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, source / path.name)
    run.run("cmake", "-G", "Ninja", "-S", source, "-B", "out", "-DARENA_TESTS=OFF")
    run.run("ninja", "-C", "out", "-j", "2")
    for name in ("libarena.a", "libarena.so.0.1.0"):
        if (run.directory / "out" / name).exists():
            run.check(name, run.directory / "out" / name)
    run.run("ninja", "-C", "out", "-t", "deps", status=None)
    run.shell("ninja -C out -n | tail -n 1", label="nothing left")


@case("static-pie", {"gcc": "gcc"}, ["gcc", "--version"], quick=True)
def static_pie(run):
    """A program linked with the archive; on glibc it is the same program linked without."""
    archive = run.options.archive
    if archive is None:
        raise Unable("no archive libarena_malloc.a")
    source = pathlib.Path(__file__).resolve().parent / "programs/standalone.c"
    ours = run.setting.name != "glibc"
    variables = run.setting.variables
    run.setting = type(run.setting)(run.setting.name, {})
    run.run("gcc", "-O2", "-static-pie", "-fPIE", "-pthread", source, *([archive] if ours else []), "-o", "program",
            timed=False)
    check = {name: value for name, value in variables.items() if name.startswith("ARENA_")}
    printed = run.run("./program", env=check)
    if printed.count(b"\n") != 2 or (b"libarena" in printed) != ours:
        raise Broken(f"printed {printed!r}")
    run.check("output", printed.splitlines()[1])


# --- interpreters and databases ---

def write_sql(path, rows):
    rng = random.Random(4)
    with open(path, "w", encoding="ascii") as file:
        file.write("CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b TEXT, c REAL);\nBEGIN;\n")
        for i in range(rows):
            file.write(f"INSERT INTO t VALUES({i},{rng.randrange(rows)},'{rng.choice(WORDS)} {rng.randrange(999)}',"
                       f"{rng.random():.6f});\n")
        file.write("""COMMIT;
CREATE INDEX ta ON t(a); CREATE INDEX tb ON t(b, c);
SELECT b, count(*), sum(a), round(avg(c), 9) FROM t GROUP BY b ORDER BY 2 DESC, 1 LIMIT 50;
SELECT count(*) FROM t x JOIN t y ON x.a = y.id WHERE y.b LIKE 'slab%';
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT sum(i) FROM n;
SELECT group_concat(b) FROM (SELECT b FROM t ORDER BY c, id LIMIT 1000);
SELECT id, rank() OVER (PARTITION BY b ORDER BY c) FROM t ORDER BY 2 DESC, 1 LIMIT 10;
UPDATE t SET b = b || ' changed' WHERE a % 3 = 0; DELETE FROM t WHERE a % 7 = 0; VACUUM;
SELECT count(*), sum(length(b)), total(c) FROM t; PRAGMA integrity_check;
SELECT json_group_array(json_object('i', id, 'b', b)) FROM (SELECT * FROM t ORDER BY id LIMIT 500);
""")
    return path


@case("sqlite3", {"sqlite3": "sqlite3"}, ["sqlite3", "--version"], quick=True)
def sqlite3(run):
    script = write_sql(run.directory / "script.sql", 20_000 if run.quick else 1_000_000)
    run.run("sqlite3", "data.db", input=script, label="script")
    run.run("sqlite3", ":memory:", input=script, label="in memory")
    run.run("sqlite3", "data.db", ".dump", label="dump")


LUA = """
local n = N
local t, s = {}, 12345
for i = 1, n do s = (s * 1103515245 + 12345) % 2147483648; t[i] = {key = s, text = ("x"):rep(s % 40) .. i} end
table.sort(t, function(a, b) if a.key ~= b.key then return a.key < b.key end return a.text < b.text end)
local sum, parts = 0, {}
for i, v in ipairs(t) do sum = (sum * 31 + #v.text + v.key) % 1000000007; parts[i] = v.text end
local text = table.concat(parts, ","); print(sum, #text, select(2, text:gsub("x1", "y")))
local trees = function(d) local function make(d) return d > 0 and {make(d - 1), make(d - 1)} or {} end
  local function count(x) return x[1] and 1 + count(x[1]) + count(x[2]) or 1 end return count(make(d)) end
for d = 4, 14 do print(d, trees(d)) end
local co = {} for i = 1, 1000 do co[i] = coroutine.wrap(function() for j = 1, 5 do coroutine.yield(i * j) end end) end
local c = 0 for r = 1, 5 do for i = 1, 1000 do c = c + co[i]() end end print(c)
collectgarbage() print((pcall(error, 'x'))) print(string.format("%q", "a\\nb"), math.type(3 // 2))
"""


@case("lua5.4", {"lua5.4": "lua5.4"}, ["lua5.4", "-v"], quick=True)
def lua(run):
    run.run("lua5.4", "-", input=LUA.replace("N", "20000" if run.quick else "300000"), label="script")


@case("ruby", {"ruby": "ruby"}, ["ruby", "--version"])
def ruby(run):
    script = """
require 'json'; require 'set'; require 'digest'; require 'zlib'; require 'stringio'
srand 7; rows = Array.new(300_000) { |i| { 'id' => i, 'key' => rand(1 << 30), 'text' => 'x' * rand(60) } }
text = JSON.generate(rows.sort_by { |r| [r['key'], r['id']] }); back = JSON.parse(text)
puts Digest::SHA256.hexdigest(text), back.length, back.group_by { |r| r['key'] % 97 }.transform_values(&:count).sort.inspect
puts Zlib::Inflate.inflate(Zlib::Deflate.deflate(text)) == text, text.scan(/x{59}/).length
threads = 4.times.map { |t| Thread.new { (1..20_000).map { |i| "#{t}-#{i}".hash; i.to_s * (i % 9) }.join.length } }
puts threads.map(&:value).inspect, (1..200_000).each_slice(7).map(&:sum).to_set.size
f = Fiber.new { 1000.times { |i| Fiber.yield 'y' * i } }; puts 1000.times.sum { f.resume.length }
pid = fork { exit((1..10_000).map(&:to_s).join.length % 256) }; Process.wait pid; puts $?.exitstatus
GC.start; GC.compact if GC.respond_to?(:compact); puts 100.digits.inspect, (3**5000).to_s.length
"""
    run.run("ruby", "-", input=script, label="script")


NODE = """
const crypto = require('crypto'), zlib = require('zlib'), { Worker, isMainThread, parentPort } = require('worker_threads');
function work(seed) {
  const map = new Map(); let s = seed, hash = crypto.createHash('sha256');
  for (let i = 0; i < COUNT; i++) { s = (s * 1103515245 + 12345) & 0x7fffffff; const k = 'k' + s % 5000;
    if (!map.has(k)) map.set(k, []); map.get(k).push({ i, s, t: 'x'.repeat(s % 30) }); }
  const text = JSON.stringify([...map].sort((a, b) => a[0] < b[0] ? -1 : 1)); hash.update(text);
  const buffers = []; for (let i = 0; i < 3000; i++) buffers.push(Buffer.alloc(s % 9000 + i, i & 255));
  for (const b of buffers) hash.update(b);
  const packed = zlib.gzipSync(text), same = zlib.gunzipSync(packed).equals(Buffer.from(text));
  return [hash.digest('hex'), JSON.parse(text).length, same, text.match(/x{29}/g).length];
}
if (isMainThread) {
  console.log(work(1).join(' '));
  Promise.all([2, 3, 4].map(seed => new Promise((done, fail) => {
    const worker = new Worker(__filename); worker.on('message', done); worker.on('error', fail); worker.postMessage(seed); })))
    .then(all => { console.log(all.map(x => x.join(' ')).join('\\n'));
      console.log(require('child_process').execFileSync('sh', ['-c', 'echo from a child']).toString()); });
} else parentPort.once('message', seed => { parentPort.postMessage(work(seed)); });
"""


@case("node", {"node": "nodejs"}, ["node", "--version"])
def node(run):
    (run.directory / "script.js").write_text(NODE.replace("COUNT", "400000"))
    run.run("node", "script.js", label="script")


@case("stress-ng", {"stress-ng": "stress-ng"}, ["stress-ng", "--version"])
def stress_ng(run):
    printed = run.run("stress-ng", "--malloc", "2", "--timeout", f"{run.seconds}s", "--verify", "--metrics-brief",
                      "--stdout", "--temp-path", run.directory).decode()
    found = re.search(r"\] malloc\s+(\d+)\s+\S+\s+\S+\s+\S+\s+(\S+)", printed)
    if found is None or "successful run completed" not in printed:
        raise Broken(f"stress-ng printed {printed[-1000:]}")
    run.rate("operations/s", float(found[2]))
