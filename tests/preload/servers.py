"""Cases of tests/preload/run that start a server and put it under load. All traffic stays on 127.0.0.1."""
import pathlib
import pwd
import random
import re
import shutil
import signal
import time
import urllib.request

from matrix import Broken, Unable, case, digest, find, free_port, listens, wait_until


# --- redis ---

def redis_cli(run, port, *arguments, **more):
    """The client is no part of what is measured."""
    return run.run("redis-cli", "-p", port, *arguments, timed=False, **more).decode().strip()


def redis_commands(path, count):
    rng = random.Random(6)
    with open(path, "w", encoding="ascii") as file:
        for i in range(count):
            value = "v" * rng.randrange(200)
            file.write(rng.choice([f"SET s{i} x{value}", f"LPUSH l{i % 500} {i}{value}", f"SADD m{i % 300} {i}",
                                   f"HSET h{i % 400} f{i} x{value}", f"ZADD z{i % 200} {rng.randrange(9999)} {i}",
                                   f"APPEND a{i % 100} {i}", f"DEL s{rng.randrange(i + 1)}"]) + "\r\n")
    return path


# Debian's server is linked to jemalloc; for the comparison it is given glibc's malloc.
@case("redis", {"redis-server": "redis-server", "redis-benchmark": "redis-tools"}, ["redis-server", "--version"],
      preload="libc.so.6")
def redis(run):
    port = free_port()
    options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", run.directory, "--appendonly", "no",
               "--daemonize", "no", "--enable-debug-command", "yes"]
    commands = redis_commands(run.directory / "commands", 300_000)

    def saved():
        return "rdb_bgsave_in_progress:0" in redis_cli(run, port, "INFO", "persistence")

    def digest_of_data():
        return redis_cli(run, port, "DEBUG", "DIGEST")

    with run.server("redis-server", *options):
        wait_until(lambda: listens(port), "redis-server listens")
        load = ["redis-benchmark", "-p", port, "-q", "--csv", "-c", "50", "-P", "16", "-d", "200", "-r", "100000"]
        start = time.monotonic()
        for _ in range(2):
            redis_cli(run, port, "BGSAVE")
            run.run(*load, "-n", "100000", "-t", "set,get,incr,lpush,rpop,sadd,hset,zadd,mset")
            wait_until(saved, "background save")
        run.rate("requests/s", 2 * 9 * 100_000 / (time.monotonic() - start))
        redis_cli(run, port, "FLUSHALL")
        redis_cli(run, port, "--pipe", input=commands)
        before = digest_of_data()
        run.check("data", before)
        redis_cli(run, port, "BGSAVE")
        wait_until(saved, "background save")
        run.check("save", "rdb_last_bgsave_status:ok" in redis_cli(run, port, "INFO", "persistence"))
    with run.server("redis-server", *options):
        wait_until(lambda: listens(port) and "PONG" in redis_cli(run, port, "PING"), "redis-server listens")
        if digest_of_data() != before:
            raise Broken("what was saved in the background is not what was there")
    run.count = 0  # how often was asked depends on time
    run.data = [(label, value) for label, value in run.data if not label.startswith("status")]


# --- nginx ---

NGINX = """
daemon off; worker_processes 2; pid DIR/nginx.pid; error_log DIR/error.log; USER
events { worker_connections 512; }
http {
  access_log off; gzip on; gzip_min_length 100; gzip_types text/plain;
  client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
  types { text/plain txt; }
  server { listen 127.0.0.1:PORT; root DIR/www; location /proxy/ { proxy_pass http://127.0.0.1:PORT/; } }
}
"""


def fetch(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
        return answer.read()


@case("nginx", {"nginx": "nginx-light", "wrk": "wrk"}, ["nginx", "-v"])
def nginx(run):
    port = free_port()
    (run.directory / "www").mkdir()
    rng = random.Random(8)
    files = {}
    for size in (10, 1_000, 30_000, 2_000_000):
        files[f"{size}.txt"] = "".join(rng.choices("abcdefgh \n", k=size)).encode()
        (run.directory / "www" / f"{size}.txt").write_bytes(files[f"{size}.txt"])
    user = "user root;" if pathlib.Path("/proc/self").stat().st_uid == 0 else ""
    config = NGINX.replace("DIR", str(run.directory)).replace("PORT", str(port)).replace("USER", user)
    (run.directory / "nginx.conf").write_text(config)
    seconds = max(1, run.seconds // 12)
    with run.server("nginx", "-p", run.directory, "-c", run.directory / "nginx.conf", stop=signal.SIGQUIT):
        wait_until(lambda: listens(port), "nginx listens")
        rate = 0.0
        for path in ("10.txt", "30000.txt", "proxy/1000.txt", "2000000.txt"):
            printed = run.run("wrk", "-t", "2", "-c", "40", "-d", f"{seconds}s", "--timeout", "30s",
                              "-H", "Accept-Encoding: gzip", f"http://127.0.0.1:{port}/{path}").decode()
            if "Non-2xx" in printed or "Socket errors" in printed:
                raise Broken(f"wrk: {printed}")
            rate += float(re.search(r"Requests/sec:\s+([\d.]+)", printed)[1])
        run.rate("requests/s", rate / 4)
        for name, content in files.items():
            for prefix in ("", "proxy/"):
                if fetch(port, prefix + name) != content:
                    raise Broken(f"nginx: {prefix}{name} is not what the file holds")
                run.check(prefix + name, digest(content))


# --- PostgreSQL ---

def postgres_user():
    """Not root, which the server refuses; None: we are no root ourselves."""
    if pathlib.Path("/proc/self").stat().st_uid != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise Unable("no user to run the server as")


@case("PostgreSQL", {"/usr/lib/postgresql/*/bin/postgres": "postgresql", "setpriv": "util-linux"},
      ["/usr/lib/postgresql/*/bin/postgres", "--version"])
def postgresql(run):
    tools = pathlib.Path(find("/usr/lib/postgresql/*/bin/postgres")).parent
    user, port = postgres_user(), free_port()
    shutil.chown(run.directory, user) if user else None
    at = {"PGHOST": str(run.directory), "PGPORT": str(port), "PGUSER": "tester", "PGDATABASE": "postgres"}

    def tool(name, *arguments, **more):
        return run.run(tools / name, *arguments, user=user, env=at, **more).decode()

    tool("initdb", "-D", "data", "-U", "tester", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8")
    with run.server(tools / "postgres", "-D", "data", "-k", run.directory, "-p", port, "-c", "listen_addresses=",
                    "-c", "fsync=off", "-c", "max_parallel_workers_per_gather=2", "-c", "autovacuum_naptime=5s",
                    stop=signal.SIGINT, user=user):
        socket_path = run.directory / f".s.PGSQL.{port}"
        wait_until(socket_path.exists, "postgres listens")
        time.sleep(0.5)
        tool("pgbench", "-i", "-s", "10", "--quiet")
        start = time.monotonic()
        for kind in ("tpcb-like", "select-only"):
            tool("pgbench", "-n", "-c", "8", "-j", "2", "-t", "1000", "-b", kind, "--random-seed=1", "-M", "prepared")
        run.rate("transactions/s", 16_000 / (time.monotonic() - start))
        # The order of transactions varies, so the balances do; that they agree may not.
        tool("psql", "-Atc", "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history),"
             " (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(tbalance) FROM pgbench_tellers),"
             " (SELECT count(*) FROM pgbench_history)", label="balances")
        tool("psql", "-At", "-v", "ON_ERROR_STOP=1", input="""
            CREATE TABLE t AS SELECT i, md5(i::text) AS m, i % 1000 AS g FROM generate_series(1, 400000) i;
            CREATE INDEX ON t(m); ANALYZE t;
            SELECT g, count(*), max(m) FROM t GROUP BY g ORDER BY g LIMIT 20;
            SELECT md5(string_agg(m, ',' ORDER BY m)) FROM t;
            SELECT count(*) FROM t a JOIN t b ON a.g = b.i WHERE b.m LIKE 'a%';
            SELECT jsonb_object_agg(i, m) FROM (SELECT * FROM t ORDER BY m LIMIT 300) x;
            UPDATE t SET m = m || 'x' WHERE g < 300; VACUUM FULL t; SELECT sum(length(m)) FROM t;""", label="queries")
        run.check("dump", digest(tool("pg_dump", "-t", "t").split("\\restrict")[0]))
