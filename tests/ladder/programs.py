#!/usr/bin/env python3
"""What compare and demo print and draw: limits that are told, traces that are read, heaps as they are.

usage: programs.py COMPARE DEMO
"""

import gzip
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

ALLOCATORS = ["1", "2", "3", "3b", "4", "4b", "5", "6", "7", "arena", "libc"]


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}"
    return done.stdout


def table(text, title):
    """{row: {allocator: cell}} of the table under a title."""
    lines = iter(text.split("\n" + title + "\n")[1].splitlines())
    next(lines)
    assert next(lines).split() == ALLOCATORS
    rows = {}
    for line in lines:
        if not line:
            return rows
        cells = line.split()[-len(ALLOCATORS):]
        rows[line[:26].strip()] = dict(zip(ALLOCATORS, cells))
    raise AssertionError(f"the table {title!r} has no end")


def is_picture(path):
    return ElementTree.parse(path).getroot().tag.endswith("svg")


def write_traces(folder):
    """100 blocks of 1,000 bytes allocated, freed, and allocated again; packed too. And one that is broken."""
    lines = ["1000000", "100", "305", "1"]
    for kind in "afa":
        lines += [f"{kind} {i}" + " 1000" * (kind == "a") for i in range(100)]
    lines += ["r 0 2000", "c 1 10 10", "l 2 64 100", "r 2 0", "f -1"]
    text = "\n".join(lines) + "\n"
    os.mkdir(os.path.join(folder, "below"))
    with open(os.path.join(folder, "plain.rep"), "w", encoding="ascii") as file:
        file.write(text)
    with gzip.open(os.path.join(folder, "below", "packed.rep.gz"), "wt", encoding="ascii") as file:
        file.write(text)
    with open(os.path.join(folder, "wrong.rep"), "w", encoding="ascii") as file:
        file.write(text.replace("f 50\n", "f 100\n"))


def compare_measures_all(compare, folder):
    picture = os.path.join(folder, "ladder.svg")
    write_traces(folder)
    text = run(compare, "--quick", "--traces", folder, "--picture", picture)

    times, spaces = table(text, "ns for each malloc or free"), table(text, "heap / payload, at their peaks")
    assert "wrong.rep is no trace that can be read" in text, text
    assert times.keys() == spaces.keys() and {"plain", "packed", "phases"} < times.keys(), times.keys()
    for rows in (times, spaces):
        for name, cells in rows.items():
            for allocator, cell in cells.items():
                assert float(cell) > 0, (name, allocator, cell)
    for name in ("plain", "packed"):
        assert float(spaces[name]["2"]) >= 2, spaces[name]  # never reuses
    assert is_picture(picture)


def compare_tells_limits(compare, folder):
    text = run(compare, "--quick", "--blocks", "4000", "--limit", "0.01", "--traces", os.path.join(folder, "none"),
               "--picture", os.path.join(folder, "limits.svg"))
    assert "No traces in" in text, text
    assert table(text, "ns for each malloc or free")["phases"]["6"] == ">0.01s", text


def demo_draws_the_heaps(demo, folder):
    picture = os.path.join(folder, "demo.svg")
    text = run(demo, "--picture", picture)
    after = {}
    for part in re.split(r"\n(?=\d\w? [a-zA-Z ]+\. )", text)[1:]:
        after[part.split()[0]] = dict(re.findall(r"^  (\S+(?: = \S+)?) +(.*)$", part, re.MULTILINE))
    assert list(after) == ALLOCATORS[:9], list(after)
    for rung, row in (("1", "|111111xxxxxxxxxx444444444444|"),
                      ("3", "|##111111|--------------|##444444444444|"),
                      ("3b", "|##111111|----|----------|##444444444444|"),
                      ("4", "|##111111##|------------------|##444444444444##|"),
                      ("4b", "|#111111#|--------------|#444444444444#|#|"),
                      ("7", "|111111|------~|--|--~|--------|--------~|444444444444|------------~")):
        assert after[rung]["free(p3)"].rstrip() == row, (rung, after[rung])
    assert after["6"]["free(p5)"].strip() == ""
    assert is_picture(picture)


def main():
    compare, demo = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        compare_measures_all(compare, folder)
        compare_tells_limits(compare, folder)
        demo_draws_the_heaps(demo, folder)


main()
