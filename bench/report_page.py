"""The page of bench/report: one HTML file of tables and pictures, made from the JSON files of the tools alone."""
import html
import statistics

import report_plots
from harness import OURS, REFERENCE, first_figures, interval, paired, spread

OURS_NAMES = (OURS, "ours.so", "ours in an arena", "malloc", "arena")
STYLE = """
body { font: 15px/1.5 system-ui, "DejaVu Sans", Verdana, sans-serif; color: #222; background: #fff; max-width: 1080px;
       margin: 2em auto; padding: 0 1.2em; }
h1 { font-size: 1.7em; margin-bottom: 0.1em; } h2 { margin: 2.2em 0 0.3em; border-bottom: 2px solid #1b4fd8; font-size: 1.25em; }
p.lead { color: #555; margin-top: 0; } nav a { margin-right: 1em; } a { color: #1b4fd8; }
table { border-collapse: collapse; margin: 0.8em 0; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 2px 9px; text-align: right; white-space: nowrap; } th { background: #f3f5fa; font-weight: 600; }
td:first-child, th:first-child, td.text { text-align: left; } tr:hover td { background: #f7f9ff; }
td.about { text-align: left; color: #777; } tr.mean td { border-top: 1px solid #999; font-weight: 600; }
td.ours { background: #eef3ff; } td.peer { font-weight: 700; text-decoration: underline; text-underline-offset: 3px; }
td.good { color: #00754a; font-weight: 700; } td.near { color: #9a6b00; } td.bad { color: #c02020; font-weight: 700; }
td.num { color: #777; } .facts td { padding-top: 0; } .facts td.text { white-space: normal; }
.pair > div { display: inline-block; width: 48%; margin-right: 1.5%; vertical-align: top; } h3 { font-size: 1em; margin: 1em 0 0.2em; }
svg { max-width: 100%; height: auto; } .wide { overflow-x: auto; } .failed { color: #c02020; } code { background: #f3f5fa; padding: 0 4px; }
@media (max-width: 800px) { .pair > div { width: 100%; } }
"""


def text(value):
    return html.escape(str(value))


def number(value):
    if value >= 1000:
        return "{:,.0f}".format(value)
    return "%.3g" % value


class Page:
    """Collects sections, and pictures where gnuplot is there."""

    def __init__(self):
        self.parts, self.titles, self.pictures = [], [], report_plots.available()
        self.means = []  # (title, {allocator: geometric mean}), for the summary

    def section(self, title, lead=""):
        anchor = "s%d" % len(self.titles)
        self.titles.append((anchor, title))
        self.parts.append('<h2 id="%s">%s</h2>' % (anchor, text(title)))
        if lead:
            self.parts.append('<p class="lead">%s</p>' % lead)

    def picture(self, kind, *arguments, **more):
        """kind is a function of report_plots."""
        if self.pictures and any(arguments[0].values()):
            name = "p%d" % len(self.parts)
            return kind(name, *arguments, **more)
        return ""

    def add(self, part):
        self.parts.append(part)

    def mean_of(self, title):
        """For compare: keeps the means under this title."""
        return lambda means: self.means.append((title, means))

    def pairs(self, titled):
        cells = ["<div><h3>%s</h3>%s</div>" % (text(title), picture) for title, picture in titled if picture]
        if cells:
            self.add('<div class="pair">%s</div>' % "".join(cells))


def table(heads, lines, kind=""):
    """Cells are HTML or (HTML, class)."""
    def cell(value):
        value, style = value if isinstance(value, tuple) else (value, "")
        return '<td class="%s">%s</td>' % (style, value) if style else "<td>%s</td>" % value
    rows = ['<tr%s>%s</tr>' % (' class="mean"' if line[0] == "geometric mean" else "", "".join(map(cell, line)))
            for line in lines]
    head = "<tr>%s</tr>" % "".join("<th>%s</th>" % text(one) for one in heads) if heads else ""
    return '<div class="wide"><table class="%s">%s%s</table></div>' % (kind, head, "".join(rows))


def judged(ours, best):
    """What our figure is of the best peer's, and how that is shown."""
    if not ours or not best:
        return "-"
    ratio = round(ours / best, 2)
    return "%.2f" % ratio, "good" if ratio <= 1 else "near" if ratio <= 1.1 else "bad"


def judged_line(names, figures, shown):
    """The cells of all allocators and the judgement. figures: {allocator: figure}; shown(name) is its HTML."""
    ours = [name for name in names if name in OURS_NAMES]
    peers = {name: figure for name, figure in figures.items() if name not in ours}
    best = min(peers, key=peers.get) if peers else None
    cells = [(shown(name), "ours" if name in ours else "peer" if name == best else "") if name in figures else "-"
             for name in names]
    return cells + [judged(figures.get(ours[0]) if ours else None, peers.get(best))]


def compare(rows, names, values, heads=(), behind=lambda row: [], mean=None):
    """A table with the best peer of each row marked; less is better. values(row, name) is (middle, low, high) or None.
    behind(row) are the cells under `heads`, behind the others; mean(means) is told of the geometric means."""
    lines, collected = [], {name: [] for name in names}
    for row in rows:
        found = {name: values(row, name) for name in names}
        found = {name: one for name, one in found.items() if one}
        for name, one in found.items():
            collected[name].append(one[0])
        cells = judged_line(names, {name: one[0] for name, one in found.items()}, lambda name: '<span title="%.4g to %.4g">'
                            '%s</span>' % (*found[name][1:], number(found[name][0])))
        lines.append([(text(row), "text"), *cells] + [
            (number(one), "num") if isinstance(one, float) else (text(one), "about") for one in behind(row)])
    if mean:
        means = {name: statistics.geometric_mean(logs) for name, logs in collected.items() if len(logs) == len(lines)}
        mean(means)
        lines.append(["geometric mean", *judged_line(names, means, lambda name: "%.3f" % means[name])] + [""] * len(heads))
    return table(["", *names, "ours / best peer", *heads], lines)


# --- the parts ---

def turns(runs):
    """JSON's keys are text."""
    return {row: {name: {int(turn): run for turn, run in by_turn.items()} for name, by_turn in by_name.items()}
            for row, by_name in runs.items()}


def reference_of(results, row, figure):
    """glibc's own median, of the first figure if none is named."""
    runs = results[row].get(REFERENCE, {})
    values = first_figures(runs).values() if figure is None else [run[figure] for run in runs.values()]
    return float(statistics.median(values)) if values else "-"


def micro_part(page, data):
    results = turns(data["results"])
    for group in data["groups"]:
        about = {row[0]: row[2] for row in group["rows"]}
        timed = [row[0] for row in group["rows"] if row[1] == "ns" and row[0] in results]
        names = [name for name in group["allocators"] if name != REFERENCE]

        def time(row, name):
            values = [1.0] if name == REFERENCE else paired(results, row, name)
            return spread(values) if values else None
        if timed:
            page.section("Time: " + group["kind"], "Ratio to glibc’s malloc in the same round, median; less is better. The best "
                         "peer is underlined; point at a figure for its quartiles.")
            page.add(page.picture(report_plots.dots, {name: {row: time(row, name) for row in timed if time(row, name)}
                                                      for name in names}, "time, ratio to glibc"))
            page.add(compare(timed, names, time, ["glibc ns", ""], lambda row: [
                reference_of(results, row, None), about[row]], page.mean_of("time, " + group["kind"])))
    for group in data["groups"]:
        rows = {row[0]: row for row in group["rows"] if row[1] != "ns" and row[0] in results}

        def memory(row, name):
            runs = results[row].get(name)
            return spread(list(first_figures(runs).values())) if runs else None
        if rows:
            page.section("Memory: " + group["kind"], "Median; less is better.")
            page.add(compare(rows, group["allocators"], memory, ["unit", ""], lambda row: rows[row][1:3]))


def ours_to_each(results, names):
    def cell(row, name):
        values = paired(results, row, OURS, name, "cpu")
        if not values:
            return "-"
        middle, low, high = interval(values)
        return "%.3f [%.3f %.3f]" % (middle, low, high), "bad" if low > 1.01 else "good" if high < 1 else ""
    return table(["", *names], [[(text(row), "text"), *(cell(row, name) for name in names)] for row in results])


def macro_part(page, data):
    results = turns(data["results"])
    names = [name for name in data["allocators"] if name != REFERENCE]

    def intervals_of(figure):
        def of(row, name):
            values = paired(results, row, name, figure=figure)
            return interval(values) if values else None
        return of
    bars = "95&nbsp;% intervals of the median" if data["rounds"] >= 6 else "all that was seen: too few rounds for an interval"
    page.section("Real programs", "Ratio to glibc in the same round, median of %d; bars and tooltips are %s. What each program "
                 "printed was the same with every allocator." % (data["rounds"], bars))
    for figure, title, unit in (("cpu", "Processor time", "s"), ("wall", "Time", "s"), ("peak", "Peak memory", "MiB")):
        of = intervals_of(figure)
        page.add("<h3>%s</h3>" % title)
        if figure != "wall":
            page.add(page.picture(report_plots.dots, {name: {row: of(row, name) for row in results if of(row, name)}
                                                      for name in names}, title.lower() + ", ratio to glibc"))
        page.add(compare(results, names, of, ["glibc " + unit, ""], lambda row: [
            reference_of(results, row, figure), data["versions"].get(row, "")[:38]],
            page.mean_of("real programs, " + title.lower())))
    page.add("<h3>Processor time of ours to each in the same round, with intervals; red: the interval lies above 1.01</h3>")
    page.add(ours_to_each(results, [name for name in data["allocators"] if name != OURS]))
    if data["skipped"]:
        page.add("<p>Skipped: %s.</p>" % text("; ".join("%s (%s)" % one for one in data["skipped"].items())))


def instructions_part(page, data):
    page.section("Instructions", "Of a malloc + free pair that hits, by callgrind; exact.")
    for kind, title in (("malloc", "plain malloc"), ("arena", "explicit arenas")):
        counted = {(str(one["bytes"]) + " B", one["name"]): one["net"] for one in data["results"] if one["kind"] == kind}
        rows, names = (list(dict.fromkeys(key[i] for key in counted)) for i in (0, 1))
        page.add("<h3>%s</h3>" % title)
        page.add(compare(rows, names, lambda row, name: (counted[row, name],) * 3 if (row, name) in counted else None))


def curves_part(page, data):
    results = data["results"]

    def series(curve):
        return {name: [(int(x) if x.isdigit() else x, spread(values)[0]) for x, values in points.items()]
                for name, points in results.get(curve, {}).items()}

    def picture(curve, *arguments, **more):
        found = series(curve)
        for values in found.values():
            values.sort(key=lambda one: one[0] if isinstance(one[0], int) else 0)
        return data["titles"][curve], page.picture(report_plots.curves, found, *arguments, **more)
    if "alloc" in results:
        page.section("Latency")
        page.pairs([picture(kind, "percentile", "ns", logarithmic="y") for kind in ("alloc", "free")])
        for kind in ("alloc", "free"):
            points = results[kind]
            rows = list(next(iter(points.values())))
            page.add("<h3>%s, ns</h3>" % kind)
            page.add(compare(rows, list(points), lambda row, name: spread(points[name][row])))
    if set(results) - {"alloc", "free"}:
        page.section("Growth")
        page.pairs([picture("live", "live blocks", "ns"), picture("heaps", "arenas", "ns"),
                    picture("mixed", "threads", "million operations a second", logarithmic="x", base=2),
                    picture("swap", "threads", "million operations a second", logarithmic="x", base=2),
                    picture("heap bytes", "arenas", "bytes")])


def traces_part(page, data):
    page.section("Recorded traces", "Utilisation is the peak of the payload over the peak of resident growth, in percent, of a set’s "
                 "traces together; speed is the geometric mean of million operations a second. More is better.")
    names = list(data["configurations"])
    lines = []
    for group, sums in data["sums"].items():
        used = {name: 100 * one[0] / one[1] for name, one in sums.items() if one}
        lines.append([text(group + ", utilisation %")] + ["%.1f" % used[name] if name in used else "-" for name in names])
        rates = {name: [one["operations"] / one["median_seconds"] / 1e6 for one in data["results"]
                        if one["set"] == group and one["configuration"] == name and one.get("median_seconds")]
                 for name in names}
        lines.append([text(group + ", million/s")] + ["%.1f" % statistics.geometric_mean(rates[name]) if rates[name] else "-"
                                                     for name in names])
    shaded = [[line[0]] + [(cell, "ours") if name not in ("glibc", *report_plots.COLOURS) or name in OURS_NAMES else cell
                           for name, cell in zip(names, line[1:])] for line in lines]
    page.add(table([""] + names, shaded))


PARTS = {"micro": micro_part, "macro": macro_part, "instructions": instructions_part, "curves": curves_part,
         "traces": traces_part}


def write(path, about, parts):
    """`about` is what bench/report knows of the run; parts: {name: a tool's JSON}."""
    page = Page()
    for name, make in PARTS.items():
        if name in parts:
            make(page, parts[name])
    failures = about["skipped"] + [line for data in parts.values() for line in data["failures"]]
    if not page.pictures:
        failures.append("gnuplot is not installed: there are no pictures")
    machine = next(iter(parts.values()))["machine"] if parts else {}
    lines = [("Machine", "%(cpu)s, %(cpus)s CPUs, Linux %(kernel)s, %(libc)s" % machine if machine else "?"),
             ("Transparent huge pages", machine.get("huge_pages", "?")),
             ("Load at the start", "%.2f" % machine.get("load", 0)), ("When", about["time"]), ("Commit", about["commit"]),
             ("Command", about["command"])]
    lines += [(name, version) for name, version in about["versions"].items()]
    facts = table([], [[text(key), (text(value), "text")] for key, value in lines], "facts")
    names = list(dict.fromkeys(name for _, means in page.means for name in means))
    summary = table(["", *names, "ours / best peer"], [[text(title), *judged_line(
        names, means, lambda name: "%.3f" % means[name])] for title, means in page.means])
    summary = "<h3>Geometric means of all rows, ratio to glibc; less is better</h3>" + summary if page.means else ""
    quick = '<p class="failed">A quick run: it shows that everything works, and its figures mean nothing.</p>' if about["quick"] else ""
    told = "".join('<p class="failed">%s</p>' % text(line) for line in failures)
    links = "".join('<a href="#%s">%s</a>' % (anchor, text(title)) for anchor, title in page.titles)
    with open(path, "w", encoding="utf-8") as file:
        file.write('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>libarena beside its peers</title>'
                   '<meta name="viewport" content="width=device-width"><style>%s</style></head><body>'
                   '<h1>libarena beside its peers</h1><p class="lead">All allocators of one run, interleaved on one machine. How '
                   'each figure is taken is in bench/README.md; the raw values are beside this page.</p>%s%s<nav>%s</nav>%s%s'
                   '</body></html>\n' % (STYLE, quick, told, links, summary + facts, "\n".join(page.parts)))
